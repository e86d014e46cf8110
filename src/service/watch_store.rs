//! Whether the store takes new work at this moment, and what it is: tried so often that `status` and alerts tell of an
//! outage that no request has run into yet, and never of a store from before it.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{Service, status::RefusingStatus};
use crate::{
    egress::DeniedTargets,
    store::{StoreDescription, StoreError},
};

/// Between two trials.
pub const TRIALS: Duration = Duration::from_secs(3);
/// For each question: as long as a request waits for the store.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the last trials came to.
#[derive(Default)]
pub(super) struct Watch {
    /// Since when, and why, new work is refused.
    refusing: Option<(Instant, StoreError)>,
    pub(super) described: Option<(Instant, StoreDescription)>,
    /// Whether it answered when it was last asked what it is.
    pub(super) answers: bool,
}

impl Service {
    /// Tries whether new work is taken, and asks the store what it is.
    pub async fn watch_store(&self) {
        let (tried, described) = tokio::join!(in_time(self.store.check_writes()), in_time(self.store.describe()));
        self.metrics.store_refuses_writes.set(i64::from(tried.is_err()));
        let mut watch = self.vitals.watch();
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

    /// No callback goes to the servers of the store, wherever they are now, or to the operator's listener of another
    /// replica, whose port stands in its name.
    fn close(&self, store: &StoreDescription) {
        let seen = self.vitals.seen.load();
        let others = seen.iter().flat_map(|seen| &seen.replicas).map(|(one, _)| one.replica.as_str());
        let names = others.chain([self.vitals.replica.as_str()]);
        let ports = names.filter_map(|name| name.rsplit_once(':')?.1.parse().ok()).collect();
        self.instances.close(DeniedTargets { hosts: store.addresses.clone(), private_ports: ports });
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let hangs = |_| Err(StoreError::Unavailable("it does not answer in time".to_owned()));
    timeout(PATIENCE, work).await.unwrap_or_else(hangs)
}

impl Watch {
    pub(super) fn refusing(&self) -> Option<RefusingStatus> {
        self.refusing.as_ref().map(|(since, error)| RefusingStatus {
            cause: error.cause().to_owned(),
            reason: error.to_string(),
            for_seconds: since.elapsed().as_secs_f64(),
        })
    }
}
