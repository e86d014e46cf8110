//! Readiness: whether this replica has what it needs of its own, which is a way to the store and a worker that goes
//! round. What all replicas share has no say in it, such as a store that is full, one without a replica, or a gateway
//! that is down: it would take every replica out of the service while logins can still finish.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{http::operator::Readiness, service::Service, store::StoreError, worker::Worker};

/// Between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// For one probe: as long as a request waits for the store.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the store may be away: a fail-over of it does not flap. With a probe that fails late it is below 6 s.
const MAX_STORE_OUTAGE: Duration = Duration::from_secs(4);
/// How long one step of the worker may take. Two of them wait for the store.
const MAX_WORKER_STEP: Duration = Duration::from_secs(5);

/// What must be true before the first request.
pub(super) async fn prepare(service: &Service) -> Result<(), StoreError> {
    for warning in service.store.preflight().await? {
        tracing::warn!("{warning}");
    }
    service.prepare_keys().await?;
    is_reachable(service.store.probe().await)
}

/// A store that answers is there, whatever it refuses.
fn is_reachable(outcome: Result<(), StoreError>) -> Result<(), StoreError> {
    match outcome {
        Ok(()) | Err(StoreError::Full | StoreError::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What this replica lacks.
fn missing(trouble: Option<&StoreError>, reached: Duration, step: Duration) -> Option<String> {
    match trouble {
        Some(error) if reached >= MAX_STORE_OUTAGE => Some(error.to_string()),
        _ if step >= MAX_WORKER_STEP => Some(format!("the worker is stuck for {} s", step.as_secs())),
        _ => None,
    }
}

/// Keeps readiness true. An error: the store turns out to be one we must not use.
pub(super) async fn run_probe(
    service: Arc<Service>,
    worker: Arc<Worker>,
    readiness: Readiness,
    draining: CancellationToken,
) -> Result<(), StoreError> {
    let mut prepared = readiness.is_ready();
    let mut last = Instant::now();
    let mut turn = interval(PROBE_INTERVAL);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = draining.cancelled() => return Ok(()),
            _ = turn.tick() => {}
        }
        let attempt =
            async { if prepared { is_reachable(service.store.probe().await) } else { prepare(&service).await } };
        let outcome = timeout(PROBE_TIMEOUT, attempt).await;
        let outcome = outcome.unwrap_or_else(|_| Err(StoreError::Unavailable("it hangs".to_owned())));
        #[expect(clippy::cast_precision_loss, reason = "an offset that loses digits is alarming anyway")]
        service.metrics.clock_offset_seconds.set(service.store.skew_millis() as f64 / 1000.0);
        match &outcome {
            Ok(()) => (prepared, last) = (true, Instant::now()),
            Err(StoreError::Misconfigured(why)) => {
                tracing::error!(why, "this store must not be used");
                readiness.set_not_ready(why);
                return outcome;
            }
            Err(_) => {}
        }
        match missing(outcome.as_ref().err(), last.elapsed(), worker.step_elapsed()) {
            // What is wrong may change while somebody fixes it.
            Some(why) if readiness.set_not_ready(&why) => tracing::error!(why, "not ready"),
            None if prepared && readiness.set_ready() => tracing::info!("ready"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_replica_lacks_itself_counts() {
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(5));
        let away = StoreError::Unavailable("nothing listens".to_owned());
        assert_eq!(missing(None, soon, soon), None);
        assert_eq!(missing(Some(&away), soon, soon), None, "a fail-over");
        assert_eq!(missing(Some(&away), late, soon).unwrap(), "the store is unavailable: nothing listens");
        assert_eq!(missing(None, soon, late).unwrap(), "the worker is stuck for 5 s");
        for shared in [StoreError::Full, StoreError::Refused("no disk".to_owned())] {
            assert!(is_reachable(Err(shared)).is_ok());
        }
        assert!(is_reachable(Err(away)).is_err());
    }
}
