//! The readiness probe: whether this replica reaches the store, and whether its worker makes progress.
//!
//! Conditions that all replicas share do not count, such as a full store, a store without a replica, or a gateway that
//! is down: they would take every replica out of the load balancer while logins can still finish.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{http::operator::Readiness, service::Services, store::StoreError, worker::Worker};

/// Time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout of one probe, the same as that of a request to the store.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the store may be unreachable, so that a fail-over does not change the readiness. Together with a probe that
/// times out it is less than 6 s.
const MAX_STORE_OUTAGE: Duration = Duration::from_secs(4);
/// How long one step of the worker may take. A step waits for the store up to twice.
const MAX_WORKER_STEP: Duration = Duration::from_secs(5);

/// Checks that must succeed before the first request: the server's settings, the keys, and a probe.
pub(super) async fn prepare(services: &Services) -> Result<(), StoreError> {
    for warning in services.env.store.preflight().await? {
        tracing::warn!("{warning}");
    }
    // Keys begin and end by the store's time, which the probe reads.
    is_reachable(services.env.store.probe().await)?;
    services.shared.key_state.prepare().await?;
    services.oidc_keys.prepare().await
}

/// A store that answers is reachable, even if it refuses writes.
fn is_reachable(outcome: Result<(), StoreError>) -> Result<(), StoreError> {
    match outcome {
        Ok(()) | Err(StoreError::Full | StoreError::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What this replica lacks, if anything. `key` names a key that it needs for every look-up.
fn missing(key: Option<String>, error: Option<&StoreError>, reached: Duration, step: Duration) -> Option<String> {
    match error {
        None if key.is_some() => key,
        Some(error) if reached >= MAX_STORE_OUTAGE => Some(error.to_string()),
        _ if step >= MAX_WORKER_STEP => Some(format!("the worker is stuck for {} s", step.as_secs())),
        _ => None,
    }
}

/// Says where the daemon can be used from now on.
pub(super) fn log_ready(services: &Services) {
    let [docs, webhooks] = ["/docs", "/webhooks/{instance}"].map(|path| services.env.public_url.absolute(path));
    tracing::info!(docs, webhooks, "ready");
}

/// Probes until `draining`, and keeps `readiness` up to date.
///
/// # Errors
/// If the store turns out to be misconfigured, so that it must not be used.
pub(super) async fn run_probe(
    services: Arc<Services>,
    worker: Arc<Worker>,
    readiness: Readiness,
    draining: CancellationToken,
) -> Result<(), StoreError> {
    let mut prepared = readiness.is_ready();
    let mut last = Instant::now();
    let mut ticks = interval(PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = draining.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let attempt =
            async { if prepared { is_reachable(services.env.store.probe().await) } else { prepare(&services).await } };
        let outcome = timeout(PROBE_TIMEOUT, attempt).await;
        let outcome = outcome.unwrap_or_else(|_| Err(StoreError::Unavailable("it does not answer".to_owned())));
        #[expect(clippy::cast_precision_loss, reason = "an offset that loses digits is alarming anyway")]
        services.env.metrics.clock_offset_seconds.set(services.env.store.skew_millis() as f64 / 1000.0);
        match &outcome {
            Ok(()) => (prepared, last) = (true, Instant::now()),
            Err(StoreError::Misconfigured(why)) => {
                tracing::error!(why, "the store is misconfigured and must not be used");
                readiness.set_not_ready(why);
                return outcome;
            }
            Err(_) => {}
        }
        match missing(
            services.shared.key_state.missing_key(),
            outcome.as_ref().err(),
            last.elapsed(),
            worker.step_elapsed(),
        ) {
            // Logged again if the reason changes.
            Some(why) if readiness.set_not_ready(&why) => tracing::error!(why, "not ready"),
            None if prepared && readiness.set_ready() => log_ready(&services),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_replica_lacks_counts() {
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(5));
        let unreachable = StoreError::Unavailable("connection refused".to_owned());
        assert_eq!(missing(None, None, soon, soon), None);
        assert_eq!(missing(None, Some(&unreachable), soon, soon), None, "a fail-over");
        assert_eq!(
            missing(None, Some(&unreachable), late, soon).unwrap(),
            "the store is unavailable: connection refused"
        );
        assert_eq!(missing(None, None, soon, late).unwrap(), "the worker is stuck for 5 s");
        assert_eq!(missing(Some("a key".to_owned()), None, soon, soon).unwrap(), "a key");
        for shared in [StoreError::Full, StoreError::Refused("no disk".to_owned())] {
            assert!(is_reachable(Err(shared)).is_ok());
        }
        assert!(is_reachable(Err(unreachable)).is_err());
    }
}
