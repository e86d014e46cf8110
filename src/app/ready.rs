//! Readiness: a real write through the path that commits use, slow to fall and quick to rise. Gateways have no say
//! in it: a pod that is taken out because WhatsApp is down helps nobody.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{http::operator::Readiness, service::Service, store::StoreError};

/// One probe a second, three failures to fall, one success to rise: a fail-over of the store does not flap.
const EVERY: Duration = Duration::from_secs(1);
const FAILURES: u32 = 3;
/// A store that hangs has failed.
const PATIENCE: Duration = Duration::from_secs(3);

/// What must be true before the first request.
pub(super) async fn prepare(service: &Service) -> Result<(), StoreError> {
    for warning in service.store.posture().await? {
        tracing::warn!("{warning}");
    }
    service.store.claim(&service.keys.fingerprints()).await?;
    service.store.probe().await
}

/// Keeps readiness true to the store. An error: the store turns out to be one we must not use.
pub(super) async fn keep(
    service: Arc<Service>,
    readiness: Readiness,
    draining: CancellationToken,
) -> Result<(), StoreError> {
    let mut prepared = readiness.is_ready();
    let mut failures = 0;
    let mut said = String::new();
    let mut turn = interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = draining.cancelled() => return Ok(()),
            _ = turn.tick() => {}
        }
        let attempt = async { if prepared { service.store.probe().await } else { prepare(&service).await } };
        let outcome = tokio::time::timeout(PATIENCE, attempt).await;
        let outcome = outcome.unwrap_or_else(|_| Err(StoreError::Unavailable("it hangs".to_owned())));
        #[expect(clippy::cast_precision_loss, reason = "an offset that loses digits is alarming anyway")]
        service.metrics.clock_offset_seconds.set(service.store.skew_millis() as f64 / 1000.0);
        match outcome {
            Ok(()) => {
                failures = 0;
                said.clear();
                prepared = true;
                if !readiness.is_ready() {
                    tracing::info!("ready");
                }
                readiness.set(true);
            }
            Err(error @ StoreError::Unfit(_)) => {
                tracing::error!(%error, "this store must not be used");
                readiness.set(false);
                return Err(error);
            }
            Err(error) => {
                failures += 1;
                let why = error.to_string();
                // What is wrong may change while somebody mends it.
                if failures == FAILURES || (failures > FAILURES && why != said) {
                    tracing::error!(%error, "the store is away; not ready");
                    readiness.set(false);
                    said = why;
                }
            }
        }
    }
}
