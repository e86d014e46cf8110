//! What waits and who works: what operators ask a store for.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::Lane;
use crate::domain::InstanceId;

/// How long a store remembers what a replica said of itself.
pub const REPLICA_RETENTION: Duration = Duration::from_hours(24);

/// How long the end of a hold is remembered: what it kept back is late from then on.
pub(super) const HOLD_RETENTION: Duration = Duration::from_mins(10);

/// What waits in all lanes of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backlog {
    /// [`super::LaneKind::as_str`].
    pub kind: &'static str,
    /// Jobs that are not done and not dead, also those that are leased or due later.
    pub depth: u64,
    /// When the oldest of them was committed; `None` for timers, which wait by design.
    pub oldest: Option<Timestamp>,
    /// Since when the most overdue of them could have been attempted: what is held back is not overdue.
    pub overdue: Option<Timestamp>,
    /// Lanes that are held back, with work.
    pub held: u64,
    /// How many of the jobs are whose: see [`Lane::instance`].
    pub instances: BTreeMap<InstanceId, u64>,
}

/// What a replica said of itself, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaHeartbeat {
    pub replica: String,
    pub at: Timestamp,
    /// Opaque here.
    pub words: String,
}

/// What a store is, and how much room it has.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StoreDescription {
    /// One line for people: product, role, size.
    pub text: String,
    pub used_bytes: u64,
    /// What it may grow to.
    pub limit_bytes: u64,
    /// Host and port of every server that belongs to it, as far as it tells: no callback may go there.
    pub addresses: Vec<(String, u16)>,
    /// Masters whose writes no replica can confirm, although one must.
    pub replicas_missing: usize,
}

/// The last request that a store refused or did not answer.
#[derive(Clone, Debug)]
pub struct StoreRefusal {
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

    /// So many jobs more, of this lane.
    pub(super) fn add_waiting(&mut self, lane: &Lane, jobs: u64) {
        self.depth += jobs;
        if let Some(instance) = lane.instance().filter(|_| jobs > 0) {
            *self.instances.entry(instance).or_default() += jobs;
        }
    }

    pub(super) fn observe_oldest(&mut self, since: Timestamp) {
        self.oldest = Some(self.oldest.map_or(since, |oldest| oldest.min(since)));
    }

    /// Notes when the first job of a lane is due, if that is over. The lane is, or was, held back until `hold`.
    pub(super) fn observe_due(&mut self, due: Timestamp, hold: Option<Timestamp>, now: Timestamp) {
        let due = hold.map_or(due, |hold| due.max(hold));
        if due < now {
            self.overdue = Some(self.overdue.map_or(due, |overdue| overdue.min(due)));
        }
    }
}
