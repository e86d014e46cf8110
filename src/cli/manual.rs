//! `man` and `completions`, from the definition of the command line.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use clap_mangen::Man;

use crate::{app::exit::CommandError, telemetry::stdout::print};

#[derive(Debug, Args)]
pub(super) struct ManOptions {
    /// Write one page for each command into this directory, which must exist.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(options: &ManOptions) -> Result<ExitCode, CommandError> {
    let command = super::command_line();
    match &options.out {
        Some(directory) => clap_mangen::generate_to(command, directory)
            .with_context(|| format!("cannot write into {}", directory.display()))?,
        None => {
            let mut page = Vec::new();
            Man::new(command).render(&mut page).context("the manual page cannot be rendered")?;
            print(String::from_utf8_lossy(&page).trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, CommandError> {
    // Into memory first: `generate` panics if the reader of standard output has closed it.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command_line(), "countersign", &mut script);
    print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
