//! A copy of the database, taken while the daemon may be running.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, backup::Backup};

use super::disk::{DATABASE, LOCK_TIMEOUT};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{0} holds no store; a daemon with this configuration creates it when it starts")]
    NoStore(PathBuf),
    #[error("{0} exists already; name another file, or remove it")]
    Exists(PathBuf),
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, #[source] io::Error),
    #[error("cannot copy the database: {0}")]
    Copy(#[from] rusqlite::Error),
    #[error("the copy is damaged: {0}")]
    Damaged(String),
}

/// Copies the database of the store in `directory` to `target`, as it is at one moment. Everything that was answered
/// before the call is in the copy, and writers do not wait for it. The copy is checked before it gets its name, so
/// `target` is either complete or missing.
pub fn backup(directory: &Path, target: &Path) -> Result<(), BackupError> {
    let database = directory.join(DATABASE);
    if !database.is_file() {
        return Err(BackupError::NoStore(directory.to_owned()));
    }
    if target.exists() {
        return Err(BackupError::Exists(target.to_owned()));
    }
    let unfinished = Unfinished::create(target)?;
    copy(&database, &unfinished.path)?;
    unfinished.publish(target)
}

fn copy(database: &Path, to: &Path) -> Result<(), BackupError> {
    let source = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.busy_timeout(LOCK_TIMEOUT)?;
    let mut copy = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // All pages in one step: a copy in several steps starts again with each write of another process.
    Backup::new(&source, &mut copy)?.run_to_completion(i32::MAX, Duration::from_millis(50), None)?;
    // One file, without a write-ahead log beside it.
    copy.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    let found: String = copy.query_row("PRAGMA quick_check", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(BackupError::Damaged(found)) }
}

/// The file that becomes the copy; removed unless it was published.
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    fn create(target: &Path) -> Result<Self, BackupError> {
        let mut path = target.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        // Only the owner may read it, as with the database itself.
        let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path);
        match file {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(BackupError::Write(path, error)),
        }
    }

    fn publish(self, target: &Path) -> Result<(), BackupError> {
        let failed = |error| BackupError::Write(target.to_owned(), error);
        self.file.sync_all().map_err(failed)?;
        // Unlike a rename, this does not replace a file that appeared meanwhile.
        fs::hard_link(&self.path, target).map_err(failed)?;
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
