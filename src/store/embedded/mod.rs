//! One process, one directory, one SQLite database: nothing else to run.
//!
//! SQLite because it recovers by itself from a full disk and has decades of crash tests behind it. All writes
//! pass one thread (`writer.rs`), which makes each of them atomic and many of them one fsync; reads go beside.

mod admit;
mod archive;
mod backlog;
mod ballast;
mod claim;
mod commit;
mod disk;
mod error;
mod jobs;
mod limits;
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

use crate::clock::Clock;

use super::{Background, ChangeNotifier, StoreError};

use self::{ballast::Ballast, disk::Disk, reader::Readers, time::Time, writer::Writer};

/// Dropping it finishes what is queued and closes the database.
///
/// Fields drop in this order: the writer's connection is the last to close, because only it can move the log into
/// the database, and the lock outlives both.
pub struct EmbeddedStore {
    readers: Readers,
    writer: Writer,
    time: Arc<Time>,
    changes: Arc<ChangeNotifier>,
    background: Background,
    _lock: File,
}

impl EmbeddedStore {
    /// Opens the store in `directory`, which is made if missing. Whatever a former process had leased is due
    /// again at once.
    pub fn open(directory: &Path, clock: Clock) -> Result<Self, StoreError> {
        let time = Arc::new(Time::new(clock));
        let disk = Disk::open(directory)?;
        let connection = disk.writer()?;
        queue::void_leases(&connection, time.millis())?;
        let readers = Readers::new([disk.reader()?, disk.reader()?]);
        let background = Background::default();
        let writer = Writer::start(
            connection,
            Arc::clone(&time),
            Ballast::open(directory),
            background.running("store's writer"),
        )
        .map_err(|error| StoreError::Unavailable(format!("cannot start a thread: {error}")))?;
        Ok(Self { readers, writer, time, changes: Arc::default(), background, _lock: disk.into_lock() })
    }
}
