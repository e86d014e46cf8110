//! Periodic tasks: the heartbeat, the check of the store, the figures that operators see, and the counters.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    http::operator::Readiness,
    ops::{HEARTBEAT_INTERVAL, Ops, store_watch::TRIALS},
    random,
    service::{Services, funnel::FLUSH_INTERVAL},
};

/// A pause after [`observe`] read the store is at least this many times as long as the reading, so that it takes at
/// most 2 % of the time, however large the store is.
const OBSERVE_PAUSE_FACTOR: u32 = 50;

/// Publishes the heartbeat of this replica. A separate task, so that nothing slow delays it.
pub(super) async fn heartbeat(ops: Arc<Ops>, readiness: Readiness, stop: CancellationToken) {
    let mut interval = tokio::time::interval(HEARTBEAT_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let announced = timeout(HEARTBEAT_INTERVAL, ops.announce(readiness.is_ready())).await;
        if !matches!(announced, Ok(Ok(()))) {
            tracing::debug!(?announced, "the heartbeat could not be stored; the next one follows in a few seconds");
        }
    }
}

/// Checks the store at a fixed interval: whether it accepts writes, and its description.
pub(super) async fn watch_store(ops: Arc<Ops>, stop: CancellationToken) {
    let mut interval = tokio::time::interval(TRIALS);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        ops.watch_store().await;
    }
}

/// Refreshes the queue and replica figures that operators see.
pub(super) async fn observe(ops: Arc<Ops>, readiness: Readiness, stop: CancellationToken) {
    // Announced before the first reading, so that it includes this replica.
    let announced = ops.announce(readiness.is_ready()).await;
    tracing::trace!(?announced, "first report");
    loop {
        let start = Instant::now();
        if let Err(error) = ops.observe().await {
            tracing::debug!(%error, "the metrics of queues and replicas could not be refreshed; trying again");
        }
        let pause = HEARTBEAT_INTERVAL.max(start.elapsed() * OBSERVE_PAUSE_FACTOR);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(jittered(pause)) => {}
        }
    }
}

/// Adds the counts of this process to the store.
pub(super) async fn flush_counts(services: Arc<Services>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FLUSH_INTERVAL) => {}
        }
        if let Err(error) = services.shared.funnel.flush().await {
            tracing::debug!(%error, "the counts of the last seconds could not be stored and are lost");
        }
    }
}

/// ± 10 %.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.9 + 0.2 * random::fraction())
}
