//! Periodic probes of the store: whether it accepts new work, and its description. They run often enough that `status`
//! and alerts report an outage before a request meets it, and that an outdated description is recognizable.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{Ops, status::RefusingStatus};
use crate::{
    egress::DeniedTargets,
    store::{StoreDescription, StoreError},
};

/// Interval between two probes.
pub const TRIALS: Duration = Duration::from_secs(3);
/// Timeout of each probe, the same as a request's timeout for the store.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The results of the latest probes.
#[derive(Default)]
pub(super) struct StoreWatch {
    /// Since when, and why, new work is refused.
    refusing: Option<(Instant, StoreError)>,
    pub(super) described: Option<(Instant, StoreDescription)>,
    /// Whether the latest request for the description succeeded.
    pub(super) answers: bool,
}

impl Ops {
    /// Probes whether the store accepts new work, and reads its description.
    pub async fn watch_store(&self) {
        let (tried, described) =
            tokio::join!(with_probe_timeout(self.store.check_writes()), with_probe_timeout(self.store.describe()));
        self.metrics.store_refuses_writes.set(i64::from(tried.is_err()));
        let mut watch = self.store_watch();
        watch.refusing = tried.err().map(|error| {
            let since = watch.refusing.as_ref().map_or_else(Instant::now, |(since, _)| *since);
            (since, error)
        });
        watch.answers = described.is_ok();
        if let Ok(described) = described {
            let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            self.metrics.store_used_bytes.set(gauge(described.used_bytes));
            self.metrics.store_limit_bytes.set(gauge(described.limit_bytes));
            self.metrics.store_replicas_missing.set(gauge(described.replicas_missing as u64));
            self.close(&described);
            watch.described = Some((Instant::now(), described));
        }
    }

    /// Blocks callbacks to the current servers of the store. On private addresses it blocks the ports of the store and
    /// of all replicas' operator listeners (taken from the replica names) on every host, because servers and replicas
    /// not known yet use the same ports.
    fn close(&self, store: &StoreDescription) {
        let seen = self.health.snapshot.load();
        let others = seen.iter().flat_map(|seen| &seen.replicas).map(|(one, _)| one.replica.as_str());
        let names = others.chain([self.health.replica.as_str()]);
        let operators = names.filter_map(|name| name.rsplit_once(':')?.1.parse().ok());
        let ports = operators.chain(store.addresses.iter().map(|(_, port)| *port)).collect();
        self.instances.deny_targets(DeniedTargets { hosts: store.addresses.clone(), private_ports: ports });
    }
}

async fn with_probe_timeout<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let timed_out = |_| Err(StoreError::Unavailable("it does not answer in time".to_owned()));
    timeout(PROBE_TIMEOUT, work).await.unwrap_or_else(timed_out)
}

impl StoreWatch {
    pub(super) fn refusing(&self) -> Option<RefusingStatus> {
        self.refusing.as_ref().map(|(since, error)| RefusingStatus {
            cause: error.cause().to_owned(),
            reason: error.to_string(),
            for_seconds: since.elapsed().as_secs_f64(),
        })
    }
}
