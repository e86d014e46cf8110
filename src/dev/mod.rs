//! Development: everything on loopback, with a fake phone.

use std::process::ExitCode;

/// How `dev` runs.
#[derive(Debug, clap::Args)]
pub struct Options {}

pub fn run(_options: Options) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
