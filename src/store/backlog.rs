//! Waiting work, replicas and descriptions of a store, as operators see them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::Lane;
use crate::domain::InstanceId;

/// How long the heartbeat of a replica is kept.
pub const REPLICA_RETENTION: Duration = Duration::from_hours(24);

/// How long the end of a hold is kept: jobs held back until then count as late only from then on.
pub(super) const HOLD_RETENTION: Duration = Duration::from_mins(10);

/// Waiting work in all lanes of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backlog {
    /// [`super::LaneKind::as_str`].
    pub kind: &'static str,
    /// Jobs that are neither done nor dead, including leased ones and those due later.
    pub depth: u64,
    /// When the oldest of them was committed; `None` for timers, which wait by design.
    pub oldest: Option<Timestamp>,
    /// Since when the most overdue job could have been attempted; jobs of held lanes are not overdue.
    pub overdue: Option<Timestamp>,
    /// Lanes with work that are held back.
    pub held: u64,
    /// Number of jobs by instance: see [`Lane::instance`].
    pub instances: BTreeMap<InstanceId, u64>,
}

/// The last heartbeat of a replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaHeartbeat {
    pub replica: String,
    pub at: Timestamp,
    /// Opaque to the store.
    pub body: String,
}

/// What the store is, and how much space it uses.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StoreDescription {
    /// Product, role and size in one line.
    pub text: String,
    pub used_bytes: u64,
    /// The size it may grow to.
    pub limit_bytes: u64,
    /// Host and port of every server known to belong to the store. No callback may be sent there.
    pub addresses: Vec<(String, u16)>,
    /// Masters without a replica that could confirm their writes, where confirmation is required.
    pub replicas_missing: usize,
}

/// The last operation that a store refused or did not answer.
#[derive(Clone, Debug)]
pub struct LastStoreError {
    pub at: Instant,
    pub operation: &'static str,
    /// [`super::StoreError::cause`].
    pub cause: &'static str,
    pub why: String,
}

impl Backlog {
    pub(super) fn empty(kind: &'static str) -> Self {
        Self { kind, depth: 0, oldest: None, overdue: None, held: 0, instances: BTreeMap::new() }
    }

    /// Adds `count` waiting jobs of this lane.
    pub(super) fn add_waiting(&mut self, lane: &Lane, jobs: u64) {
        self.depth += jobs;
        if let Some(instance) = lane.instance().filter(|_| jobs > 0) {
            *self.instances.entry(instance).or_default() += jobs;
        }
    }

    pub(super) fn observe_oldest(&mut self, since: Timestamp) {
        self.oldest = Some(self.oldest.map_or(since, |oldest| oldest.min(since)));
    }

    /// Records when the first job of a lane was due, if that is past. The lane is, or was, held until `hold`.
    pub(super) fn observe_due(&mut self, due: Timestamp, hold: Option<Timestamp>, now: Timestamp) {
        let due = hold.map_or(due, |hold| due.max(hold));
        if due < now {
            self.overdue = Some(self.overdue.map_or(due, |overdue| overdue.min(due)));
        }
    }
}
