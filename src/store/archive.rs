//! What people ask about afterwards: jobs and how they ended, notes that are kept for a day, and taking all of
//! it away.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Index, JobId, Lane, RecordId, StoreError};
use crate::domain::{InstanceId, Partition};

/// How long a delivered callback is remembered, with its body.
pub const DELIVERED_MEMORY: Duration = Duration::from_hours(1);
/// Delivered callbacks of one instance that are remembered, for each partition.
pub const DELIVERED_KEPT: usize = 64;
/// Jobs of one instance that were given up and are kept, for each partition.
pub const DEAD_KEPT: usize = 20_000;
/// How long a note is kept.
pub const NOTE_MEMORY: Duration = Duration::from_hours(24);
/// Notes of one journal, for each partition. The oldest give way.
pub const NOTES_KEPT: usize = 256;

/// Where a job stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Due, leased, or due later.
    Waiting,
    /// Taken by its receiver, within [`DELIVERED_MEMORY`].
    Delivered,
    /// Given up, within [`super::DEAD_MEMORY`].
    Dead,
}

/// A job as it is looked at, without a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownJob {
    pub partition: Partition,
    pub id: JobId,
    pub lane: Lane,
    pub standing: Standing,
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
pub struct Mark {
    /// [`KnownJob::at`].
    pub at: Timestamp,
    pub partition: Partition,
    pub id: JobId,
}

impl KnownJob {
    pub fn mark(&self) -> Mark {
        Mark { at: self.at, partition: self.partition, id: self.id.clone() }
    }
}

/// A list of notes, newest first.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Journal(pub String);

/// A few sealed bytes. No two are equal, because no two seals are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    pub partition: Partition,
    pub journal: Journal,
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
    pub notes: Vec<(Journal, Vec<u8>)>,
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
            notes: Vec::new(),
        }
    }
}

/// The part of a store that no login waits for.
#[async_trait]
pub trait Archive: Send + Sync + 'static {
    /// The first `limit` of [`Archive::jobs_after`].
    async fn jobs(&self, instance: InstanceId, standing: Standing, limit: usize) -> Result<Vec<KnownJob>, StoreError> {
        self.jobs_after(instance, standing, None, limit).await
    }

    /// Jobs of an instance: those that ended by their end, newest first; those that wait by their next attempt,
    /// first first, and only callbacks. At most `limit`, strictly after `mark`. A job that is retried meanwhile is
    /// met again further on.
    async fn jobs_after(
        &self,
        instance: InstanceId,
        standing: Standing,
        mark: Option<&Mark>,
        limit: usize,
    ) -> Result<Vec<KnownJob>, StoreError>;

    /// One job of an instance.
    async fn job(&self, instance: InstanceId, partition: Partition, id: &JobId)
    -> Result<Option<KnownJob>, StoreError>;

    /// Removes what the jobs of an instance that ended have left behind past its time.
    async fn tidy(&self, instance: InstanceId) -> Result<(), StoreError>;

    /// Keeps notes for [`NOTE_MEMORY`].
    async fn note(&self, notes: &[Note]) -> Result<(), StoreError>;

    /// The newest notes of a journal with their times, newest first.
    async fn notes(&self, journal: &Journal, limit: usize) -> Result<Vec<(Timestamp, Note)>, StoreError>;

    /// Takes something away at once and for good. A decision on a removed record conflicts, and then finds nothing.
    async fn remove(&self, removal: &Removal) -> Result<(), StoreError>;
}
