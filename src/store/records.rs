//! Records: what a decision reads and writes, and notifications of changes.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{BucketRequest, ChangeNotifier, Job, Locator, RecordId, StoreError};
use crate::domain::{InstanceId, LookUp, Partition, quota::Allowance};

/// How long a gateway's message id is remembered: past Meta's seven days of retries.
pub const MESSAGE_ID_RETENTION: Duration = Duration::from_hours(8 * 24);

/// A record as stored: sealed bytes, and a version that rises with every change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRecord {
    pub id: RecordId,
    /// Store time of the last write in microseconds, or the previous version plus one if that is larger. In Redis, the
    /// time is that of the server that wrote it.
    pub version: u64,
    pub bytes: Vec<u8>,
}

/// Everything that one decision writes, atomically.
#[derive(Clone, Debug)]
pub struct Change {
    /// The partition of everything in it.
    pub partition: Partition,
    /// Each record once. Empty for a reply to a message that belongs to no record.
    pub records: Vec<RecordChange>,
    /// The gateway message that this change answers. A second change for it is a [`CommitOutcome::Duplicate`].
    pub answers: Option<LookUp>,
    pub jobs: Vec<Job>,
    /// From this store time on, the change is refused.
    pub valid_until: Option<Timestamp>,
    /// It finishes accepted work, and so succeeds on a full store too.
    pub finishing: bool,
}

impl Change {
    /// An empty change that finishes accepted work.
    pub const fn new(partition: Partition) -> Self {
        Self { partition, records: Vec::new(), answers: None, jobs: Vec::new(), valid_until: None, finishing: true }
    }

    /// A change of one record.
    pub fn of(record: RecordChange) -> Self {
        Self::new(record.id.partition()).record(record)
    }

    /// Marks the change as new work, which a full store refuses.
    #[must_use]
    pub fn starting(self) -> Self {
        Self { finishing: false, ..self }
    }

    #[must_use]
    pub fn record(mut self, record: RecordChange) -> Self {
        self.records.push(record);
        self
    }

    #[must_use]
    pub fn job(mut self, job: Job) -> Self {
        self.jobs.push(job);
        self
    }

    #[must_use]
    pub fn jobs(mut self, jobs: impl IntoIterator<Item = Job>) -> Self {
        self.jobs.extend(jobs);
        self
    }

    #[must_use]
    pub fn answers(self, message: impl Into<Option<LookUp>>) -> Self {
        Self { answers: message.into(), ..self }
    }

    #[must_use]
    pub fn valid_until(self, end: impl Into<Option<Timestamp>>) -> Self {
        Self { valid_until: end.into(), ..self }
    }

    /// The records whose waiters are notified; new records have none.
    pub(crate) fn changed(&self) -> Vec<RecordId> {
        let changed = self.records.iter().filter(|record| record.expected > 0 && record.bytes.is_some());
        changed.map(|record| record.id).collect()
    }
}

/// The part of a [`Change`] that concerns one record.
#[derive(Clone, Debug)]
pub struct RecordChange {
    pub id: RecordId,
    /// The version that the decision was made on; 0 creates the record. Always compared.
    pub expected: u64,
    /// `None` leaves the record and its version unchanged.
    pub bytes: Option<Vec<u8>>,
    /// When the store may delete the record.
    pub retain_until: Timestamp,
    /// The new due time of the record's timer; `None` leaves it unchanged.
    pub timer: Option<Timestamp>,
    /// Lists that the record is added to, newest first by `created_at`. Given at creation, and when it joins further
    /// lists.
    pub indexes: Vec<Index>,
    pub created_at: Timestamp,
}

impl RecordChange {
    /// Replaces version `expected` by `bytes`; no lists, no timer.
    pub fn new(id: impl Into<RecordId>, expected: u64, bytes: Vec<u8>, retain_until: Timestamp) -> Self {
        Self {
            id: id.into(),
            expected,
            bytes: Some(bytes),
            retain_until,
            timer: None,
            indexes: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
        }
    }
}

/// The name of a list of records.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Index(pub String);

impl Index {
    pub fn all(instance: InstanceId) -> Self {
        Self(format!("all:{}", instance.simple()))
    }

    /// One list for each digest.
    pub fn by(what: &str, whose: LookUp) -> Vec<Self> {
        whose.all().map(|digest| Self(format!("{what}:{}", digest.hex()))).collect()
    }
}

/// Outcome of a commit.
#[must_use]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommitOutcome {
    /// For each job of the change, whether it is leased to the caller (with fence 1).
    Applied { leased: Vec<bool> },
    /// The record was changed since it was read: read and decide again.
    Conflict,
    /// This gateway message was answered before.
    Duplicate,
    /// Another record has the same locator: choose another id.
    Collision,
    /// The store's clock, given here, has passed `valid_until`: decide again with this time.
    Late(Timestamp),
}

/// Result of [`Records::find`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FindResult {
    /// Whether the peeked bucket has a unit left.
    pub allowance: Option<Allowance>,
    /// One for each locator, in order.
    pub records: Vec<Option<StoredRecord>>,
}

/// The end of a page of a list; the next page starts after it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    pub created_at: Timestamp,
    pub id: RecordId,
}

/// Loads and writes records.
#[async_trait]
pub trait Records: Send + Sync + 'static {
    /// The store's time as estimated by this process. Never goes backwards.
    fn now(&self) -> Timestamp;

    /// Notifies of written records: at once for writes of this process, with a delay for those of other replicas.
    fn changes(&self) -> &Arc<ChangeNotifier>;

    async fn load(&self, id: RecordId) -> Result<Option<StoredRecord>, StoreError>;

    /// Loads the records at these locators. In the same round trip, checks whether `peek` has a unit left without
    /// taking it.
    async fn find(&self, peek: Option<&BucketRequest>, locators: &[Locator]) -> Result<FindResult, StoreError>;

    /// Writes a decision. `Applied` means durable in the configured mode. Repeating a change whose outcome is unknown
    /// is safe: it conflicts with itself.
    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError>;

    /// A page of several lists together, newest first and each record once, strictly after `after`.
    async fn list(
        &self,
        lists: &[Index],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, StoreError>;
}
