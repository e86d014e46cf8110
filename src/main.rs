//! Runs the command line, and prints the error if a command fails.

use std::{
    io::{Write as _, stderr},
    process::ExitCode,
};

/// The C library's allocator is slow with several threads, and musl's very slow. Built without transparent huge pages,
/// with which an idle daemon would hold tens of megabytes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = countersign::cli::run();
    countersign::telemetry::stderr::flush_with_timeout();
    match outcome {
        Ok(status) => status,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing is left to do if standard error is closed.
            let _ = writeln!(stderr(), "countersign: {:#}", failure.error);
            ExitCode::from(failure.status)
        }
    }
}
