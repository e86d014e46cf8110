//! Parses, runs, and says why it failed.

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "a failure is told where people look for it")]
fn main() -> ExitCode {
    match countersign::cli::run() {
        Ok(status) => status,
        Err(failure) => {
            eprintln!("countersign: {:#}", failure.error);
            ExitCode::from(failure.status)
        }
    }
}
