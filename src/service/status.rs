//! The one page for the night call, as data.

use serde::{Deserialize, Serialize};

use super::{
    Service,
    vitals::{Failure, seconds},
};
use crate::{
    domain::{InstanceId, time::rfc3339},
    metrics::label::{ByInstance, ByKind, InstanceLabel, KindReason},
    store::StoreDescription,
};

/// Failures that are shown.
const SHOWN: usize = 10;

/// How everything fares, as one replica sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub replica: String,
    pub version: String,
    pub ready: bool,
    pub started_at: String,
    pub store: StoreStatus,
    pub config: ConfigStatus,
    #[serde(default)]
    pub keys: KeysStatus,
    /// Age of what is said about queues and replicas; `null` while it was never read.
    #[serde(default)]
    pub seen_seconds_ago: Option<f64>,
    pub gateways: Vec<GatewayStatus>,
    pub queues: Vec<QueueStatus>,
    /// Callbacks this process gave up since it started; they can be replayed.
    pub callbacks_given_up: u64,
    /// The latest first, of all replicas together.
    pub failures: Vec<FailureStatus>,
    pub replicas: Vec<ReplicaStatus>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoreStatus {
    pub description: String,
    /// Age of the description; `null` while there is none.
    #[serde(default)]
    pub described_seconds_ago: Option<f64>,
    #[serde(default)]
    pub used_bytes: u64,
    #[serde(default)]
    pub limit_bytes: u64,
    /// Masters whose writes no replica can confirm, although one must.
    #[serde(default)]
    pub replicas_missing: usize,
    /// `false`: it did not answer when it was last asked, and the above is of before.
    #[serde(default)]
    pub answers: bool,
    /// New work is refused now.
    #[serde(default)]
    pub refusing: Option<RefusingStatus>,
    #[serde(default)]
    pub last_refusal: Option<RefusalStatus>,
    /// This host's clock less the store's.
    pub clock_offset_seconds: f64,
}

/// The store takes no new work, as this replica found out by trying.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusingStatus {
    /// The word of `store_errors`: `full`, `refused`, `unavailable`.
    pub cause: String,
    pub reason: String,
    pub for_seconds: f64,
}

/// The last request to the store that failed here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusalStatus {
    pub operation: String,
    /// The word of `store_errors`.
    #[serde(default)]
    pub cause: String,
    pub reason: String,
    pub seconds_ago: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// `false`: the file holds one that was refused, or that waits in part for a restart.
    pub current: bool,
    /// Keys that need a restart.
    #[serde(default)]
    pub waiting: Vec<String>,
    /// Unix time.
    pub read_at: f64,
}

/// The keys that the store names, as this replica last read of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct KeysStatus {
    /// The number of the look-up key in use; 0 while it is not known.
    pub look_up: u32,
    pub look_up_since: Option<String>,
    /// The key before it is used as well until then; `null` when no change is under way.
    pub previous_until: Option<String>,
    /// `look_up_key_number` of the configuration.
    pub asked: u32,
    /// What is missing in `key_file`, so that this replica can find nothing.
    pub lacks: Option<String>,
    /// The latest first.
    pub masters: Vec<MasterStatus>,
}

/// A master key that has made something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MasterStatus {
    pub fingerprint: String,
    /// Of this replica.
    pub makes: bool,
    /// It is in `key_file`.
    pub here: bool,
    /// What it made can be asked for until then.
    pub needed_until: String,
    /// That time is over: it can be removed.
    pub over: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GatewayStatus {
    pub instance: InstanceId,
    pub name: String,
    pub gateway: String,
    /// `enabled`, `disabled`.
    pub state: String,
    /// `null` while nothing was ever heard.
    pub last_inbound_at: Option<String>,
    pub last_inbound_age_seconds: Option<f64>,
    /// Share of its room in the store that it has used, as of its last request to this replica; `null` without one.
    #[serde(default)]
    pub room_used: Option<f64>,
    /// Callbacks, replies and codes that wait for it, also those that are under way.
    #[serde(default)]
    pub pending_jobs: u64,
    /// It refuses our credentials: logged out, banned, or a wrong token.
    pub refuses_us: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueStatus {
    pub kind: String,
    pub depth: u64,
    /// Age of the oldest; `null` for timers, which wait by design.
    pub oldest_seconds: Option<f64>,
    /// How long the most overdue has been due.
    pub lateness_seconds: Option<f64>,
    /// Receivers or numbers that are held back because their last attempts failed.
    #[serde(default)]
    pub held: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailureStatus {
    pub at: String,
    pub instance: InstanceId,
    pub what: String,
    pub reason: String,
    pub count: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub name: String,
    pub version: String,
    pub alive: bool,
    pub ready: bool,
    /// Whether it uses the configuration in its file.
    pub config_current: bool,
    pub started_at: Option<String>,
    pub seen_seconds_ago: f64,
}

impl Service {
    /// What is known without asking anybody: the store's part says how old it is.
    pub fn status(&self, ready: bool) -> Status {
        let now = self.now();
        let seen = self.vitals.seen.load();
        let wall = self.clock.wall();
        let mut gateways: Vec<GatewayStatus> = self
            .instances
            .all()
            .iter()
            .map(|instance| {
                let id = instance.config.id;
                let last = self.vitals.last_heard(id);
                let refused = self.metrics.numbers_refused.get(&ByInstance { instance: InstanceLabel(id) });
                GatewayStatus {
                    instance: id,
                    name: instance.config.name.clone(),
                    gateway: instance.gateway.kind().to_owned(),
                    state: if instance.config.disabled { "disabled" } else { "enabled" }.to_owned(),
                    last_inbound_at: last.map(rfc3339),
                    last_inbound_age_seconds: last.map(|last| seconds(wall.duration_since(last))),
                    room_used: self
                        .metrics
                        .instance_room_ratio
                        .get(&ByInstance { instance: InstanceLabel(id) })
                        .map(|one| one.get()),
                    pending_jobs: self.pending_jobs(id),
                    refuses_us: refused.is_some_and(|gauge| gauge.get() != 0),
                }
            })
            .collect();
        gateways.sort_by_key(|gateway| (gateway.name.clone(), gateway.instance));
        let age = |since: jiff::Timestamp| seconds(now.duration_since(since));
        let backlog = seen.iter().flat_map(|seen| &seen.backlog);
        let queues = backlog.map(|one| QueueStatus {
            held: self.held(one.kind),
            kind: one.kind.to_owned(),
            depth: one.depth,
            oldest_seconds: one.oldest.map(age),
            lateness_seconds: one.overdue.map(age),
        });
        let replicas = seen.iter().flat_map(|seen| &seen.replicas);
        let replicas = replicas.map(|(one, said)| ReplicaStatus {
            name: one.replica.clone(),
            version: said.version.clone(),
            alive: self.is_alive(one, said),
            ready: said.ready,
            config_current: said.config_current,
            started_at: said.started.map(rfc3339),
            seen_seconds_ago: age(one.at),
        });
        let given_up = KindReason { kind: "callback", reason: "given_up" };
        Status {
            replica: self.vitals.replica.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready,
            started_at: rfc3339(self.vitals.started),
            store: self.store_status(),
            config: ConfigStatus {
                current: self.metrics.config_current.get() == 1,
                waiting: self.vitals.waiting.load().iter().map(|key| (*key).to_owned()).collect(),
                read_at: self.metrics.config_read_timestamp_seconds.get(),
            },
            keys: self.keys_status(),
            seen_seconds_ago: seen.as_ref().map(|seen| seen.at.elapsed().as_secs_f64()),
            gateways,
            queues: queues.collect(),
            callbacks_given_up: self.metrics.jobs_dead.get(&given_up).map_or(0, |counter| counter.get()),
            failures: self.latest_failures(),
            replicas: replicas.collect(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "an offset that loses digits is alarming anyway")]
    fn store_status(&self) -> StoreStatus {
        let watch = self.vitals.watch();
        let last_refusal = self.store.last_refusal().map(|refusal| RefusalStatus {
            operation: refusal.operation.to_owned(),
            cause: refusal.cause.to_owned(),
            reason: refusal.why,
            seconds_ago: refusal.at.elapsed().as_secs_f64(),
        });
        let described_seconds_ago = watch.described.as_ref().map(|known| known.0.elapsed().as_secs_f64());
        let StoreDescription { text, used_bytes, limit_bytes, replicas_missing, .. } =
            watch.described.as_ref().map(|known| known.1.clone()).unwrap_or_default();
        let clock_offset_seconds = self.store.skew_millis() as f64 / 1000.0;
        StoreStatus {
            description: text,
            described_seconds_ago,
            used_bytes,
            limit_bytes,
            replicas_missing,
            answers: watch.answers,
            refusing: watch.refusing(),
            last_refusal,
            clock_offset_seconds,
        }
    }

    fn held(&self, kind: &'static str) -> u64 {
        let gauge = self.metrics.lanes_held.get(&ByKind { kind });
        gauge.map_or(0, |gauge| u64::try_from(gauge.get()).unwrap_or(0))
    }

    /// Of this process as they are now, of the others as they were told.
    fn latest_failures(&self) -> Vec<FailureStatus> {
        let seen = self.vitals.seen.load();
        let others = seen.iter().flat_map(|seen| &seen.replicas).filter(|(one, _)| one.replica != self.vitals.replica);
        let mut all = self.vitals.own_failures();
        for failure in others.flat_map(|(_, said)| &said.failures) {
            let same = |one: &&mut Failure| {
                one.instance == failure.instance && one.what == failure.what && one.reason == failure.reason
            };
            match all.iter_mut().find(same) {
                Some(known) => {
                    known.count += failure.count;
                    known.at = known.at.max(failure.at);
                }
                None => all.push(failure.clone()),
            }
        }
        all.sort_by_key(|failure| std::cmp::Reverse(failure.at));
        let shown = all.into_iter().take(SHOWN).map(|Failure { at, instance, what, reason, count }| FailureStatus {
            at: rfc3339(at),
            instance,
            what,
            reason,
            count,
        });
        shown.collect()
    }
}
