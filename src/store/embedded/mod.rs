//! The store of a single process: one directory with one SQLite database.
//!
//! SQLite recovers from a full disk and is thoroughly tested against crashes. All writes go through one thread
//! (`writer.rs`), which makes each of them atomic and lets many share one fsync; reads run beside it, and so does the
//! copying of the log into the database (`checkpoint.rs`).

mod admit;
mod archive;
mod backlog;
mod backup;
mod ballast;
mod checkpoint;
mod commit;
mod counters;
mod disk;
mod error;
mod jobs;
mod limits;
mod lookups;
mod meta;
mod operations;
mod query;
mod queue;
mod reader;
mod records;
mod time;
mod timers;
mod trim;
mod upkeep;
mod writer;

use std::{fs::File, path::Path, sync::Arc};

use rusqlite::Connection;

use crate::clock::Clock;

pub use self::backup::{BackupError, backup};

use super::{Background, ChangeNotifier, StoreError};

use self::{
    ballast::Ballast, checkpoint::Checkpointer, disk::Disk, lookups::Lookups, reader::Readers,
    time::MonotonicWallClock, writer::Writer,
};

/// Dropping it finishes queued writes and closes the database.
///
/// Fields are dropped in this order: the writer's connection closes last, because only it can checkpoint the
/// write-ahead log, and the lock outlives both.
pub struct EmbeddedStore {
    lookups: Lookups,
    readers: Readers,
    writer: Writer,
    time: Arc<MonotonicWallClock>,
    changes: Arc<ChangeNotifier>,
    background: Background,
    _lock: File,
}

impl EmbeddedStore {
    /// Opens the store in `directory`, which is created if missing. Jobs leased by the previous process are due again
    /// at once.
    pub fn open(directory: &Path, clock: Clock) -> Result<Self, StoreError> {
        let time = Arc::new(MonotonicWallClock::new(clock));
        let disk = Disk::open(directory)?;
        let mut ballast = Ballast::open(directory);
        let connection = recover(&disk, time.millis(), &mut ballast)?;
        ballast.reserve_at_start();
        let readers = Readers::new([disk.reader()?, disk.reader()?]);
        let background = Background::default();
        let no_thread = |error| StoreError::Unavailable(format!("cannot start a thread: {error}"));
        let lookups = Lookups::start(disk.reader()?, background.running("store's lookups")).map_err(no_thread)?;
        let checkpointer = Checkpointer::spawn(disk.checkpointer()?, background.running("store's checkpoints"));
        let writer = Writer::start(
            connection,
            Arc::clone(&time),
            ballast,
            checkpointer.map_err(no_thread)?,
            background.running("store's writer"),
        )
        .map_err(no_thread)?;
        Ok(Self { lookups, readers, writer, time, changes: Arc::default(), background, _lock: disk.into_lock() })
    }
}

/// Opens the writer's connection and makes the work of the previous process due again. On a full disk, the space
/// reserved for accepted work is used for that.
fn recover(disk: &Disk, now: i64, ballast: &mut Ballast) -> Result<Connection, StoreError> {
    let attempt = || {
        let connection = disk.writer()?;
        queue::void_leases(&connection, now)?;
        Ok(connection)
    };
    match attempt() {
        Err(StoreError::Full) => ballast.release(),
        done => return done,
    }
    attempt().map_err(|error| match error {
        StoreError::Full => disk.unavailable("the disk is full"),
        error => error,
    })
}
