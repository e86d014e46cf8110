//! Durable state. A store moves bytes atomically and knows no rule of the protocol.
//!
//! Two implementations, one behaviour: [`embedded`] for one process, [`redis`] for any number of them. The
//! conformance suite in `tests/it/store.rs` owns the contract. `now` is the store's time, and every method is
//! one atomic step per partition.

pub mod archive;
pub mod background;
pub mod backlog;
pub mod changes;
pub mod embedded;
pub mod id;
pub mod lane;
pub mod measured;
pub mod patience;
pub mod record;
pub mod redis;

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

pub use self::{
    archive::{KnownJob, Standing},
    background::Background,
    backlog::{Announced, Backlog, Description, REPLICA_MEMORY, Refusal},
    changes::{Busy, Changes, Watch},
    id::{Locator, RecordId},
    lane::{Lane, LaneKind},
};
use crate::domain::{
    InstanceId, Partition,
    keys::Digest,
    quota::{Allowance, Quota},
};

/// How long a gateway's message id is remembered: past Meta's seven days of retries.
pub const MESSAGE_MEMORY: Duration = Duration::from_hours(8 * 24);
/// How long a job that was given up can be replayed.
pub const DEAD_MEMORY: Duration = Duration::from_hours(7 * 24);
/// How long a worker may hold a job: longer than any attempt can take.
pub const LEASE: Duration = Duration::from_secs(15);

/// Jobs that a lease looks at beyond those it is asked for, where some are left out for their group.
const GROUP_SCAN: usize = 256;

/// A record as stored: sealed bytes, and a version that rises with every change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
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
    /// The gateway message that this change answers; a second one is a [`Committed::Duplicate`].
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

/// Names a job; unique within its partition for ever, so that the same effect is never queued twice.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct JobId(pub String);

impl JobId {
    /// What stands before a slash: of the jobs of one group in one lane only one is leased at a time.
    pub fn group(&self) -> Option<&str> {
        self.0.split_once('/').map(|(group, _)| group)
    }
}

/// Work that has to happen after a commit.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub instance: InstanceId,
    pub lane: Lane,
    /// `None`: at once.
    pub due: Option<Timestamp>,
    /// Sealed; opaque here.
    pub body: Vec<u8>,
    /// Hand it to the committing process in the same step. A held lane refuses.
    pub lease: bool,
}

/// What became of a [`Change`].
#[must_use]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Committed {
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

/// A job in the hands of a worker. A timer is leased like one: its body is the [`Locator`] of its record, it belongs to
/// no instance and counts nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leased {
    pub partition: Partition,
    pub id: JobId,
    pub instance: InstanceId,
    pub lane: Lane,
    /// Rises with every lease; a worker whose lease ran out is refused by it.
    pub fence: u64,
    /// Attempts spent so far. A lease that ran out is none.
    pub attempts: u32,
    /// Leases in a row, before this one, that ran out unsettled.
    pub lapsed: u32,
    /// When the job was committed.
    pub since: Timestamp,
    pub body: Vec<u8>,
}

impl Leased {
    pub(crate) fn timer(locator: Locator, fence: u64, due: Timestamp) -> Self {
        Self {
            partition: locator.partition(),
            id: JobId(format!("timer:{locator:?}")),
            instance: InstanceId::NOBODY,
            lane: Lane::timer(),
            fence,
            attempts: 0,
            lapsed: 0,
            since: due,
            body: locator.as_bytes().to_vec(),
        }
    }
}

/// Work that is due in one lane of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DueLane {
    pub partition: Partition,
    pub lane: Lane,
    /// When the first of its jobs was due.
    pub since: Timestamp,
}

/// How much of a lane a worker can start now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseRequest {
    pub partition: Partition,
    pub lane: Lane,
    pub limit: usize,
    /// Groups of which the caller has a job in hand: see [`JobId::group`].
    pub busy: Vec<String>,
}

/// Answer to a [`LeaseRequest`].
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Granted {
    /// Longest due first.
    pub jobs: Vec<Leased>,
    /// Since when there is more, if there is.
    pub more: Option<Timestamp>,
}

/// What a worker says about its leased job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settlement {
    Done,
    /// Done, and remembered for a while: [`archive::DELIVERED_MEMORY`].
    Delivered,
    /// An attempt failed; the next one comes at this time. `note` says why, for people.
    Retry {
        at: Timestamp,
        note: String,
    },
    /// Nothing was attempted; give it back until this time.
    Postpone {
        at: Timestamp,
    },
    /// Given up; kept for [`DEAD_MEMORY`].
    Dead {
        note: String,
    },
}

/// One unit of a bucket.
#[derive(Clone, Debug)]
pub struct Take {
    pub partition: Partition,
    pub bucket: String,
    pub quota: Quota,
}

/// Indexes of those that are taken in one step.
fn by_partition(takes: &[Take]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, take) in takes.iter().enumerate() {
        match groups.iter_mut().find(|group| takes[group[0]].partition == take.partition) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

/// Claims an idempotency key for a request, for a day.
#[derive(Clone, Debug)]
pub struct Reserve {
    pub partition: Partition,
    pub key: Digest,
    /// What the request said; another body under the same key differs here.
    pub fingerprint: Digest,
    /// What the request will be made from, unless an earlier one holds the key. Opaque here.
    pub claim: Vec<u8>,
    /// Gives way, if it is what holds the key.
    pub replaces: Option<Vec<u8>>,
}

/// Who holds an idempotency key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    pub fingerprint: Digest,
    pub claim: Vec<u8>,
}

/// Answer to [`Store::admit`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    /// One for each [`Take`].
    pub allowances: Vec<Allowance>,
    /// Whoever holds the key now: us, or an earlier request.
    pub reservation: Option<Reservation>,
}

/// Answer to [`Store::draw`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drawn {
    pub units: u32,
    /// Until there is another one.
    pub wait: Duration,
}

/// Answer to [`Store::find`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Whether one more unit could be taken from the bucket that was looked at.
    pub allowance: Option<Allowance>,
    /// One for each place.
    pub records: Vec<Option<Stored>>,
}

/// Where a page of a list ends; the next one starts after it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    pub created_at: Timestamp,
    pub id: RecordId,
}

/// Why the store did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Worth another try: the network, a fail-over, a full queue, an unconfirmed write.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store takes no new work; finishing old work still succeeds.
    #[error("the store is full: raise maxmemory of Redis, or give the disk more room")]
    Full,
    /// The store is reached and takes no writes from any replica: too few replicas of its own, or no disk.
    #[error("the store takes no writes: {0}")]
    Refused(String),
    /// No key of this process opens it: its key was removed, or it was sealed for another place.
    #[error("no configured key opens {0}")]
    Sealed(String),
    /// A bug, or a store that something else has written to.
    #[error("the store answered what it cannot answer: {0}")]
    Broken(String),
    /// This process must not use this store. The text says what to change.
    #[error("{0}")]
    Unfit(String),
}

impl StoreError {
    /// The word for metrics.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Full => "full",
            Self::Refused(_) => "refused",
            Self::Sealed(_) => "sealed",
            Self::Broken(_) => "broken",
            Self::Unfit(_) => "unfit",
        }
    }
}

/// Durable state behind one process or many.
#[async_trait]
pub trait Store: archive::Archive {
    /// The store's time, as well as this process knows it without asking. Never goes backwards.
    fn now(&self) -> Timestamp;

    /// Rings when a record is written, by this process or, soon after, by another on the same store.
    fn changes(&self) -> &Arc<Changes>;

    /// Its own tasks and threads.
    fn background(&self) -> &Background;

    /// How far this host's clock is ahead of the store's, in milliseconds.
    fn skew_millis(&self) -> i64;

    async fn load(&self, id: RecordId) -> Result<Option<Stored>, StoreError>;

    /// What is kept in these places and, in the same round trip, whether `peek` has a unit left (without taking it).
    async fn find(&self, peek: Option<&Take>, places: &[Locator]) -> Result<Found, StoreError>;

    /// Takes from all buckets, each named once, and claims the key, in one round trip. Where a bucket is short nothing
    /// is taken from those of its partition; other partitions and the key know nothing of it.
    async fn admit(&self, takes: &[Take], reserve: Option<&Reserve>) -> Result<Admission, StoreError>;

    /// Takes up to `units` from all buckets alike, which lie in one partition: as many as the shortest has.
    async fn draw(&self, takes: &[Take], units: u32) -> Result<Drawn, StoreError>;

    /// Writes a decision. Applied means durable in the configured mode. Repeating a change whose outcome is
    /// unknown is safe: it conflicts with itself.
    async fn commit(&self, change: &Change) -> Result<Committed, StoreError>;

    /// Lanes that have due work, in all partitions, the longest due first. Of very many a bounded number.
    async fn due(&self) -> Result<Vec<DueLane>, StoreError>;

    /// Leases due jobs for [`LEASE`], at most one of each group, in one round trip. One answer for each request.
    async fn lease(&self, requests: &[LeaseRequest]) -> Result<Vec<Granted>, StoreError>;

    /// `false`: the lease had run out and another worker holds the job now; nothing was written. A timer that was set
    /// anew meanwhile keeps its new time; it knows no attempts and no end but [`Settlement::Done`].
    async fn settle(&self, leased: &Leased, settlement: &Settlement) -> Result<bool, StoreError>;

    /// Keeps all work of a lane back until `until`, without spending attempts. A time that is over ends a hold.
    async fn hold(&self, lane: &Lane, until: Timestamp) -> Result<(), StoreError>;

    /// A page of an index, newest first, strictly after `after`.
    async fn list(&self, index: &Index, after: Option<&Position>, limit: usize) -> Result<Vec<Stored>, StoreError>;

    /// Queues a dead or delivered job again, at once and with a fresh count of attempts. `false`: there is none.
    async fn replay(&self, instance: InstanceId, partition: Partition, id: &JobId) -> Result<bool, StoreError>;

    /// What the store remembers about itself, by name. Writes the format on first use; another format is
    /// [`StoreError::Unfit`].
    async fn meta(&self) -> Result<HashMap<String, String>, StoreError>;

    /// Remembers something about the store for ever, unless it is known already and `replace` is false.
    async fn set_meta(&self, name: &str, value: &str, replace: bool) -> Result<(), StoreError>;

    /// Refuses a store that would lose logins silently, and returns what is merely unwise.
    async fn posture(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// What waits, by kind of lane; kinds with nothing are left out. Looks at a bounded number of
    /// lanes and only at the ends of their queues, so that it stays cheap: with very much work the depth is
    /// a lower bound, and the oldest is the oldest of those seen.
    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError>;

    /// Remembers what a replica says of itself, for [`REPLICA_MEMORY`]; what it said before is forgotten.
    async fn announce(&self, replica: &str, words: &str) -> Result<(), StoreError>;

    /// What replicas said of themselves, newest first.
    async fn announced(&self) -> Result<Vec<Announced>, StoreError>;

    /// What this store is, its role, its size.
    async fn describe(&self) -> Result<Description, StoreError>;

    /// The last request that failed here, where somebody keeps count.
    fn last_refusal(&self) -> Option<Refusal> {
        None
    }

    /// Uses the credentials in `url`, the address of this same store, for connections that are opened from now on.
    fn take_up(&self, _url: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// A write of the kind that finishes old work, sent once to every master, and to none again. It fails when none of
    /// them took it: about this process' way to the store.
    async fn probe(&self) -> Result<(), StoreError>;

    /// A write of the kind that begins new work, at every master, and confirmed as commits are. It fails where they do.
    async fn trial(&self) -> Result<(), StoreError>;
}

/// A store made with keys that this process does not have, by their fingerprints.
pub(crate) fn other_keys<'a>(known: impl Iterator<Item = &'a str>) -> StoreError {
    let known: Vec<&str> = known.map(|fingerprint| fingerprint.get(..8).unwrap_or(fingerprint)).collect();
    StoreError::Unfit(format!(
        "this store was made with other keys (fingerprints {}): none of them is in key or key_file. Add the old key as a \
         further line of key_file, or start with an empty store",
        known.join(", ")
    ))
}
