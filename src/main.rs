//! Parses, runs, and says why it failed.

use std::process::ExitCode;

/// The C library's one is slow under threads, and with musl very slow. Without transparent huge pages: a daemon
/// that idles must not hold tens of megabytes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(clippy::print_stderr, reason = "a failure is told where people look for it")]
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
