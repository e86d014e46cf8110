//! The directory that `dev` keeps its settings and state in.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::PathBuf,
};

use anyhow::Context as _;

use super::Mode;
use crate::random;

const DEFAULT: &str = ".countersign";

/// Removed when dropped, if nobody asked to keep it.
pub(super) struct Home {
    directory: PathBuf,
    temporary: bool,
}

impl Home {
    pub(super) fn open(chosen: Option<PathBuf>, mode: Mode) -> anyhow::Result<Self> {
        let temporary = chosen.is_none() && mode != Mode::Person;
        let directory = chosen.unwrap_or_else(|| if temporary { scratch() } else { DEFAULT.into() });
        let why = || format!("cannot use the directory {} (--data)", directory.display());
        if !directory.is_dir() {
            DirBuilder::new().recursive(!temporary).mode(0o700).create(&directory).with_context(why)?;
            // Holds secrets, and often stands in a repository.
            std::fs::write(directory.join(".gitignore"), "*\n").with_context(why)?;
        }
        let directory = directory.canonicalize().with_context(why)?;
        Ok(Self { directory, temporary })
    }

    pub(super) fn settings_file(&self) -> PathBuf {
        self.directory.join("dev.toml")
    }

    /// For `store.url`.
    pub(super) fn store_url(&self) -> String {
        format!("embedded:{}", self.directory.join("store").display())
    }

    /// `None` before the first run.
    pub(super) fn read_settings(&self) -> anyhow::Result<Option<String>> {
        let file = self.settings_file();
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// All or nothing, and never readable by others.
    pub(super) fn write_settings(&self, text: &str) -> anyhow::Result<()> {
        let file = self.settings_file();
        let draft = self.directory.join(format!(".dev.toml.{:016x}", u64::from_be_bytes(random::bytes())));
        let write = || -> io::Result<()> {
            let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            std::fs::rename(&draft, &file)
        };
        write().with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.directory)
        {
            tracing::warn!(%error, directory = %self.directory.display(), "the temporary directory stays");
        }
    }
}

fn scratch() -> PathBuf {
    std::env::temp_dir().join(format!("countersign-dev-{:016x}", u64::from_be_bytes(random::bytes())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &std::path::Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn settings_are_private_and_a_scratch_directory_goes_away() {
        let home = Home::open(None, Mode::Rehearsal).unwrap();
        assert_eq!(home.read_settings().unwrap(), None);
        home.write_settings("a").unwrap();
        home.write_settings("b").unwrap();
        assert_eq!(home.read_settings().unwrap().as_deref(), Some("b"));
        assert_eq!((mode(&home.directory), mode(&home.settings_file())), (0o700, 0o600));
        let directory = home.directory.clone();
        drop(home);
        assert!(!directory.exists());
    }

    #[test]
    fn a_chosen_directory_stays_as_it_was() {
        let chosen = tempfile::tempdir().unwrap();
        drop(Home::open(Some(chosen.path().to_owned()), Mode::Program).unwrap());
        assert!(chosen.path().exists() && !chosen.path().join(".gitignore").exists());
    }
}
