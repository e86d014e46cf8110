//! `new-instance`: an `[[instance]]` block for a configuration that exists.

use std::{
    io::{Write as _, stderr},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::scaffold::{self, InstanceOptions, SecretDir};
use crate::{app::exit::CommandError, telemetry::stdout::print};

#[derive(Debug, Args)]
pub(super) struct NewInstanceOptions {
    #[command(flatten)]
    instance: InstanceOptions,
    /// The directory for the secrets of this instance; existing files in it are not overwritten.
    #[arg(long, value_name = "DIR")]
    secrets: PathBuf,
}

/// The block goes to standard output, everything else to standard error, so that `>> countersign.toml` takes the block
/// alone.
pub(super) fn run(options: &NewInstanceOptions) -> Result<ExitCode, CommandError> {
    let secrets = SecretDir::create(&options.secrets)?;
    let made = scaffold::instance(&options.instance, &secrets)?;
    let steps = scaffold::next_steps(&made, &options.instance.gateway, "the configuration");
    if options.instance.json {
        print(json!({ "instance": made.id, "toml": made.block, "example_settings": made.examples, "next": steps }))?;
    } else {
        print(format_args!("\n{}", made.block.trim_end()))?;
        for step in steps {
            writeln!(stderr(), "next: {step}").context("cannot write to standard error")?;
        }
    }
    scaffold::hand_over_token(&made.token, options.instance.token_file.as_deref())?;
    Ok(ExitCode::SUCCESS)
}
