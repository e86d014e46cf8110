//! Starts the jobs that this process has leased, oldest first in each lane, and settles them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use super::{Worker, waiting::TakenJobs};
use crate::{
    jobs::permits::StartableJob,
    metrics::label::{ByKind, KindReason},
    store::{LEASE_DURATION, Lane, LeasedJob, Settlement},
};

impl Worker {
    /// Accepts leased jobs of one lane: starts those whose permit allows it, and queues the others.
    pub(super) fn accept_jobs(self: &Arc<Self>, jobs: Vec<StartableJob>) {
        let Some(lane) = jobs.first().map(|job| job.leased.lane.clone()) else { return };
        let (started, others): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.permit.has_started());
        for job in started {
            self.start(job);
        }
        if !others.is_empty() {
            self.waiting.add(&lane, others);
            self.start_waiting_in(&lane);
        }
    }

    pub(super) fn start(self: &Arc<Self>, StartableJob { leased, permit, record }: StartableJob) {
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            let settlement = this.run_supervised(&leased, &permit, record.as_deref()).await;
            permit.end();
            this.start_waiting_in(&leased.lane);
            if let Some(settlement) = settlement {
                this.finish_job(&leased, &settlement).await;
            }
        });
    }

    /// Starts the waiting jobs of a lane that its concurrency limit and groups allow.
    pub(super) fn start_waiting_in(self: &Arc<Self>, lane: &Lane) {
        let TakenJobs { startable, overdue } = self.waiting.take_startable(lane, &self.permits);
        for job in startable {
            self.start(job);
        }
        self.spawn_release(overdue);
    }

    pub(super) fn start_waiting(self: &Arc<Self>) {
        for lane in self.waiting.lanes() {
            self.start_waiting_in(&lane);
        }
    }

    /// Returns jobs that have not started to the store, where they keep their position in the lane.
    pub(super) async fn release_unstarted(&self, jobs: Vec<StartableJob>) {
        let settle = async |job: &StartableJob| {
            let settlement = Settlement::Postpone { at: job.leased.since };
            self.settle(&job.leased, &settlement).await;
        };
        join_all(jobs.iter().map(settle)).await;
    }

    pub(super) fn spawn_release(self: &Arc<Self>, jobs: Vec<StartableJob>) {
        if !jobs.is_empty() {
            let this = Arc::clone(self);
            self.tasks.spawn(async move { this.release_unstarted(jobs).await });
        }
    }

    async fn finish_job(&self, leased: &LeasedJob, settlement: &Settlement) {
        if let Settlement::Dead { reason, note } = settlement {
            let reason = reason.as_str();
            let kind = leased.lane.kind().as_str();
            self.services.env.metrics.jobs_dead.get_or_create(&KindReason { kind, reason }).inc();
            tracing::warn!(job = %leased.id.0, kind, reason, note, "a job was given up");
        }
        self.settle(leased, settlement).await;
    }

    /// Schedules a poll of the store for the time at which a job settled here comes due again.
    fn schedule_retry_poll(&self, settlement: &Settlement) {
        if let Settlement::Retry { at, .. } = settlement
            && let Ok(delay) = Duration::try_from(at.duration_since(self.services.env.store.now()))
        {
            self.permits.schedule_poll_in(delay);
        }
    }

    /// Stores the outcome, retrying until the store answers or the lease has expired.
    async fn settle(&self, leased: &LeasedJob, settlement: &Settlement) {
        let deadline = Instant::now() + LEASE_DURATION;
        // A call without a response may have stored the outcome.
        let mut in_doubt = false;
        loop {
            match self.services.env.store.settle(leased, settlement).await {
                Ok(stored) if stored || in_doubt => return self.schedule_retry_poll(settlement),
                Ok(_) => {
                    let kind = leased.lane.kind().as_str();
                    self.services.env.metrics.leases_lost.get_or_create(&ByKind { kind }).inc();
                    return;
                }
                Err(error) if Instant::now() >= deadline => {
                    tracing::warn!(job = %leased.id.0, %error, "the outcome of a job could not be stored; the job is attempted again when its lease expires");
                    return;
                }
                Err(_) => {
                    in_doubt = true;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}
