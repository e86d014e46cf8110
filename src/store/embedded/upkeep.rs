//! What the writer does between groups: deletes expired rows and checkpoints the write-ahead log.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{checkpoint::Checkpointer, queue, trim, writer::MAX_GROUP};

const INTERVAL: Duration = Duration::from_secs(1);
/// How often the writer looks whether the checkpointer is done, if there is nothing else to do.
const PAUSE: Duration = Duration::from_millis(50);
/// In pages (64 MiB): from this length on, the log is truncated even if that has to wait for readers.
const LONG_LOG: i64 = 16 * 1024;

pub(super) struct Upkeep {
    last: Instant,
    /// Whether something was written since then.
    pending: bool,
    /// Whether the last batch was full, so that more is left.
    behind: bool,
    log_pages: i64,
    checkpointer: Checkpointer,
}

impl Upkeep {
    pub(super) fn new(checkpointer: Checkpointer) -> Self {
        Self { last: Instant::now(), pending: true, behind: false, log_pages: 0, checkpointer }
    }

    /// How long the writer may wait for work; `None` means for ever.
    pub(super) fn pause(&self) -> Option<Duration> {
        if self.behind {
            Some(Duration::ZERO)
        } else if self.pending {
            Some(INTERVAL.saturating_sub(self.last.elapsed()))
        } else {
            self.checkpointer.is_busy().then_some(PAUSE)
        }
    }

    /// Whether upkeep is due; `wrote` says whether the last group wrote something.
    pub(super) fn is_due(&mut self, wrote: bool) -> bool {
        self.pending |= wrote;
        self.behind || (self.pending && self.last.elapsed() >= INTERVAL)
    }

    /// Part of a group's transaction. A batch is as large as a group, so deleting keeps up with any load.
    pub(super) fn trim(&mut self, connection: &Connection, now: i64) -> rusqlite::Result<()> {
        self.behind = trim::batch(connection, now, MAX_GROUP)?;
        queue::shorten_leases(connection, now)?;
        self.pending = self.behind;
        self.last = Instant::now();
        Ok(())
    }

    /// Runs after the group was answered, so that no caller waits for it. The checkpointer copies most of the log; only
    /// the writer can copy its end, and so begin the log anew, because nothing is written meanwhile.
    pub(super) fn checkpoint(&mut self, connection: &Connection, due: bool) -> rusqlite::Result<()> {
        if due {
            self.checkpointer.start();
        }
        if !self.checkpointer.take_done() {
            return Ok(());
        }
        let mode = if self.log_pages > LONG_LOG { "TRUNCATE" } else { "PASSIVE" };
        self.log_pages = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))?;
        Ok(())
    }

    /// Called when the disk is full.
    pub(super) fn put_off(&mut self) {
        (self.last, self.pending, self.behind) = (Instant::now(), true, false);
    }
}
