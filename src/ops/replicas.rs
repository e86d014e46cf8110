//! Heartbeats: what this process publishes to the other replicas, and what it reads of theirs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::Ops;
use crate::{
    metrics::label::{ByKind, ByVersion},
    service::health::{HeartbeatBody, StoreSnapshot},
    store::{Backlog, ReplicaHeartbeat, StoreError},
};

/// Interval between two heartbeats of a replica, and minimum interval between two snapshots of the store.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

impl Ops {
    /// Publishes this process's heartbeat.
    pub async fn announce(&self, ready: bool) -> Result<(), StoreError> {
        self.publish(ready, false).await
    }

    /// Reads the heartbeats of all replicas and the backlog of jobs.
    pub async fn observe(&self) -> Result<(), StoreError> {
        let heartbeats = self.store.heartbeats().await?.into_iter();
        let replicas: Vec<(ReplicaHeartbeat, HeartbeatBody)> = heartbeats.map(HeartbeatBody::of).collect();
        self.services.shared.key_state.refresh().await?;
        self.services.oidc_keys.refresh(&replicas).await?;
        let backlog = self.store.backlog().await?;
        self.measure(&backlog);
        self.count_versions(&replicas);
        // Adopt what other replicas, or this one before a restart, received: a restart must not make a gateway look
        // silent.
        for instance in self.instances.all() {
            let last = replicas.iter().filter_map(|(_, body)| body.last_inbound.get(&instance.config.id)).max();
            if let Some(last) = last {
                self.services.env.health.record_inbound_at(&instance, *last);
            }
        }
        self.health.snapshot.store(Some(Arc::new(StoreSnapshot { at: Instant::now(), backlog, replicas })));
        Ok(())
    }

    /// Announces a clean shutdown, so that peers need not wait for the heartbeat timeout.
    pub async fn publish_shutdown(&self) {
        self.services.shared.message_log.flushed().await;
        if let Err(error) = self.publish(false, true).await {
            tracing::debug!(%error, "the shutdown could not be announced; the other replicas notice it by the missing heartbeat");
        }
    }

    async fn publish(&self, ready: bool, stopped: bool) -> Result<(), StoreError> {
        let body = HeartbeatBody {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: Some(self.health.started),
            ready,
            stopped,
            config_current: self.metrics.config_current.get() == 1,
            look_up: self.services.shared.key_state.look_up_number(),
            oidc_keys: self.services.oidc_keys.published(),
            last_inbound: self.health.all_last_inbound(),
            failures: self.health.own_failures(),
        };
        let body = serde_json::to_string(&body).expect("a heartbeat has only string keys");
        self.store.publish_heartbeat(&self.health.replica, &body).await
    }

    fn measure(&self, backlog: &[Backlog]) {
        let now = self.store.now();
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

    fn count_versions(&self, replicas: &[(ReplicaHeartbeat, HeartbeatBody)]) {
        let mut versions: HashMap<&str, i64> = HashMap::new();
        let before = self.health.snapshot.load();
        // Remove the metric of a version once none of its heartbeats is left; without a live replica it is 0 until
        // then.
        for (_, body) in before.iter().flat_map(|before| &before.replicas) {
            if !replicas.iter().any(|(_, now)| now.version == body.version) {
                self.metrics.replicas.remove(&ByVersion { version: body.version.clone() });
            }
        }
        for (one, body) in replicas {
            *versions.entry(&body.version).or_default() += i64::from(self.is_alive(one, body));
        }
        for (version, count) in versions {
            self.metrics.replicas.get_or_create(&ByVersion { version: version.to_owned() }).set(count);
        }
    }

    pub(super) fn is_alive(&self, one: &ReplicaHeartbeat, body: &HeartbeatBody) -> bool {
        body.is_alive(one, self.store.now())
    }
}

pub(super) fn seconds(duration: SignedDuration) -> f64 {
    duration.as_secs_f64().max(0.0)
}
