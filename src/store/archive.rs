//! Reads for operators and support: jobs and their outcomes, the message log of the last day, and the removal of
//! personal data.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Index, JobId, Lane, RecordId, StoreError};
use crate::domain::{InstanceId, Partition};

/// How long a delivered callback is listed, with its body.
pub const DELIVERED_RETENTION: Duration = Duration::from_hours(1);
/// Most delivered callbacks listed for one instance, per partition.
pub const MAX_DELIVERED_JOBS: usize = 64;
/// Most dead jobs kept for one instance, per partition.
pub const MAX_DEAD_JOBS: usize = 20_000;
/// How long a log entry is kept.
pub const LOG_RETENTION: Duration = Duration::from_hours(24);
/// Most entries of one log stream, per partition. The oldest are dropped first.
pub const MAX_LOG_ENTRIES: usize = 256;

/// State of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobState {
    /// Due now or later, or leased.
    Waiting,
    /// Accepted by its receiver within [`DELIVERED_RETENTION`].
    Delivered,
    /// Given up within [`DEAD_RETENTION`](super::DEAD_RETENTION).
    Dead,
}

/// A job as listed, without a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobInfo {
    pub partition: Partition,
    pub id: JobId,
    pub lane: Lane,
    pub state: JobState,
    /// Attempts made, including the final one of a job that has ended.
    pub attempts: u32,
    /// When it was committed.
    pub since: Timestamp,
    /// Time of the next attempt, end of the current lease, or time at which it ended.
    pub at: Timestamp,
    /// Why the last attempt failed.
    pub note: String,
    pub body: Vec<u8>,
}

/// The end of a page of jobs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobCursor {
    /// [`JobInfo::at`].
    pub at: Timestamp,
    pub partition: Partition,
    pub id: JobId,
}

impl JobInfo {
    pub fn cursor(&self) -> JobCursor {
        JobCursor { at: self.at, partition: self.partition, id: self.id.clone() }
    }
}

/// The name of a list of log entries.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LogStream(pub String);

/// A sealed log entry. No two are equal, because no two seals are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    pub partition: Partition,
    pub stream: LogStream,
    pub bytes: Vec<u8>,
}

/// What to remove, all in one partition.
#[derive(Clone, Debug)]
pub struct Removal {
    pub partition: Partition,
    pub instance: InstanceId,
    /// The record, with its timer and its entries in these lists.
    pub record: Option<(RecordId, Vec<Index>)>,
    /// Jobs in any state.
    pub jobs: Vec<JobId>,
    /// Groups whose jobs are removed from `lanes`: see [`JobId::group`].
    pub groups: Vec<String>,
    pub lanes: Vec<Lane>,
    pub log_entries: Vec<(LogStream, Vec<u8>)>,
}

impl Removal {
    /// An empty removal.
    pub const fn new(instance: InstanceId, partition: Partition) -> Self {
        Self {
            partition,
            instance,
            record: None,
            jobs: Vec::new(),
            groups: Vec::new(),
            lanes: Vec::new(),
            log_entries: Vec::new(),
        }
    }
}

/// The part of a store that no login waits for.
#[async_trait]
pub trait Archive: Send + Sync + 'static {
    /// The first page of [`Archive::jobs_after`].
    async fn jobs(&self, instance: InstanceId, state: JobState, limit: usize) -> Result<Vec<JobInfo>, StoreError> {
        self.jobs_after(instance, state, None, limit).await
    }

    /// Jobs of an instance, at most `limit`, strictly after `cursor`: ended ones by their end, newest first; waiting ones
    /// by their next attempt, soonest first, and only callbacks. A job that is retried while a reader pages on can
    /// appear again.
    async fn jobs_after(
        &self,
        instance: InstanceId,
        state: JobState,
        cursor: Option<&JobCursor>,
        limit: usize,
    ) -> Result<Vec<JobInfo>, StoreError>;

    /// One job of an instance.
    async fn job(&self, instance: InstanceId, partition: Partition, id: &JobId) -> Result<Option<JobInfo>, StoreError>;

    /// Deletes the instance's ended jobs that are past their retention.
    async fn purge(&self, instance: InstanceId) -> Result<(), StoreError>;

    /// Keeps entries for [`LOG_RETENTION`].
    async fn append_log(&self, notes: &[LogEntry]) -> Result<(), StoreError>;

    /// The newest entries of a stream with their times, newest first.
    async fn read_log(&self, journal: &LogStream, limit: usize) -> Result<Vec<(Timestamp, LogEntry)>, StoreError>;

    /// Deletes at once and for good. A decision on a removed record conflicts, and then finds nothing.
    async fn remove(&self, removal: &Removal) -> Result<(), StoreError>;
}
