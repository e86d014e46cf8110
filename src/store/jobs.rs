//! Jobs: work that follows from a commit, leased to one worker at a time.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Lane, Locator, StoreError};
use crate::domain::{InstanceId, Partition, wire::wire_enum};

/// How long a dead job can be replayed.
pub const DEAD_RETENTION: Duration = Duration::from_hours(7 * 24);
/// Duration of a lease. Longer than any attempt can take.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A lease that ends later than this from now was written while a clock was ahead, and is ignored. Longer than
/// [`LEASE_DURATION`], because the clock may have gone back a little while the worker is still working.
pub(super) const MAX_LEASE: Duration = LEASE_DURATION.saturating_mul(2);
/// Longest hold of a lane. A hold that ends later was written while a clock was ahead, and is ignored.
pub const MAX_HOLD: Duration = Duration::from_mins(15);

/// How many further jobs a lease may read, when jobs are skipped because their group is busy.
pub(super) const GROUP_SCAN: usize = 256;

/// Unique within its partition for ever, so that one effect is never queued twice.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct JobId(pub String);

impl JobId {
    /// The part before a slash. Of the jobs of one group in a lane, only one is leased at a time.
    pub fn group(&self) -> Option<&str> {
        self.0.split_once('/').map(|(group, _)| group)
    }
}

/// Work to be done after a commit.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub instance: InstanceId,
    pub lane: Lane,
    /// `None` means at once.
    pub due: Option<Timestamp>,
    /// Sealed; opaque to the store.
    pub body: Vec<u8>,
    /// Lease it to the committing process in the same step, unless its lane is held.
    pub lease: bool,
}

/// A job leased to a worker. Timers are leased too: the body is the [`Locator`] of the record, and there is no instance
/// and no count of attempts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeasedJob {
    pub partition: Partition,
    pub id: JobId,
    pub instance: InstanceId,
    pub lane: Lane,
    /// Rises with every lease, so that a worker whose lease expired can no longer settle the job.
    pub fence: u64,
    /// Attempts made so far. An expired lease counts as none.
    pub attempts: u32,
    /// Consecutive leases before this one that expired without a settlement.
    pub expired_leases: u32,
    /// When the job was committed.
    pub since: Timestamp,
    pub body: Vec<u8>,
}

impl LeasedJob {
    pub(crate) fn timer(locator: Locator, fence: u64, due: Timestamp) -> Self {
        Self {
            partition: locator.partition(),
            id: JobId(format!("timer:{locator:?}")),
            instance: InstanceId::NONE,
            lane: Lane::timer(),
            fence,
            attempts: 0,
            expired_leases: 0,
            since: due,
            body: locator.as_bytes().to_vec(),
        }
    }
}

/// Due work in one lane of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DueLane {
    pub partition: Partition,
    pub lane: Lane,
    /// Due time of its first job.
    pub since: Timestamp,
}

/// How many jobs of a lane a worker can start now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseRequest {
    pub partition: Partition,
    pub lane: Lane,
    pub limit: usize,
    /// Groups of which the caller holds a job: see [`JobId::group`].
    pub busy_groups: Arc<[String]>,
}

/// Result of a [`LeaseRequest`].
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct LeaseGrant {
    /// Longest due first.
    pub jobs: Vec<LeasedJob>,
    /// Due time of the first job that is left, if any is due.
    pub oldest_left: Option<Timestamp>,
}

wire_enum! {
    /// Why a job was given up, as metrics and alerts have it.
    DeadReason {
        /// The instance left the configuration while the job waited.
        InstanceRemoved = "instance_removed",
        /// The receiver wants no more of these.
        Gone = "gone",
        /// No callback may go to this address.
        ForbiddenTarget = "forbidden_target",
        /// A test event, which is tried once.
        Test = "test",
        /// It ended the processes that attempted it.
        Poison = "poison",
        /// No replica had its key.
        Unreadable = "unreadable",
        /// Every attempt failed, or it is too late for another one.
        GivenUp = "given_up",
    }
}

/// The outcome that a worker reports for a leased job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settlement {
    Done,
    /// Done, and listed for [`DELIVERED_RETENTION`](super::archive::DELIVERED_RETENTION).
    Delivered,
    /// The attempt failed; the next one is due at this time. `note` tells operators why.
    Retry {
        at: Timestamp,
        note: String,
    },
    /// Not attempted; the job is due again at this time.
    Postpone {
        at: Timestamp,
    },
    /// Given up, and kept for [`DEAD_RETENTION`]. Only the note is kept; the reason is counted where it is settled.
    Dead {
        reason: DeadReason,
        note: String,
    },
}

/// Hands out due jobs and records their outcomes.
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// Lanes with due work in all partitions, longest due first; at most a bounded number. Jobs whose lease has expired
    /// are due again.
    async fn due(&self) -> Result<Vec<DueLane>, StoreError>;

    /// Leases due jobs for [`LEASE_DURATION`] in one round trip, at most one of each group. One result for each
    /// request.
    async fn lease(&self, requests: &[LeaseRequest]) -> Result<Vec<LeaseGrant>, StoreError>;

    /// Returns `false`, and writes nothing, if the lease had expired and another worker holds the job. A timer that was
    /// set anew meanwhile keeps its new time; timers have no attempts and end only by [`Settlement::Done`].
    async fn settle(&self, leased: &LeasedJob, settlement: &Settlement) -> Result<bool, StoreError>;

    /// Holds back all work of a lane until `until`, without counting attempts. A time in the past ends a hold.
    async fn hold(&self, lane: &Lane, until: Timestamp) -> Result<(), StoreError>;

    /// Queues a dead or delivered job again, due at once and with no attempts counted. Returns `false` if it does not
    /// exist.
    async fn replay(&self, instance: InstanceId, partition: Partition, id: &JobId) -> Result<bool, StoreError>;
}
