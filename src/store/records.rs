//! Records: what a decision reads and writes, and who hears of it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{ChangeNotifier, Job, Locator, RecordId, StoreError, TokenRequest};
use crate::domain::{InstanceId, Partition, keys::Digest, quota::Allowance};

/// How long a gateway's message id is remembered: past Meta's seven days of retries.
pub const MESSAGE_ID_RETENTION: Duration = Duration::from_hours(8 * 24);

/// A record as stored: sealed bytes, and a version that rises with every change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRecord {
    pub id: RecordId,
    /// The store time of the last write in microseconds, or one more than the version before, whichever is larger.
    /// In Redis by the clock of the server that wrote it.
    pub version: u64,
    pub bytes: Vec<u8>,
}

/// Everything one decision writes. It lands whole or not at all.
#[derive(Clone, Debug)]
pub struct Change {
    /// All of it lies in this partition.
    pub partition: Partition,
    /// Each once. None when a message is answered that belongs to no record.
    pub records: Vec<RecordChange>,
    /// The gateway message that this change answers; a second one is a [`CommitOutcome::Duplicate`].
    pub answers: Option<Digest>,
    pub jobs: Vec<Job>,
    /// The first store time at which this change must not be applied any more.
    pub valid_until: Option<Timestamp>,
    /// Old work must be finished even when the store is too full to take new work.
    pub finishing: bool,
}

impl Change {
    /// Of nothing, to be filled in; it finishes old work.
    pub const fn new(partition: Partition) -> Self {
        Self { partition, records: Vec::new(), answers: None, jobs: Vec::new(), valid_until: None, finishing: true }
    }

    /// With this record, in the partition of its id.
    pub fn of(record: RecordChange) -> Self {
        Self::new(record.id.partition()).record(record)
    }

    /// Refused by a full store.
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
    pub fn answers(self, message: impl Into<Option<Digest>>) -> Self {
        Self { answers: message.into(), ..self }
    }

    #[must_use]
    pub fn valid_until(self, end: impl Into<Option<Timestamp>>) -> Self {
        Self { valid_until: end.into(), ..self }
    }

    /// The records whose waiters must hear of this; a new one has none.
    pub(crate) fn changed(&self) -> Vec<RecordId> {
        let changed = self.records.iter().filter(|record| record.expected > 0 && record.bytes.is_some());
        changed.map(|record| record.id).collect()
    }
}

#[derive(Clone, Debug)]
pub struct RecordChange {
    pub id: RecordId,
    /// The version this change was decided on; 0 creates. Always compared.
    pub expected: u64,
    /// `None` leaves the record, and its version, as they are.
    pub bytes: Option<Vec<u8>>,
    /// When the store may forget the record.
    pub retain_until: Timestamp,
    /// When the record's timer is due from now on; `None` leaves it as it is.
    pub timer: Option<Timestamp>,
    /// Lists the record appears in, newest first by `created_at`. Given at creation and when it grows.
    pub indexes: Vec<Index>,
    pub created_at: Timestamp,
}

impl RecordChange {
    /// Writes `bytes` over version `expected`, in no list and without a timer.
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

/// One list of records.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Index(pub String);

impl Index {
    pub fn all(instance: InstanceId) -> Self {
        Self(format!("all:{}", instance.simple()))
    }

    pub fn by(what: &str, digest: Digest) -> Self {
        Self(format!("{what}:{}", digest.hex()))
    }
}

/// What became of a [`Change`].
#[must_use]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommitOutcome {
    /// For each job of the change, whether it is now leased to the caller (with fence 1).
    Applied { leased: Vec<bool> },
    /// Somebody else moved first: read again, decide again.
    Conflict,
    /// This gateway message was answered before.
    Duplicate,
    /// Another record is kept in this one's place: draw another id.
    Collision,
    /// The store's clock has passed `valid_until`: decide again at this time.
    Late(Timestamp),
}

/// Answer to [`Records::find`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FindResult {
    /// Whether one more unit could be taken from the bucket that was looked at.
    pub allowance: Option<Allowance>,
    /// One for each place.
    pub records: Vec<Option<StoredRecord>>,
}

/// Where a page of a list ends; the next one starts after it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    pub created_at: Timestamp,
    pub id: RecordId,
}

/// Loads and writes records. `now` is the store's time.
#[async_trait]
pub trait Records: Send + Sync + 'static {
    /// The store's time, as well as this process knows it without asking. Never goes backwards.
    fn now(&self) -> Timestamp;

    /// Rings when a record is written, by this process or, soon after, by another on the same store.
    fn changes(&self) -> &Arc<ChangeNotifier>;

    async fn load(&self, id: RecordId) -> Result<Option<StoredRecord>, StoreError>;

    /// What is kept in these places and, in the same round trip, whether `peek` has a unit left (without taking it).
    async fn find(&self, peek: Option<&TokenRequest>, places: &[Locator]) -> Result<FindResult, StoreError>;

    /// Writes a decision. Applied means durable in the configured mode. Repeating a change whose outcome is
    /// unknown is safe: it conflicts with itself.
    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError>;

    /// A page of an index, newest first, strictly after `after`.
    async fn list(
        &self,
        index: &Index,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, StoreError>;
}
