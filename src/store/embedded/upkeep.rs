//! What the writer does between groups: deletes expired rows and checkpoints the write-ahead log.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{queue, trim, writer::GROUP};

const INTERVAL: Duration = Duration::from_secs(1);
/// In pages (64 MiB): from this length on, the log is truncated even if that has to wait for readers.
const LONG_LOG: i64 = 16 * 1024;

pub(super) struct Upkeep {
    last: Instant,
    /// Whether something was written since then.
    pending: bool,
    /// Whether the last batch was full, so that more is left.
    behind: bool,
    log_pages: i64,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self { last: Instant::now(), pending: true, behind: false, log_pages: 0 }
    }
}

impl Upkeep {
    /// How long the writer may wait for work; `None` means for ever.
    pub(super) fn pause(&self) -> Option<Duration> {
        match (self.behind, self.pending) {
            (true, _) => Some(Duration::ZERO),
            (false, true) => Some(INTERVAL.saturating_sub(self.last.elapsed())),
            (false, false) => None,
        }
    }

    /// Whether upkeep is due; `wrote` says whether the last group wrote something.
    pub(super) fn is_due(&mut self, wrote: bool) -> bool {
        self.pending |= wrote;
        self.behind || (self.pending && self.last.elapsed() >= INTERVAL)
    }

    /// Part of a group's transaction. A batch is as large as a group, so deleting keeps up with any load.
    pub(super) fn trim(&mut self, connection: &Connection, now: i64) -> rusqlite::Result<()> {
        self.behind = trim::batch(connection, now, GROUP)?;
        queue::shorten_leases(connection, now)?;
        self.pending = self.behind;
        self.last = Instant::now();
        Ok(())
    }

    /// Runs after the group was answered, so that no caller waits for it.
    pub(super) fn checkpoint(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mode = if self.log_pages > LONG_LOG { "TRUNCATE" } else { "PASSIVE" };
        self.log_pages = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))?;
        Ok(())
    }

    /// Called when the disk is full.
    pub(super) fn put_off(&mut self) {
        *self = Self { log_pages: self.log_pages, ..Self::default() };
    }
}
