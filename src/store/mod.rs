//! Durable state. A store moves bytes atomically and knows no rule of the protocol.
//!
//! A [`Store`] implements six traits, one for each of its duties: [`Records`], [`Jobs`], [`AdmissionControl`],
//! [`Archive`], [`HourlyCounters`] and [`Operations`]. There are two implementations with the same behaviour:
//! [`embedded`] for one process, [`redis`] for any number of replicas. The conformance suite in `tests/it/store.rs`
//! defines the contract. Every method is one atomic step for each partition it touches.

pub mod archive;
pub mod background;
pub mod backlog;
pub mod changes;
pub mod counters;
pub mod embedded;
pub mod id;
pub mod jobs;
pub mod key_gate;
pub mod lane;
pub mod limits;
pub mod metered;
mod monotonic_time;
pub mod operations;
pub mod record;
pub mod records;
pub mod redis;
pub mod time_budget;

pub use self::{
    archive::{Archive, JobInfo, JobState},
    background::Background,
    backlog::{Backlog, LastStoreError, REPLICA_RETENTION, ReplicaHeartbeat, StoreDescription},
    changes::{ChangeNotifier, WatchError, Watcher},
    counters::{COUNTER_RETENTION, Hour, HourlyCounters, HourlyCounts},
    id::{Locator, RecordId},
    jobs::{
        DEAD_RETENTION, DeadReason, DueLane, Job, JobId, Jobs, LEASE_DURATION, LeaseGrant, LeaseRequest, LeasedJob,
        MAX_HOLD, Settlement,
    },
    key_gate::KeyGate,
    lane::{Lane, LaneKind},
    limits::{Admission, AdmissionControl, BucketRequest, DrawnTokens, IdempotencyClaim, IdempotencyRecord},
    operations::Operations,
    records::{
        Change, CommitOutcome, FindResult, Index, MESSAGE_ID_RETENTION, Position, RecordChange, Records, StoredRecord,
    },
};
use self::{
    jobs::{GROUP_SCAN, MAX_LEASE},
    limits::by_partition,
};

/// Why a store operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Worth a retry: a network error, a fail-over, a full queue, an unconfirmed write.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Refuses new work. Work that was accepted before can still be finished.
    #[error("the store is full: raise maxmemory of Redis, or give the disk more room")]
    Full,
    /// Reachable, but refuses all writes: too few replicas of its own, or a failing disk.
    #[error("the store takes no writes: {0}")]
    Refused(String),
    /// No key of this process opens the value: its key was removed, or it was sealed for another place.
    #[error("no configured key opens {0}")]
    Sealed(String),
    /// A reply or value that should not exist: a bug, or another program has written to the store.
    #[error("the store answered what it cannot answer: {0}")]
    Corrupt(String),
    /// The store must not be used with this configuration. The text says what to change.
    #[error("{0}")]
    Misconfigured(String),
}

impl StoreError {
    /// The label value in metrics.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Full => "full",
            Self::Refused(_) => "refused",
            Self::Sealed(_) => "sealed",
            Self::Corrupt(_) => "broken",
            Self::Misconfigured(_) => "unfit",
        }
    }
}

/// Durable state of one process or of many replicas.
pub trait Store: Records + Jobs + AdmissionControl + Archive + HourlyCounters + Operations {}

impl<S: Records + Jobs + AdmissionControl + Archive + HourlyCounters + Operations> Store for S {}
