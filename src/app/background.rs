//! What is done again and again beside the requests.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    http::operator::Readiness,
    random,
    service::{Service, vitals::EVERY, watch_store::TRIALS},
};

/// Looking at the store takes at most one part in so many of the time, however large the store.
const OBSERVE_PAUSE_FACTOR: u32 = 50;

/// Reports this process to the others, on time whatever else takes long.
pub(super) async fn heartbeat(service: Arc<Service>, readiness: Readiness, stop: CancellationToken) {
    let mut beat = tokio::time::interval(EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = beat.tick() => {}
        }
        let announced = timeout(EVERY, service.announce(readiness.is_ready())).await;
        if !matches!(announced, Ok(Ok(()))) {
            tracing::debug!(?announced, "the others were not told that this process is alive");
        }
    }
}

/// Keeps what is known of the store fresh.
pub(super) async fn watch_store(service: Arc<Service>, stop: CancellationToken) {
    let mut trial = tokio::time::interval(TRIALS);
    trial.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = trial.tick() => {}
        }
        service.watch_store().await;
    }
}

/// Keeps what operators see of the work fresh.
pub(super) async fn observe(service: Arc<Service>, readiness: Readiness, stop: CancellationToken) {
    // What is read first names this process too.
    let announced = service.announce(readiness.is_ready()).await;
    tracing::trace!(?announced, "first report");
    loop {
        let start = Instant::now();
        if let Err(error) = service.observe().await {
            tracing::debug!(%error, "what operators see is not fresh");
        }
        let pause = EVERY.max(start.elapsed() * OBSERVE_PAUSE_FACTOR);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(jittered(pause)) => {}
        }
    }
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.9 + 0.2 * random::fraction())
}
