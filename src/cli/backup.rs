//! `backup`: a copy of the embedded store, also while the daemon runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::ConfigFile;
use crate::{
    app::exit::{CommandError, EX_CONFIG},
    config::StoreConfig,
    store::embedded,
    telemetry::stdout::print,
};

#[derive(Debug, Args)]
pub(super) struct BackupOptions {
    #[command(flatten)]
    config: ConfigFile,
    /// The file to write. It must not exist.
    file: PathBuf,
}

pub(super) fn run(options: &BackupOptions) -> Result<ExitCode, CommandError> {
    let config = super::parse_config(&super::read_config(&options.config.path)?)?;
    let StoreConfig::Embedded { directory } = &config.store else {
        let error = anyhow::anyhow!("store.url is a Redis: back it up with its own tools");
        return Err(CommandError { status: EX_CONFIG, error });
    };
    embedded::backup(directory, &options.file).map_err(anyhow::Error::from)?;
    let bytes = fs::metadata(&options.file).map_or(0, |metadata| metadata.len());
    print(described(&options.file, bytes))?;
    Ok(ExitCode::SUCCESS)
}

fn described(file: &Path, bytes: u64) -> String {
    format!("{} holds the store: {} KiB", file.display(), bytes.div_ceil(1024))
}
