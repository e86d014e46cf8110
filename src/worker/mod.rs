//! The background worker: leases jobs, attempts them and settles the outcome. All callbacks and messages leave the
//! process through it.
//!
//! Delivery is at least once, and no job is lost. If a worker dies, its lease expires and the job is leased again; a
//! worker that outlives its lease cannot settle the job, because its fence is outdated. Jobs committed by this process
//! arrive with a lease and a permit, and start at once. Polling the store finds jobs that another replica has dropped,
//! jobs that come due, and jobs that wait for a permit.
//!
//! Three loops run independently: one starts the jobs committed here, one polls the store and leases what there are
//! permits for, and one purges the remains of ended jobs. When an attempt ends, the next waiting job of its lane
//! starts.

mod approval;
mod attempt;
mod callback;
mod code;
mod execution;
mod gateway_message;
mod leasing;
mod message_retry;
mod reply;
mod timer;
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
    service::{RequestContext, Services},
    store::Lane,
};

/// How often each replica purges the remains of ended jobs, before jitter.
const PURGE_INTERVAL: Duration = Duration::from_mins(10);
/// How often waiting jobs are checked during shutdown.
const DRAIN_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The worker of this process.
pub struct Worker {
    services: Arc<Services>,
    cx: RequestContext,
    permits: Arc<Permits>,
    waiting: Waiting,
    tasks: TaskTracker,
    /// When cancelled, attempts in flight are aborted and their jobs are returned to the store.
    release: CancellationToken,
    /// When the leasing loop began its current step.
    step_started: Mutex<Instant>,
}

impl Worker {
    pub fn new(services: Arc<Services>) -> Arc<Self> {
        let permits = Arc::clone(&services.env.local_dispatch.permits);
        let (tasks, release) = (TaskTracker::new(), CancellationToken::new());
        let (waiting, step_started) = (Waiting::default(), Mutex::new(Instant::now()));
        let cx = RequestContext::background(&services.env.store);
        Arc::new(Self { services, cx, permits, waiting, tasks, release, step_started })
    }

    /// Time since the leasing loop began its current step: polling, leasing, or waiting for the next round.
    pub fn step_elapsed(&self) -> Duration {
        self.step_started.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn mark_step(&self) {
        *self.step_started.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Runs until `stop`, then lets the attempts in flight settle; their deadline is shorter than any lease. After
    /// `draining`, only jobs committed by this process are started; the rest is left to the other replicas.
    pub async fn run(
        self: Arc<Self>,
        committed: mpsc::UnboundedReceiver<StartableJob>,
        draining: CancellationToken,
        stop: CancellationToken,
    ) {
        let purging = async {
            tokio::select! { () = stop.cancelled() => {}, () = self.run_purge() => {} }
        };
        tokio::join!(self.start_committed(committed, stop.clone()), self.run_leasing(&draining), purging);
        while !self.waiting.lanes().is_empty() {
            self.start_waiting();
            tokio::time::sleep(DRAIN_CHECK_INTERVAL).await;
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
            self.accept_jobs(vec![job]);
        }
        committed.close();
        while let Some(job) = committed.recv().await {
            self.accept_jobs(vec![job]);
        }
    }

    async fn run_purge(&self) {
        loop {
            tokio::time::sleep(PURGE_INTERVAL.mul_f64(0.75 + 0.5 * random::fraction())).await;
            for instance in self.services.env.instances.all() {
                if let Err(error) = self.services.env.store.purge(instance.config.id).await {
                    tracing::debug!(%error, "archived jobs could not be purged; trying again in the next round");
                }
            }
        }
    }

    /// Aborts all attempts in flight. Their jobs are due again at once, for any replica. Only a job whose message may
    /// have been sent has spent an attempt.
    pub fn release_jobs(&self) {
        self.release.cancel();
    }

    /// Waits until this process has no claimed jobs.
    pub async fn wait_until_idle(&self) {
        while self.permits.claimed_jobs() > 0 || !self.tasks.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends the holds on messages, so that they are retried at once after the operator has changed the configuration.
    pub async fn reset_holds(&self) {
        let now = self.services.env.store.now();
        for lane in self.permits.forget_message_health().iter().flat_map(lanes_held_together) {
            if let Err(error) = self.services.env.store.hold(&lane, now).await {
                tracing::warn!(%error, %lane, "the hold of a lane could not be ended early; it ends at its set time");
            }
            for partition in Partition::all() {
                self.permits.record_due(&lane, partition, now);
            }
        }
    }

    /// Records the outcome of an attempt, and puts the lane on hold if its destination is failing.
    async fn record_outcome(&self, lane: &Lane, outcome: AttemptOutcome) {
        let Some(until) = self.permits.record_outcome(lane, self.services.env.store.now(), outcome) else { return };
        for lane in lanes_held_together(lane) {
            tracing::info!(%lane, %until, "attempts of a lane fail; it is on hold until the given time");
            if let Err(error) = self.services.env.store.hold(&lane, until).await {
                tracing::warn!(%error, %lane, "a failing lane could not be put on hold; its attempts continue");
            }
            self.release_unstarted(self.waiting.take(&lane)).await;
        }
    }
}

/// Lanes that are held together: expected replies and notices share a gateway. Codes are never held, because a failed
/// code goes to its next channel.
fn lanes_held_together(lane: &Lane) -> Vec<Lane> {
    match lane.instance() {
        Some(number) if lane.kind().is_message() => vec![health_lane(lane), Lane::notices(number)],
        _ => vec![lane.clone()],
    }
}
