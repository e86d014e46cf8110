//! The directory with `dev`'s settings and state.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use secrecy::SecretString;

use super::RunMode;
use crate::{config::credentials::generate_token, random};

const DEFAULT_DIR: &str = ".countersign";

/// The data directory. A temporary one is removed on drop.
pub(super) struct DataDir {
    directory: PathBuf,
    temporary: bool,
}

impl DataDir {
    pub(super) fn open(chosen: Option<PathBuf>, mode: RunMode) -> anyhow::Result<Self> {
        let temporary = chosen.is_none() && mode != RunMode::Interactive;
        let directory = chosen.unwrap_or_else(|| if temporary { temporary_path() } else { DEFAULT_DIR.into() });
        let why = || format!("cannot use the directory {} (--data)", directory.display());
        if !directory.is_dir() {
            DirBuilder::new().recursive(!temporary).mode(0o700).create(&directory).with_context(why)?;
            // The directory contains secrets and is often inside a repository.
            std::fs::write(directory.join(".gitignore"), "*\n").with_context(why)?;
        }
        let directory = directory.canonicalize().with_context(why)?;
        Ok(Self { directory, temporary })
    }

    pub(super) fn settings_file(&self) -> PathBuf {
        self.directory.join("dev.toml")
    }

    /// The API token, in a file beside the settings. With `renew`, or if there is none, a new one.
    pub(super) fn token(&self, renew: bool) -> anyhow::Result<SecretString> {
        let file = self.token_file();
        let found = if renew { None } else { Self::read(&file)? };
        if let Some(token) = found.map(|text| text.trim().to_owned()).filter(|token| !token.is_empty()) {
            return Ok(token.into());
        }
        let token = generate_token();
        self.write(&file, &format!("{token}\n"))?;
        Ok(token.into())
    }

    pub(super) fn token_file(&self) -> PathBuf {
        self.directory.join("token")
    }

    /// The value of `store.url`.
    pub(super) fn store_url(&self) -> String {
        format!("embedded:{}", self.directory.join("store").display())
    }

    /// `None` before the first run.
    pub(super) fn read_settings(&self) -> anyhow::Result<Option<String>> {
        Self::read(&self.settings_file())
    }

    pub(super) fn write_settings(&self, text: &str) -> anyhow::Result<()> {
        self.write(&self.settings_file(), text)
    }

    /// `None`: there is no such file.
    fn read(file: &Path) -> anyhow::Result<Option<String>> {
        match std::fs::read_to_string(file) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// The file of this name, created with `text` if there is none.
    pub(super) fn secret_file(&self, name: &str, text: impl FnOnce() -> String) -> anyhow::Result<PathBuf> {
        let file = self.directory.join(name);
        if !file.exists() {
            self.write(&file, &text())?;
        }
        Ok(file)
    }

    /// Replaces a file atomically; it is readable by the owner only.
    fn write(&self, file: &Path, text: &str) -> anyhow::Result<()> {
        let temporary = self.directory.join(format!(".new.{:016x}", u64::from_be_bytes(random::bytes())));
        let write = || -> io::Result<()> {
            let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            std::fs::rename(&temporary, file)
        };
        write().with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.directory)
        {
            tracing::warn!(%error, directory = %self.directory.display(), "cannot remove the temporary directory");
        }
    }
}

fn temporary_path() -> PathBuf {
    std::env::temp_dir().join(format!("countersign-dev-{:016x}", u64::from_be_bytes(random::bytes())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use secrecy::ExposeSecret as _;

    use super::*;

    fn mode(path: &std::path::Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn settings_are_private_and_a_temporary_directory_is_removed() {
        let data_dir = DataDir::open(None, RunMode::Once).unwrap();
        assert_eq!(data_dir.read_settings().unwrap(), None);
        data_dir.write_settings("a").unwrap();
        data_dir.write_settings("b").unwrap();
        assert_eq!(data_dir.read_settings().unwrap().as_deref(), Some("b"));
        assert_eq!((mode(&data_dir.directory), mode(&data_dir.settings_file())), (0o700, 0o600));
        let token = data_dir.token(false).unwrap();
        assert_eq!(mode(&data_dir.token_file()), 0o600);
        assert_eq!(data_dir.token(false).unwrap().expose_secret(), token.expose_secret(), "it is kept");
        assert_ne!(data_dir.token(true).unwrap().expose_secret(), token.expose_secret());
        let directory = data_dir.directory.clone();
        drop(data_dir);
        assert!(!directory.exists());
    }

    #[test]
    fn a_chosen_directory_is_not_removed() {
        let chosen = tempfile::tempdir().unwrap();
        drop(DataDir::open(Some(chosen.path().to_owned()), RunMode::Json).unwrap());
        assert!(chosen.path().exists() && !chosen.path().join(".gitignore").exists());
    }
}
