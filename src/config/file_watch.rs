//! Finds out whether the files of a configuration have changed.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::files::{ConfigFiles, glob_files};
use crate::{hash::sha256, reader::Faults};

/// Larger files, such as a `GeoIP` database, are compared by their length and the time of their last change.
const MAX_HASHED_LEN: u64 = 1024 * 1024;
/// How often one call parses the configuration, if it changes meanwhile. What changes later is found by the next call.
const MAX_READINGS: usize = 3;

/// SHA-256 over all files.
pub type FileFingerprint = [u8; 32];

/// The files of a configuration: its own, those that it includes, and those that it names, as with a key `key_file`.
///
/// The configuration itself is parsed only when it has changed, because that takes a large one a noticeable time.
pub struct FileWatch {
    path: PathBuf,
    /// Variables that are part of the configuration.
    environment: Vec<(String, String)>,
    include_patterns: Vec<PathBuf>,
    /// Fingerprint of the files that were parsed.
    parsed: FileFingerprint,
    named: Vec<PathBuf>,
}

impl FileWatch {
    /// Nothing is read yet. `environment` is filtered.
    pub fn new(path: &Path, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            path: path.to_owned(),
            environment: environment.into_iter().collect(),
            include_patterns: Vec::new(),
            parsed: FileFingerprint::default(),
            named: Vec::new(),
        }
    }

    /// A digest over all files as they are now: their contents, or of a large file its length and the time of its last
    /// change. A file that cannot be read differs from an empty one. The standard input has been read to its end, and
    /// does not change.
    pub fn fingerprint(&mut self) -> FileFingerprint {
        if self.path == Path::new("-") {
            return FileFingerprint::default();
        }
        for _ in 0..MAX_READINGS {
            // Before they are parsed: what is written meanwhile is found by the next round.
            let current = digest(&self.configuration_files());
            if current == self.parsed {
                break;
            }
            self.parsed = current;
            self.parse();
        }
        sha256(&[self.parsed, digest(&self.named)].concat())
    }

    /// Every file whose content counts, in the order of their paths, without the configuration's own.
    pub fn files(&mut self) -> Vec<PathBuf> {
        self.fingerprint();
        let [_, included @ ..] = &self.configuration_files()[..] else { return Vec::new() };
        let mut files = [included, &self.named].concat();
        files.sort();
        files.dedup();
        files
    }

    fn configuration_files(&self) -> Vec<PathBuf> {
        let included = self.include_patterns.iter().flat_map(|pattern| glob_files(pattern, &mut Faults::default()));
        std::iter::once(self.path.clone()).chain(included).collect()
    }

    /// A fault in one of the files does not hide the others.
    fn parse(&mut self) {
        let (files, _) = ConfigFiles::read_all(&self.path, self.environment.iter().cloned());
        self.include_patterns = files.include_patterns().to_vec();
        self.named = files.named_files();
    }
}

fn digest(files: &[PathBuf]) -> FileFingerprint {
    let digests = files.iter().map(|file| file_digest(file).unwrap_or([0; 32]));
    sha256(&digests.collect::<Vec<_>>().concat())
}

fn file_digest(file: &Path) -> std::io::Result<FileFingerprint> {
    let metadata = std::fs::metadata(file)?;
    if metadata.len() <= MAX_HASHED_LEN {
        return std::fs::read(file).map(|content| sha256(&content));
    }
    let version = (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    Ok(sha256(format!("{version:?}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_change_of_any_file_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        let key = |name: &str| format!("key_file = {:?}\n", directory.path().join(name));
        write("a.toml", "include = [\"*.instance\"]\n");
        let mut watch = FileWatch::new(&directory.path().join("a.toml"), []);
        let mut last = watch.fingerprint();
        for (name, text, what) in [
            ("b.instance", "[[instance]]\n", "a new included file"),
            ("b.instance", &("[[instance]]\n".to_owned() + &key("secret")), "an included file"),
            ("secret", "1", "a named file that was missing"),
            ("secret", "2", "a named file"),
            ("c.other", "[[instance]]\n", ""),
            ("a.toml", "include = [\"*.other\"]\n", "another pattern"),
            ("c.other", &("[[instance]]\n".to_owned() + &key("secret")), "a file of the other pattern"),
            ("secret", "3", "a file that it names"),
            ("b.instance", "", ""),
            ("a.toml", "not TOML", "a file with a fault"),
            ("a.toml", &key("secret"), "the cured file"),
            ("secret", "4", "a file that the cured one names"),
        ] {
            write(name, text);
            let now = watch.fingerprint();
            assert_eq!(now != last, !what.is_empty(), "{name}: {what}");
            assert_eq!(watch.fingerprint(), now, "{name} has not changed again");
            last = now;
        }
        write("a.toml", &("include = [\"*.other\"]\n".to_owned() + &key("secret")));
        assert_eq!(watch.files(), ["c.other", "secret"].map(|name| directory.path().join(name)));
    }

    #[test]
    fn an_unchanged_configuration_is_not_parsed_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        fs::write(&path, "key_file = \"/x\"\n").unwrap();
        let mut watch = FileWatch::new(&path, []);
        watch.fingerprint();
        watch.named.clear();
        watch.fingerprint();
        assert!(watch.named.is_empty());
        fs::write(&path, "key_file = \"/y\"\n").unwrap();
        watch.fingerprint();
        assert_eq!(watch.named, [Path::new("/y")]);
    }
}
