//! What people ask about afterwards: jobs and how they ended, notes that are kept for a day, and taking all of
//! it away.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Index, JobId, Lane, RecordId, StoreError};
use crate::domain::{InstanceId, Partition};

/// How long a delivered callback is remembered, with its body.
pub const DELIVERED_RETENTION: Duration = Duration::from_hours(1);
/// Delivered callbacks of one instance that are remembered, for each partition.
pub const MAX_DELIVERED_JOBS: usize = 64;
/// Jobs of one instance that were given up and are kept, for each partition.
pub const MAX_DEAD_JOBS: usize = 20_000;
/// How long a note is kept.
pub const LOG_RETENTION: Duration = Duration::from_hours(24);
/// Notes of one journal, for each partition. The oldest give way.
pub const MAX_LOG_ENTRIES: usize = 256;

/// Where a job stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobState {
    /// Due, leased, or due later.
    Waiting,
    /// Taken by its receiver, within [`DELIVERED_RETENTION`].
    Delivered,
    /// Given up, within [`super::DEAD_MEMORY`].
    Dead,
}

/// A job as it is looked at, without a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobInfo {
    pub partition: Partition,
    pub id: JobId,
    pub lane: Lane,
    pub state: JobState,
    /// Attempts spent, with the last one of a job that has ended.
    pub attempts: u32,
    /// When it was committed.
    pub since: Timestamp,
    /// The next attempt, or the end of the one under way; or when it ended.
    pub at: Timestamp,
    /// Why the last attempt failed.
    pub note: String,
    pub body: Vec<u8>,
}

/// Where a page of jobs ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobCursor {
    /// [`JobInfo::at`].
    pub at: Timestamp,
    pub partition: Partition,
    pub id: JobId,
}

impl JobInfo {
    pub fn mark(&self) -> JobCursor {
        JobCursor { at: self.at, partition: self.partition, id: self.id.clone() }
    }
}

/// A list of notes, newest first.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LogStream(pub String);

/// A few sealed bytes. No two are equal, because no two seals are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    pub partition: Partition,
    pub stream: LogStream,
    pub bytes: Vec<u8>,
}

/// What is to be gone, all in one partition.
#[derive(Clone, Debug)]
pub struct Removal {
    pub partition: Partition,
    pub instance: InstanceId,
    /// With its timer and the lists that it stands in.
    pub record: Option<(RecordId, Vec<Index>)>,
    /// Wherever they stand.
    pub jobs: Vec<JobId>,
    /// Groups whose jobs go from these lanes: see [`JobId::group`].
    pub groups: Vec<String>,
    pub lanes: Vec<Lane>,
    pub log_entries: Vec<(LogStream, Vec<u8>)>,
}

impl Removal {
    /// Of nothing, to be filled in.
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
    /// The first `limit` of [`Archive::jobs_after`].
    async fn jobs(&self, instance: InstanceId, standing: JobState, limit: usize) -> Result<Vec<JobInfo>, StoreError> {
        self.jobs_after(instance, standing, None, limit).await
    }

    /// Jobs of an instance: those that ended by their end, newest first; those that wait by their next attempt,
    /// first first, and only callbacks. At most `limit`, strictly after `mark`. A job that is retried meanwhile is
    /// met again further on.
    async fn jobs_after(
        &self,
        instance: InstanceId,
        standing: JobState,
        mark: Option<&JobCursor>,
        limit: usize,
    ) -> Result<Vec<JobInfo>, StoreError>;

    /// One job of an instance.
    async fn job(&self, instance: InstanceId, partition: Partition, id: &JobId) -> Result<Option<JobInfo>, StoreError>;

    /// Removes what the jobs of an instance that ended have left behind past its time.
    async fn purge(&self, instance: InstanceId) -> Result<(), StoreError>;

    /// Keeps notes for [`LOG_RETENTION`].
    async fn append_log(&self, notes: &[LogEntry]) -> Result<(), StoreError>;

    /// The newest notes of a journal with their times, newest first.
    async fn read_log(&self, journal: &LogStream, limit: usize) -> Result<Vec<(Timestamp, LogEntry)>, StoreError>;

    /// Takes something away at once and for good. A decision on a removed record conflicts, and then finds nothing.
    async fn remove(&self, removal: &Removal) -> Result<(), StoreError>;
}
