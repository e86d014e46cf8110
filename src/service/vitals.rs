//! How this process and its neighbours fare: what it heard, what failed, what waits. Shown to operators.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Instance, Service, watch_store::Watch};
use crate::{
    domain::InstanceId,
    metrics::label::{ByGateway, ByKind, ByVersion, InstanceLabel},
    store::{Backlog, ReplicaHeartbeat, StoreError},
};

/// Between two reports of each replica, and the least between two looks at the store.
pub const EVERY: Duration = Duration::from_secs(5);
/// A replica that has said nothing for this long is gone.
pub(super) const SILENCE: SignedDuration = SignedDuration::from_secs(30);
/// Kinds of failure that are kept; the same one again only counts.
const FAILURES: usize = 32;
/// A failure that has not been for so long is news.
const QUIET: SignedDuration = SignedDuration::from_mins(1);

/// What only this process knows, and what it has last read of the store.
pub struct Vitals {
    /// Host and operator port: the same after a restart, different for every process that is alive.
    pub replica: String,
    pub started: Timestamp,
    /// When each instance's gateway last proved to be alive.
    heard: Mutex<HashMap<InstanceId, Timestamp>>,
    failures: Mutex<Vec<Failure>>,
    /// Keys of the configuration that need a restart.
    pub waiting: ArcSwap<Vec<&'static str>>,
    pub(super) seen: ArcSwapOption<Seen>,
    watch: Mutex<Watch>,
}

/// What was last read of the store.
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) backlog: Vec<Backlog>,
    pub(super) replicas: Vec<(ReplicaHeartbeat, Said)>,
}

/// What a replica tells the others. Fields may come and go between versions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    pub(super) version: String,
    pub(super) started: Option<Timestamp>,
    pub(super) ready: bool,
    pub(super) stopped: bool,
    pub(super) config_current: bool,
    /// The number of the look-up key that it uses.
    pub(super) look_up: u32,
    pub(super) heard: HashMap<InstanceId, Timestamp>,
    pub(super) failures: Vec<Failure>,
}

/// Something that went wrong, without anything about a person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    pub at: Timestamp,
    pub instance: InstanceId,
    /// `webhook`, `message`, `reply`, `callback`, `record`, `job`.
    pub what: String,
    pub reason: String,
    /// How often since this process started.
    pub count: u64,
}

impl Vitals {
    pub fn new(replica: String, started: Timestamp) -> Self {
        let (heard, failures) = (Mutex::default(), Mutex::default());
        let (seen, watch) = (ArcSwapOption::empty(), Mutex::default());
        Self { replica, started, heard, failures, waiting: ArcSwap::default(), seen, watch }
    }

    /// Notes a failure. `reason` is a word or a status, with the host for a callback, never a text of somebody else's. How often there was this one,
    /// when that is worth a line of the log: strangers fail as often as they like.
    pub fn failed(&self, instance: InstanceId, what: &str, reason: &str, at: Timestamp) -> Option<u64> {
        let mut failures = lock(&self.failures);
        let same = |one: &&mut Failure| one.instance == instance && one.what == what && one.reason == reason;
        if let Some(known) = failures.iter_mut().find(same) {
            known.count += 1;
            let quiet = at.duration_since(std::mem::replace(&mut known.at, at));
            return (quiet >= QUIET || known.count.is_power_of_two()).then_some(known.count);
        }
        if failures.len() == FAILURES {
            // Receivers are named by their callers: whoever has most of them makes room, so that others stay.
            let of = |instance| failures.iter().filter(|one| one.instance == instance).count();
            let place = |one: &Failure| (std::cmp::Reverse(of(one.instance)), one.at);
            let oldest = (0..failures.len()).min_by_key(|&index| place(&failures[index]));
            failures.swap_remove(oldest.unwrap_or_default());
        }
        failures.push(Failure { at, instance, what: what.to_owned(), reason: reason.to_owned(), count: 1 });
        Some(1)
    }

    pub(super) fn last_heard(&self, instance: InstanceId) -> Option<Timestamp> {
        lock(&self.heard).get(&instance).copied()
    }

    pub(super) fn watch(&self) -> MutexGuard<'_, Watch> {
        lock(&self.watch)
    }

    pub(super) fn own_failures(&self) -> Vec<Failure> {
        lock(&self.failures).clone()
    }
}

impl Service {
    /// The gateway of `instance` has proved to be alive.
    pub fn heard(&self, instance: &Instance) {
        self.heard_at(instance, self.clock.wall());
    }

    fn heard_at(&self, instance: &Instance, at: Timestamp) {
        let id = instance.config.id;
        let mut heard = lock(&self.vitals.heard);
        let last = heard.entry(id).or_insert(at);
        *last = at.max(*last);
        let from = ByGateway { instance: InstanceLabel(id), gateway: instance.gateway.kind() };
        let gauge = self.metrics.gateway_last_inbound_timestamp_seconds.get_or_create_owned(&from);
        gauge.set(last.as_duration().as_secs_f64());
    }

    /// Reports this process to the others.
    pub async fn announce(&self, ready: bool) -> Result<(), StoreError> {
        self.say(ready, false).await
    }

    /// Reads what the others have reported, and counts what waits.
    pub async fn observe(&self) -> Result<(), StoreError> {
        let replicas: Vec<(ReplicaHeartbeat, Said)> = self
            .store
            .heartbeats()
            .await?
            .into_iter()
            .map(|one| {
                let said = serde_json::from_str(&one.words).unwrap_or_default();
                (one, said)
            })
            .collect();
        self.watch_keys().await?;
        let backlog = self.store.backlog().await?;
        self.measure(&backlog);
        self.count_versions(&replicas);
        // What a process before this one, or another, has heard: a restart does not make a gateway look silent.
        for instance in self.instances.all() {
            let last = replicas.iter().filter_map(|(_, said)| said.heard.get(&instance.config.id)).max();
            if let Some(last) = last {
                self.heard_at(&instance, *last);
            }
        }
        self.vitals.seen.store(Some(Arc::new(Seen { at: Instant::now(), backlog, replicas })));
        Ok(())
    }

    /// The last word: others need not wait for the silence.
    pub async fn say_goodbye(&self) {
        self.traces.written().await;
        if let Err(error) = self.say(false, true).await {
            tracing::debug!(%error, "the others were not told that this process ends");
        }
    }

    async fn say(&self, ready: bool, stopped: bool) -> Result<(), StoreError> {
        let said = Said {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: Some(self.vitals.started),
            ready,
            stopped,
            config_current: self.metrics.config_current.get() == 1,
            look_up: self.key_state.look_ups.load().as_ref().map_or(0, |known| known.number),
            heard: lock(&self.vitals.heard).clone(),
            failures: self.vitals.own_failures(),
        };
        let words = serde_json::to_string(&said).expect("what is said has only string keys");
        self.store.publish_heartbeat(&self.vitals.replica, &words).await
    }

    fn measure(&self, backlog: &[Backlog]) {
        let now = self.now();
        let age = |since: Option<Timestamp>| since.map_or(0.0, |since| seconds(now.duration_since(since)));
        let known = ["timer", "reply", "callback"].into_iter();
        let kinds: HashSet<&'static str> = known.chain(backlog.iter().map(|one| one.kind)).collect();
        for kind in kinds {
            let label = ByKind { kind };
            let one = backlog.iter().find(|one| one.kind == kind);
            let depth = one.map_or(0, |one| i64::try_from(one.depth).unwrap_or(i64::MAX));
            self.metrics.queue_depth.get_or_create(&label).set(depth);
            self.metrics.queue_oldest_seconds.get_or_create(&label).set(age(one.and_then(|one| one.oldest)));
            self.metrics.queue_lateness_seconds.get_or_create(&label).set(age(one.and_then(|one| one.overdue)));
        }
    }

    fn count_versions(&self, replicas: &[(ReplicaHeartbeat, Said)]) {
        let mut versions: HashMap<&str, i64> = HashMap::new();
        let before = self.vitals.seen.load();
        // A version that is gone shows zero once more, and then nothing.
        for (_, said) in before.iter().flat_map(|before| &before.replicas) {
            if !replicas.iter().any(|(_, now)| now.version == said.version) {
                self.metrics.replicas.remove(&ByVersion { version: said.version.clone() });
            }
        }
        for (one, said) in replicas {
            *versions.entry(&said.version).or_default() += i64::from(self.is_alive(one, said));
        }
        for (version, count) in versions {
            self.metrics.replicas.get_or_create(&ByVersion { version: version.to_owned() }).set(count);
        }
    }

    /// Whether another replica, as last read, uses the look-up key of this number.
    pub(super) fn is_used_by_others(&self, number: u32) -> bool {
        let seen = self.vitals.seen.load();
        let mut others = seen.iter().flat_map(|seen| &seen.replicas);
        others
            .any(|(one, said)| one.replica != self.vitals.replica && self.is_alive(one, said) && said.look_up >= number)
    }

    pub(super) fn is_alive(&self, one: &ReplicaHeartbeat, said: &Said) -> bool {
        !said.stopped && self.now().duration_since(one.at) < SILENCE
    }
}

pub(super) fn seconds(duration: SignedDuration) -> f64 {
    duration.as_secs_f64().max(0.0)
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
        let vitals = Vitals::new("a".to_owned(), from_millis(0));
        let instance = InstanceId::from_random([1; 16]);
        let fail = |second: i64| vitals.failed(instance, "callback", "status 503", from_millis(second * 1000));
        let told: Vec<u64> = (0..99).filter_map(fail).collect();
        assert_eq!(told, [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(fail(98 + 60), Some(100), "news again");
        assert_eq!((vitals.own_failures().len(), vitals.own_failures()[0].count), (1, 100));
        for number in 0..FAILURES {
            vitals.failed(instance, "callback", &format!("status {number}"), from_millis(200_000));
        }
        assert_eq!(vitals.own_failures().len(), FAILURES);
        assert!(vitals.own_failures().iter().all(|one| one.reason != "status 503"));
        let other = InstanceId::from_random([2; 16]);
        vitals.failed(other, "callback", "status 502", from_millis(0));
        for number in 0..FAILURES {
            vitals.failed(instance, "callback", &format!("host-{number}: tls"), from_millis(300_000));
        }
        assert_eq!(vitals.own_failures().len(), FAILURES);
        assert!(vitals.own_failures().iter().any(|one| one.instance == other), "one tenant displaces no other");
    }
}
