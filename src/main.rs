//! Runs the command line, and prints the error if a command fails.

use std::process::ExitCode;

/// The C library's allocator is slow with several threads, and musl's very slow. Built without transparent huge pages,
/// with which an idle daemon would hold tens of megabytes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(clippy::print_stderr, reason = "errors of a command belong on standard error")]
fn main() -> ExitCode {
    let outcome = countersign::cli::run();
    countersign::telemetry::stderr::flush_with_timeout();
    match outcome {
        Ok(status) => status,
        Err(failure) => {
            eprintln!("countersign: {:#}", failure.error);
            ExitCode::from(failure.status)
        }
    }
}
