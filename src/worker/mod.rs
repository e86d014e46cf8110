//! Everything that leaves the process: leased, attempted, settled.
//!
//! At least once, never lost. A worker that dies loses its lease and not the job; a worker that was too slow is refused
//! by its fence. Jobs committed here arrive with their lease and a permit, and start at once; looking at the store
//! finds what another replica has dropped, what comes due, and what waits for a permit.
//!
//! Three loops that do not wait for one another: one starts what is committed here, one looks at the store and leases
//! what there are permits for, one clears what ended jobs have left behind. Whoever ends an attempt begins the next one
//! of its lane that waits in hand.

mod attempt;
mod callback;
mod code;
mod gateway_message;
mod lease;
mod reply;
mod resend;
mod timer;
mod turn;
mod waiting;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::waiting::Waiting;
use crate::{
    domain::Partition,
    jobs::{
        health::AttemptOutcome,
        permits::{Permits, StartableJob, health_lane},
    },
    random,
    service::{RequestContext, Service},
    store::Lane,
};

/// How often each replica clears what ended jobs have left behind.
const PURGE_INTERVAL: Duration = Duration::from_mins(10);
/// Before what waits in hand is looked at again, where everything ends.
const PAUSE: Duration = Duration::from_millis(20);

/// The worker of this process.
pub struct Worker {
    service: Arc<Service>,
    cx: RequestContext,
    permits: Arc<Permits>,
    waiting: Waiting,
    tasks: TaskTracker,
    /// Attempts in flight end now, and their jobs are given back.
    release: CancellationToken,
    /// When the last step of looking and leasing began.
    stepped: Mutex<Instant>,
}

impl Worker {
    pub fn new(service: Arc<Service>) -> Arc<Self> {
        let permits = Arc::clone(&service.handoff.permits);
        let (tasks, release) = (TaskTracker::new(), CancellationToken::new());
        let (waiting, stepped) = (Waiting::default(), Mutex::new(Instant::now()));
        let cx = service.background();
        Arc::new(Self { service, cx, permits, waiting, tasks, release, stepped })
    }

    /// How long the step takes that it is in: looking, leasing, or waiting for the next round.
    pub fn step_elapsed(&self) -> Duration {
        self.stepped.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn mark_step(&self) {
        *self.stepped.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Works until `stop`, then lets the attempts in flight settle. Their deadline is shorter than any lease. From
    /// `draining` on only what is committed here is worked on: the rest is for those who stay.
    pub async fn run(
        self: Arc<Self>,
        committed: mpsc::UnboundedReceiver<StartableJob>,
        draining: CancellationToken,
        stop: CancellationToken,
    ) {
        let tidying = async {
            tokio::select! { () = stop.cancelled() => {}, () = self.run_purge() => {} }
        };
        tokio::join!(self.start_committed(committed, stop.clone()), self.run_leasing(&draining), tidying);
        while !self.waiting.lanes().is_empty() {
            self.start_waiting();
            tokio::time::sleep(PAUSE).await;
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn start_committed(
        self: &Arc<Self>,
        mut committed: mpsc::UnboundedReceiver<StartableJob>,
        stop: CancellationToken,
    ) {
        loop {
            let job = tokio::select! {
                () = stop.cancelled() => break,
                job = committed.recv() => job,
            };
            let Some(job) = job else { return };
            self.take_up(vec![job]);
        }
        committed.close();
        while let Some(job) = committed.recv().await {
            self.take_up(vec![job]);
        }
    }

    async fn run_purge(&self) {
        loop {
            tokio::time::sleep(PURGE_INTERVAL.mul_f64(0.75 + 0.5 * random::fraction())).await;
            for instance in self.service.instances.all() {
                if let Err(error) = self.service.store.purge(instance.config.id).await {
                    tracing::debug!(%error, "ended jobs were not cleared; the next round will");
                }
            }
        }
    }

    /// Ends all attempts; their jobs are due again at once, for any replica, and no attempt was spent.
    pub fn release_jobs(&self) {
        self.release.cancel();
    }

    /// Waits until nothing is in hand.
    pub async fn wait_until_idle(&self) {
        while self.permits.in_hand() > 0 || !self.tasks.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Tries again at once where a number was held back: the operator has changed the configuration.
    pub async fn reset_holds(&self) {
        let now = self.service.now();
        for lane in self.permits.reset_message_holds().iter().flat_map(with_notices) {
            if let Err(error) = self.service.store.hold(&lane, now).await {
                tracing::warn!(%error, %lane, "a hold could not be ended; it ends by itself");
            }
            for partition in Partition::all() {
                self.permits.record_waiting(&lane, partition, now);
            }
        }
    }

    /// Notes how an attempt ended, and keeps the lane back where that is better for both sides.
    async fn record_outcome(&self, lane: &Lane, outcome: AttemptOutcome) {
        let Some(until) = self.permits.record_outcome(lane, self.service.now(), outcome) else { return };
        for lane in with_notices(lane) {
            tracing::info!(%lane, %until, "attempts fail: the lane is held back");
            if let Err(error) = self.service.store.hold(&lane, until).await {
                tracing::warn!(%error, %lane, "a failing lane could not be held back");
            }
            self.release_unbegun(self.waiting.take(&lane)).await;
        }
    }
}

/// Replies that are awaited and those that are not share a gateway. Codes are never held: each of them goes to its next
/// channel when this one fails.
fn with_notices(lane: &Lane) -> Vec<Lane> {
    match lane.instance() {
        Some(number) if lane.kind().is_message() => vec![health_lane(lane), Lane::notices(number)],
        _ => vec![lane.clone()],
    }
}
