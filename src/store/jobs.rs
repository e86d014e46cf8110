//! Jobs: work that follows from a commit, and that one worker at a time has in hand.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Lane, Locator, StoreError};
use crate::domain::{InstanceId, Partition};

/// How long a job that was given up can be replayed.
pub const DEAD_RETENTION: Duration = Duration::from_hours(7 * 24);
/// How long a worker may hold a job: longer than any attempt can take.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A store does not believe a lease that ends later: a clock that was ahead has written it. Longer than [`LEASE_DURATION`], for
/// the clock may have gone back a little while the worker is still at work.
pub(super) const MAX_LEASE: Duration = LEASE_DURATION.saturating_mul(2);
/// How long a lane may be held. A store does not believe a hold that ends later: a clock that was ahead has written it.
pub const MAX_HOLD: Duration = Duration::from_mins(15);

/// Jobs that a lease looks at beyond those it is asked for, where some are left out for their group.
pub(super) const GROUP_SCAN: usize = 256;

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
pub struct LeaseGrant {
    /// Longest due first.
    pub jobs: Vec<Leased>,
    /// Since when there is more, if there is.
    pub more: Option<Timestamp>,
}

/// What a worker says about its leased job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settlement {
    Done,
    /// Done, and remembered for a while: [`super::archive::DELIVERED_MEMORY`].
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
    /// Given up; kept for [`DEAD_RETENTION`].
    Dead {
        note: String,
    },
}

/// Hands out due work and hears what became of it.
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// Lanes that have due work, in all partitions, the longest due first. Of very many a bounded number. What was not
    /// settled within its lease can be leased again from the next look on.
    async fn due(&self) -> Result<Vec<DueLane>, StoreError>;

    /// Leases due jobs for [`LEASE_DURATION`], at most one of each group, in one round trip. One answer for each request.
    async fn lease(&self, requests: &[LeaseRequest]) -> Result<Vec<LeaseGrant>, StoreError>;

    /// `false`: the lease had run out and another worker holds the job now; nothing was written. A timer that was set
    /// anew meanwhile keeps its new time; it knows no attempts and no end but [`Settlement::Done`].
    async fn settle(&self, leased: &Leased, settlement: &Settlement) -> Result<bool, StoreError>;

    /// Keeps all work of a lane back until `until`, without spending attempts. A time that is over ends a hold.
    async fn hold(&self, lane: &Lane, until: Timestamp) -> Result<(), StoreError>;

    /// Queues a dead or delivered job again, at once and with a fresh count of attempts. `false`: there is none.
    async fn replay(&self, instance: InstanceId, partition: Partition, id: &JobId) -> Result<bool, StoreError>;
}
