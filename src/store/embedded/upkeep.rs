//! Maintenance that the writer does between groups: deleting expired rows and checkpointing the write-ahead log.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{
    checkpoint::Checkpointer,
    disk::{LOG_LIMIT, PAGE_SIZE},
    queue, trim,
};

const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);
/// A checkpoint makes writes wait for the disk, so there are few of them.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);
/// Writes after which one starts sooner, so that the log stays short under load: some 30 MB.
const MAX_STEPS: usize = 5_000;
/// Interval at which an idle writer checks whether the checkpointer is done.
const CHECKPOINT_POLL: Duration = Duration::from_millis(50);
/// Above this length, the log is truncated even if that must wait for readers.
const MAX_LOG_PAGES: i64 = LOG_LIMIT / PAGE_SIZE;

pub(super) struct Upkeep {
    last: Instant,
    /// Whether something was written since then.
    pending: bool,
    /// Whether the last batch was full, so that more is left.
    behind: bool,
    log_pages: i64,
    /// When the last checkpoint started.
    checkpointed: Instant,
    /// Writes since then.
    steps: usize,
    checkpointer: Checkpointer,
}

impl Upkeep {
    pub(super) fn new(checkpointer: Checkpointer) -> Self {
        let now = Instant::now();
        Self { last: now, pending: true, behind: false, log_pages: 0, checkpointed: now, steps: 0, checkpointer }
    }

    /// How long the writer may wait for work; `None` means without a limit.
    pub(super) fn pause(&self) -> Option<Duration> {
        if self.behind {
            Some(Duration::ZERO)
        } else if self.pending {
            Some(UPKEEP_INTERVAL.saturating_sub(self.last.elapsed()))
        } else if self.checkpointer.is_busy() {
            Some(CHECKPOINT_POLL)
        } else {
            (self.steps > 0).then(|| CHECKPOINT_INTERVAL.saturating_sub(self.checkpointed.elapsed()))
        }
    }

    /// Whether expired rows are to be deleted; `steps` is the number of writes in the last group.
    pub(super) fn is_due(&mut self, steps: usize) -> bool {
        self.pending |= steps > 0;
        self.steps += steps;
        self.behind || (self.pending && self.last.elapsed() >= UPKEEP_INTERVAL)
    }

    /// Part of a group's transaction. `batch` rows are deleted at most: as many as a group has steps, so that deleting
    /// keeps up with any load.
    pub(super) fn trim(&mut self, connection: &Connection, now: i64, batch: usize) -> rusqlite::Result<()> {
        self.behind = trim::batch(connection, now, batch)?;
        queue::shorten_leases(connection, now)?;
        self.pending = self.behind;
        self.last = Instant::now();
        Ok(())
    }

    /// Runs after the callers of the group have their results, so that none waits for it. The checkpointer copies most
    /// of the log. Only the writer can copy its end and so restart the log, because nothing else is written at that
    /// time.
    pub(super) fn checkpoint(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let due = self.steps >= MAX_STEPS || (self.steps > 0 && self.checkpointed.elapsed() >= CHECKPOINT_INTERVAL);
        if due && self.checkpointer.start() {
            (self.checkpointed, self.steps) = (Instant::now(), 0);
        }
        if !self.checkpointer.take_done() {
            return Ok(());
        }
        let mode = if self.log_pages > MAX_LOG_PAGES { "TRUNCATE" } else { "PASSIVE" };
        self.log_pages = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))?;
        Ok(())
    }

    /// Called when a group was not committed because the disk is full; `due` is whether rows were to be deleted with it.
    /// After a checkpoint, the log can be reused from its start.
    pub(super) fn put_off(&mut self, due: bool) {
        if due {
            (self.last, self.pending, self.behind) = (Instant::now(), true, false);
        }
        self.steps = MAX_STEPS;
    }
}
