//! The files of a store: one directory, one lock file, one database and its connections.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{
    error::{is_full, passes},
    meta,
};
use crate::store::StoreError;

pub(super) const DATABASE: &str = "countersign.sqlite";
/// How long a connection waits for a lock held by another program, such as a backup or a shell.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a page. The log gets each changed page as a whole, and a verification changes a dozen of them, so that SQLite's
/// own 4096 are slower; so are 1024.
pub(super) const PAGE_SIZE: i64 = 2048;
/// Bytes of the write-ahead log kept for reuse after a checkpoint.
pub(super) const LOG_LIMIT: i64 = 64 * 1024 * 1024;
/// Memory for pages of the writer, in KiB with a minus: the upper pages of its indexes and those it wrote lately.
const CACHE: i64 = -8 * 1024;
/// More than the number of statements, so that none is compiled twice.
const STATEMENTS: usize = 64;

pub(super) struct Disk {
    database: PathBuf,
    /// Locks out a second process while it is open.
    lock: File,
}

impl Disk {
    /// Creates and locks what is missing. The database file must exist with private permissions before SQLite opens it:
    /// SQLite gives its other files the same mode, and a process that opens the file again would drop SQLite's locks.
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        let unfit = |error: io::Error| {
            let why = format!("cannot use {}: {error}", directory.display());
            if passes_by_itself(&error) { StoreError::Unavailable(why) } else { StoreError::Misconfigured(why) }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unfit)?;
        let lock = private(&directory.join("lock")).map_err(unfit)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::Unavailable(format!(
                "another process uses the store in {}: stop it, or give several replicas one Redis",
                directory.display()
            )),
            TryLockError::Error(error) => unfit(error),
        })?;
        let database = directory.join(DATABASE);
        private(&database).map_err(unfit)?;
        Ok(Self { database, lock })
    }

    /// The connection that writes. Creates the tables, and copies what a crash has left in the log into the database:
    /// processes that end before their first checkpoint would otherwise fill the disk with it.
    pub(super) fn writer(&self) -> Result<Connection, StoreError> {
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Checked before this version's tables are created in a database of another format.
        meta::check(meta::format(&connection).map_err(|error| self.failed(&error))?.as_deref())?;
        let set = |connection: &Connection| -> rusqlite::Result<String> {
            // Of a new database only.
            connection.pragma_update(None, "page_size", PAGE_SIZE)?;
            let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "temp_store", "MEMORY")?;
            connection.pragma_update(None, "cache_size", CACHE)?;
            // The writer checkpoints itself: SQLite would do it inside a commit and hide its errors.
            connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
            connection.pragma_update_and_check(None, "journal_size_limit", LOG_LIMIT, |_| Ok(()))?;
            connection.execute_batch(concat!("BEGIN IMMEDIATE;", include_str!("schema.sql"), "COMMIT;"))?;
            match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
                // The writer tries again.
                Err(error) if !passes(&error) => Err(error),
                _ => Ok(mode),
            }
        };
        match set(&connection) {
            Ok(mode) if mode == "wal" => Ok(connection),
            Ok(mode) => Err(self.unfit(format!("journal mode stays {mode}, WAL is needed"))),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// A connection that only copies the log into the database, and must close before the writer's.
    pub(super) fn checkpointer(&self) -> Result<Connection, StoreError> {
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(|error| self.failed(&error))?;
        Ok(connection)
    }

    /// A read-only connection. Each statement sees what was committed when it began.
    pub(super) fn reader(&self) -> Result<Connection, StoreError> {
        self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    /// The lock, which has to outlive all connections.
    pub(super) fn into_lock(self) -> File {
        self.lock
    }

    fn connect(&self, mode: OpenFlags) -> Result<Connection, StoreError> {
        // Each connection has one user at a time, so SQLite's own mutexes are not needed.
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open_with_flags(&self.database, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(LOCK_TIMEOUT)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            Ok(connection)
        };
        open().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &rusqlite::Error) -> StoreError {
        if is_full(error) {
            StoreError::Full
        } else if passes(error) {
            self.unavailable(error)
        } else {
            self.unfit(error)
        }
    }

    pub(super) fn unavailable(&self, why: impl std::fmt::Display) -> StoreError {
        StoreError::Unavailable(format!("cannot use {}: {why}", self.database.display()))
    }

    fn unfit(&self, why: impl std::fmt::Display) -> StoreError {
        StoreError::Misconfigured(format!("cannot use {}: {why}", self.database.display()))
    }
}

/// Errors that need no operator: a full disk, or a limit shared with other programs.
fn passes_by_itself(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, OutOfMemory, QuotaExceeded, ResourceBusy, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ResourceBusy | OutOfMemory | Interrupted)
}

pub(super) fn private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}
