//! Builds the status report from what this process knows.

use super::{
    Ops,
    replicas::seconds,
    status::{
        ConfigStatus, FailureStatus, GatewayStatus, LastErrorStatus, QueueStatus, ReplicaStatus, Status, StoreStatus,
    },
};
use crate::{
    domain::time::rfc3339,
    metrics::label::{ByInstance, ByKind, InstanceLabel, KindReason},
    service::health::RecentFailure,
    store::StoreDescription,
};

/// Maximum number of failures shown.
const MAX_FAILURES: usize = 10;

impl Ops {
    /// The status report, without a request to the store; data from the store comes with its age.
    pub fn status(&self, ready: bool) -> Status {
        let now = self.store.now();
        let seen = self.health.snapshot.load();
        let wall = self.clock.wall();
        let mut gateways: Vec<GatewayStatus> = self
            .instances
            .all()
            .iter()
            .map(|instance| {
                let id = instance.config.id;
                let last = self.health.last_inbound_of(id);
                let refused = self.metrics.numbers_refused.get(&ByInstance { instance: InstanceLabel(id) });
                GatewayStatus {
                    instance: id,
                    name: instance.config.name.clone(),
                    gateway: instance.gateway.kind().to_owned(),
                    state: if instance.config.disabled { "disabled" } else { "enabled" }.to_owned(),
                    last_inbound_at: last.map(rfc3339),
                    last_inbound_age_seconds: last.map(|last| seconds(wall.duration_since(last))),
                    quota_used: self
                        .metrics
                        .instance_room_ratio
                        .get(&ByInstance { instance: InstanceLabel(id) })
                        .map(|one| one.get()),
                    pending_jobs: self.services.env.health.pending_jobs(id),
                    rejects_credentials: refused.is_some_and(|gauge| gauge.get() != 0),
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
        let replicas = replicas.map(|(one, body)| ReplicaStatus {
            name: one.replica.clone(),
            version: body.version.clone(),
            alive: self.is_alive(one, body),
            ready: body.ready,
            config_current: body.config_current,
            started_at: body.started.map(rfc3339),
            seen_seconds_ago: age(one.at),
        });
        let given_up = KindReason { kind: "callback", reason: "given_up" };
        Status {
            replica: self.health.replica.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready,
            started_at: rfc3339(self.health.started),
            store: self.store_status(),
            config: ConfigStatus {
                current: self.metrics.config_current.get() == 1,
                waiting: self.health.restart_required.load().iter().map(|key| (*key).to_owned()).collect(),
                read_at: self.metrics.config_read_timestamp_seconds.get(),
            },
            keys: self.services.shared.key_state.status(),
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
        let watch = self.store_watch();
        let last_error = self.store.last_error().map(|error| LastErrorStatus {
            operation: error.operation.to_owned(),
            cause: error.cause.to_owned(),
            reason: error.why,
            seconds_ago: error.at.elapsed().as_secs_f64(),
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
            last_error,
            clock_offset_seconds,
        }
    }

    fn held(&self, kind: &'static str) -> u64 {
        let gauge = self.metrics.lanes_held.get(&ByKind { kind });
        gauge.map_or(0, |gauge| u64::try_from(gauge.get()).unwrap_or(0))
    }

    /// The current failures of this process, merged with those that other replicas last reported.
    fn latest_failures(&self) -> Vec<FailureStatus> {
        let seen = self.health.snapshot.load();
        let others = seen.iter().flat_map(|seen| &seen.replicas).filter(|(one, _)| one.replica != self.health.replica);
        let mut all = self.health.own_failures();
        for failure in others.flat_map(|(_, body)| &body.failures) {
            let same = |one: &&mut RecentFailure| {
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
        let shown = all.into_iter().take(MAX_FAILURES).map(|RecentFailure { at, instance, what, reason, count }| {
            FailureStatus { at: rfc3339(at), instance, what, reason, count }
        });
        shown.collect()
    }
}
