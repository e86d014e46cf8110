//! The health of this process and the other replicas: gateway activity, recent failures, pending work. It is shared
//! through heartbeats and shown to operators.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Instance;
use crate::{
    clock::Clock,
    domain::InstanceId,
    metrics::{
        Metrics,
        label::{ByGateway, ByKind, InstanceLabel},
    },
    store::{Backlog, ReplicaHeartbeat, StoreError},
};

/// Maximum distinct failures kept; a repeated failure only increases its count.
const MAX_FAILURES: usize = 32;
/// A failure that has not occurred for this long is logged again.
const LOG_INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// The state of this process, and the last snapshot read from the store.
pub struct ReplicaHealth {
    /// Host and operator port: stable across restarts, unique among running processes.
    pub replica: String,
    pub started: Timestamp,
    /// When each instance's gateway last proved to be alive.
    last_inbound: Mutex<HashMap<InstanceId, Timestamp>>,
    failures: Mutex<Vec<RecentFailure>>,
    /// Changed configuration keys that take effect only after a restart.
    pub restart_required: ArcSwap<Vec<&'static str>>,
    pub(crate) snapshot: ArcSwapOption<StoreSnapshot>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// A snapshot read from the store.
pub(crate) struct StoreSnapshot {
    pub(crate) at: Instant,
    pub(crate) backlog: Vec<Backlog>,
    pub(crate) replicas: Vec<(ReplicaHeartbeat, HeartbeatBody)>,
}

/// A replica whose last heartbeat is older than this is considered dead.
const MAX_HEARTBEAT_AGE: SignedDuration = SignedDuration::from_secs(30);

/// The content of a heartbeat. Versions may add and remove fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HeartbeatBody {
    pub(crate) version: String,
    pub(crate) started: Option<Timestamp>,
    pub(crate) ready: bool,
    pub(crate) stopped: bool,
    pub(crate) config_current: bool,
    /// The number of the look-up key in use.
    pub(crate) look_up: u32,
    /// Ids of the keys that it publishes as OpenID provider.
    pub(crate) oidc_keys: Vec<String>,
    #[serde(rename = "heard")]
    pub(crate) last_inbound: HashMap<InstanceId, Timestamp>,
    pub(crate) failures: Vec<RecentFailure>,
}

/// A recent failure. Contains no personal data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecentFailure {
    pub at: Timestamp,
    pub instance: InstanceId,
    /// `webhook`, `message`, `reply`, `callback`, `record` or `job`.
    pub what: String,
    pub reason: String,
    /// Number of occurrences since the process started.
    pub count: u64,
}

impl HeartbeatBody {
    /// A heartbeat with its body. One of a later version may be unreadable; it then counts as empty.
    pub(crate) fn of(heartbeat: ReplicaHeartbeat) -> (ReplicaHeartbeat, Self) {
        let body = serde_json::from_str(&heartbeat.body).unwrap_or_default();
        (heartbeat, body)
    }

    /// Whether the replica of this heartbeat runs, as far as `heartbeat` tells.
    pub(crate) fn is_alive(&self, heartbeat: &ReplicaHeartbeat, now: Timestamp) -> bool {
        !self.stopped && now.duration_since(heartbeat.at) < MAX_HEARTBEAT_AGE
    }
}

impl ReplicaHealth {
    pub fn new(replica: String, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let (last_inbound, failures) = (Mutex::default(), Mutex::default());
        Self {
            replica,
            started: clock.wall(),
            last_inbound,
            failures,
            restart_required: ArcSwap::default(),
            snapshot: ArcSwapOption::empty(),
            clock,
            metrics,
        }
    }

    /// Records a failure. `reason` is a fixed word or a status, with the host for a callback, but never text from
    /// outside. Returns the number of occurrences if this one should be logged; others are suppressed, because
    /// outsiders can cause any number of failures.
    pub fn record_failure(&self, instance: InstanceId, what: &str, reason: &str, at: Timestamp) -> Option<u64> {
        let mut failures = lock(&self.failures);
        let same = |one: &&mut RecentFailure| one.instance == instance && one.what == what && one.reason == reason;
        if let Some(known) = failures.iter_mut().find(same) {
            known.count += 1;
            let quiet = at.duration_since(std::mem::replace(&mut known.at, at));
            return (quiet >= LOG_INTERVAL || known.count.is_power_of_two()).then_some(known.count);
        }
        if failures.len() == MAX_FAILURES {
            // A reason may name a host that API callers choose, so make room among the failures of the instance that
            // has the most: no instance displaces those of others.
            let of = |instance| failures.iter().filter(|one| one.instance == instance).count();
            let rank = |one: &RecentFailure| (std::cmp::Reverse(of(one.instance)), one.at);
            let oldest = (0..failures.len()).min_by_key(|&index| rank(&failures[index]));
            failures.swap_remove(oldest.unwrap_or_default());
        }
        failures.push(RecentFailure { at, instance, what: what.to_owned(), reason: reason.to_owned(), count: 1 });
        Some(1)
    }

    /// When each instance's gateway last proved to be alive.
    pub(crate) fn all_last_inbound(&self) -> HashMap<InstanceId, Timestamp> {
        lock(&self.last_inbound).clone()
    }

    pub(crate) fn last_inbound_of(&self, instance: InstanceId) -> Option<Timestamp> {
        lock(&self.last_inbound).get(&instance).copied()
    }

    pub(crate) fn own_failures(&self) -> Vec<RecentFailure> {
        lock(&self.failures).clone()
    }

    /// Records that the gateway of `instance` has proved to be alive.
    pub fn record_inbound(&self, instance: &Instance) {
        self.record_inbound_at(instance, self.clock.wall());
    }

    pub(crate) fn record_inbound_at(&self, instance: &Instance, at: Timestamp) {
        let id = instance.config.id;
        let mut last_inbound = lock(&self.last_inbound);
        let last = last_inbound.entry(id).or_insert(at);
        *last = at.max(*last);
        let from = ByGateway { instance: InstanceLabel(id), gateway: instance.gateway.kind() };
        let gauge = self.metrics.gateway_last_inbound_timestamp_seconds.get_or_create_owned(&from);
        gauge.set(last.as_duration().as_secs_f64());
    }

    /// Pending jobs of an instance, as last counted by this replica.
    pub(crate) fn pending_jobs(&self, instance: InstanceId) -> u64 {
        let seen = self.snapshot.load();
        seen.iter().flat_map(|seen| &seen.backlog).filter_map(|backlog| backlog.instances.get(&instance)).sum()
    }

    /// Whether another live replica uses the look-up key of this number or a later one, according to the last snapshot.
    pub(super) fn is_used_by_others(&self, number: u32, now: Timestamp) -> bool {
        let seen = self.snapshot.load();
        let mut others = seen.iter().flat_map(|seen| &seen.replicas);
        others.any(|(one, said)| one.replica != self.replica && said.is_alive(one, now) && said.look_up >= number)
    }

    /// Counts and reports a record or job that this process cannot read.
    pub(super) fn report_unreadable(&self, instance: &Instance, kind: &'static str, error: &StoreError) {
        self.metrics.unreadable.get_or_create(&ByKind { kind }).inc();
        let instance = instance.config.id;
        if let Some(count) = self.record_failure(instance, kind, "unreadable", self.clock.wall()) {
            tracing::error!(%instance, kind, count, %error, "a record or job was left out of a response: no key in key_file decrypts it, or a newer version wrote it");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::from_millis;

    #[test]
    fn failures_of_one_kind_are_one_and_the_oldest_makes_room() {
        let vitals = ReplicaHealth::new("a".to_owned(), Clock::default(), Metrics::new());
        let instance = InstanceId::from_random([1; 16]);
        let fail = |second: i64| vitals.record_failure(instance, "callback", "status 503", from_millis(second * 1000));
        let reported: Vec<u64> = (0..99).filter_map(fail).collect();
        assert_eq!(reported, [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(fail(98 + 60), Some(100), "news again");
        assert_eq!((vitals.own_failures().len(), vitals.own_failures()[0].count), (1, 100));
        for number in 0..MAX_FAILURES {
            vitals.record_failure(instance, "callback", &format!("status {number}"), from_millis(200_000));
        }
        assert_eq!(vitals.own_failures().len(), MAX_FAILURES);
        assert!(vitals.own_failures().iter().all(|one| one.reason != "status 503"));
        let other = InstanceId::from_random([2; 16]);
        vitals.record_failure(other, "callback", "status 502", from_millis(0));
        for number in 0..MAX_FAILURES {
            vitals.record_failure(instance, "callback", &format!("host-{number}: tls"), from_millis(300_000));
        }
        assert_eq!(vitals.own_failures().len(), MAX_FAILURES);
        assert!(vitals.own_failures().iter().any(|one| one.instance == other), "one tenant displaces no other");
    }
}
