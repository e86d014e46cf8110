//! Everything that leaves the process: leased, attempted, settled.
//!
//! At least once, never lost. A worker that dies loses its lease and not the job; a worker that was too slow is refused
//! by its fence. Jobs committed here arrive with their lease and a permit, and start at once; looking at the store
//! finds what another replica has dropped, what comes due, and what waits for a permit.
//!
//! Three loops that do not wait for one another: one starts what is committed here, one looks at the store and leases
//! what there are permits for, one clears what ended jobs have left behind.

mod callback;
mod code;
mod gateway_message;
mod lease;
mod reply;
mod resend;
mod timer;

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use jiff::SignedDuration;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    domain::{Partition, Reason, Verification},
    jobs::{
        dead::{self, DeadReason},
        health::AttemptOutcome,
        payload::JobPayload,
        permits::{Permit, Permits, StartableJob, health_lane},
        retry::Schedule,
    },
    metrics::label::{ByKind, KindReason},
    random,
    service::{Instance, Service, ServiceError},
    store::{LEASE_DURATION, Lane, Leased, Settlement},
    trace_context::{self, Span, TraceContext},
};

/// How often each replica clears what ended jobs have left behind.
const PURGE_INTERVAL: Duration = Duration::from_mins(10);
/// A job that no attempt can be made of here, because its instance or its key is not configured, waits for a replica
/// that has them.
const UNKNOWN_RETRY_DELAY: SignedDuration = SignedDuration::from_secs(60);
const UNKNOWN_MAX_AGE: SignedDuration = SignedDuration::from_hours(24);
/// Leases in a row that ran out without an outcome: the job ends the processes that attempt it.
const MAX_LAPSED_LEASES: u32 = 8;
/// A job that waits in hand for another one of its group, and has waited this long, could outlive its lease.
const MAX_GROUP_WAIT: Duration = Duration::from_secs(4);

/// The worker of this process.
pub struct Worker {
    service: Arc<Service>,
    permits: Arc<Permits>,
    tasks: TaskTracker,
    /// Attempts in flight end now, and their jobs are given back.
    release: CancellationToken,
    /// When the last step of looking and leasing began.
    stepped: Mutex<Instant>,
}

impl Worker {
    pub fn new(service: Arc<Service>) -> Arc<Self> {
        let permits = Arc::clone(&service.handoff.permits);
        let (tasks, hand_back) = (TaskTracker::new(), CancellationToken::new());
        Arc::new(Self { service, permits, tasks, release: hand_back, stepped: Mutex::new(Instant::now()) })
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
            self.start(vec![job]);
        }
        committed.close();
        while let Some(job) = committed.recv().await {
            self.start(vec![job]);
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

    /// Waits until nothing is in flight.
    pub async fn wait_until_idle(&self) {
        while self.permits.in_flight() > 0 || !self.tasks.is_empty() {
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
        }
    }

    /// Starts jobs, one after the other.
    fn start(self: &Arc<Self>, jobs: Vec<StartableJob>) {
        let this = Arc::clone(self);
        let began = Instant::now();
        self.tasks.spawn(async move {
            for (place, StartableJob { leased, permit, record }) in jobs.into_iter().enumerate() {
                let settlement = if place > 0 && began.elapsed() > MAX_GROUP_WAIT {
                    Some(Settlement::Postpone { at: this.service.now() })
                } else {
                    this.attempt_supervised(&leased, &permit, record.as_deref()).await
                };
                drop(permit);
                if let Some(settlement) = settlement {
                    this.conclude(&leased, &settlement).await;
                }
            }
        });
    }

    /// The outcome of an attempt, also of one that panics. `None`: nothing was decided, and the lease runs out.
    async fn attempt_supervised(
        &self,
        leased: &Leased,
        permit: &Permit,
        record: Option<&Verification>,
    ) -> Option<Settlement> {
        let kind = leased.lane.kind().as_str();
        let in_flight = self.service.metrics.jobs_in_flight.get_or_create_owned(&ByKind { kind });
        in_flight.inc();
        let attempt = Box::pin(async {
            tokio::select! {
                biased;
                () = self.release.cancelled() => Ok(Some(self.release_settlement(permit))),
                settlement = self.dispatch(leased, permit, record) => settlement,
            }
        });
        let outcome = catch_panic(attempt).await;
        in_flight.dec();
        match outcome {
            Ok(Ok(settlement)) => settlement,
            Ok(Err(error)) => {
                tracing::warn!(job = %leased.id.0, %error, "a job could not be attempted; it comes again when its lease ends");
                None
            }
            Err(note) => {
                tracing::error!(job = %leased.id.0, kind, note, "an attempt panicked");
                Some(self.retry(leased, Schedule::REPLY, note))
            }
        }
    }

    /// Due again at once. A message whose answer nobody waits for any more may have been sent.
    fn release_settlement(&self, permit: &Permit) -> Settlement {
        let at = self.service.now();
        if permit.is_spent() {
            Settlement::Retry { at, note: format!("{}: the process ended", resend::PERHAPS_SENT) }
        } else {
            Settlement::Postpone { at }
        }
    }

    fn retry(&self, leased: &Leased, schedule: Schedule, note: String) -> Settlement {
        match schedule.next_delay(leased.attempts + 1, random::fraction(), None) {
            Some(delay) => Settlement::Retry { at: self.service.now() + delay, note },
            None => Settlement::Dead { note },
        }
    }

    async fn conclude(&self, leased: &Leased, settlement: &Settlement) {
        if let Settlement::Dead { note } = settlement {
            let reason = DeadReason::of(&leased.id, note).as_str();
            let kind = leased.lane.kind().as_str();
            self.service.metrics.jobs_dead.get_or_create(&KindReason { kind, reason }).inc();
            tracing::warn!(job = %leased.id.0, kind, reason, note, "a job was given up");
        }
        self.settle(leased, settlement).await;
    }

    /// `None`: there is nothing to settle.
    async fn dispatch(
        &self,
        leased: &Leased,
        permit: &Permit,
        record: Option<&Verification>,
    ) -> Result<Option<Settlement>, ServiceError> {
        if leased.lane == Lane::timer() {
            Box::pin(timer::fire(self, leased)).await
        } else {
            Box::pin(self.attempt(leased, permit, record)).await.map(Some)
        }
    }

    async fn attempt(
        &self,
        leased: &Leased,
        permit: &Permit,
        record: Option<&Verification>,
    ) -> Result<Settlement, ServiceError> {
        if leased.lapsed >= MAX_LAPSED_LEASES {
            let note = format!("{}: {} leases in a row ended without an outcome", dead::POISON, leased.lapsed);
            return Ok(Settlement::Dead { note });
        }
        let Some(instance) = self.service.instances.get(leased.instance) else {
            return Ok(self.postpone_or_bury(leased, Reason::InstanceRemoved.to_string()));
        };
        let (work, parent) = match JobPayload::open_leased(&self.service.keys, leased) {
            Ok(work) => work,
            Err(error) => {
                tracing::error!(job = %leased.id.0, %error, "a job cannot be read here");
                return Ok(self.postpone_or_bury(leased, format!("{}: {error}", dead::UNREADABLE)));
            }
        };
        let context = parent.map_or_else(TraceContext::new_root, TraceContext::child);
        let (name, start, began) = (work.name(), Instant::now(), self.service.clock.wall());
        let settlement =
            trace_context::in_trace(context, Box::pin(self.perform(&instance, leased, permit, work, record))).await;
        let (ok, note) = match &settlement {
            Ok(Settlement::Done | Settlement::Delivered | Settlement::Postpone { .. }) => (true, "done"),
            Ok(Settlement::Retry { note, .. } | Settlement::Dead { note }) => (false, note.as_str()),
            Err(_) => (false, "store"),
        };
        let (took, instance_id) = (start.elapsed(), instance.config.id);
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let trace_id = context.trace_id_hex();
        if ok {
            tracing::debug!(work = name, instance = %instance_id, millis, trace_id, "attempt");
        } else {
            tracing::info!(work = name, instance = %instance_id, millis, trace_id, note, "an attempt failed");
        }
        if trace_context::is_recorded(context) {
            trace_context::record(Span {
                name: name.to_owned(),
                server: false,
                context,
                parent: parent.map(TraceContext::span_id),
                start: began,
                duration: took,
                ok,
                attributes: vec![
                    ("countersign.instance", instance_id.to_string()),
                    ("countersign.note", note.to_owned()),
                ],
            });
        }
        settlement
    }

    /// Nothing can be attempted here. Another replica may be able to.
    fn postpone_or_bury(&self, leased: &Leased, note: String) -> Settlement {
        let now = self.service.now();
        if now.duration_since(leased.since) > UNKNOWN_MAX_AGE {
            Settlement::Dead { note }
        } else {
            // Whoever can is given the chance soon, and less and less often.
            let age = now.duration_since(leased.since) / 4;
            Settlement::Postpone { at: now + age.clamp(SignedDuration::from_secs(1), UNKNOWN_RETRY_DELAY) }
        }
    }

    async fn perform(
        &self,
        instance: &Arc<Instance>,
        leased: &Leased,
        permit: &Permit,
        work: JobPayload,
        record: Option<&Verification>,
    ) -> Result<Settlement, ServiceError> {
        match work {
            JobPayload::Callback { webhook_id, url, body, .. } => {
                let delivery = callback::CallbackJob { webhook_id, url, body };
                Ok(callback::deliver(self, instance, leased, permit, delivery).await)
            }
            JobPayload::Reply { about, reply, chat_id, subject } => {
                let outgoing = reply::ReplyJob { about, record, reply, chat_id, subject };
                reply::send(self, instance, leased, permit, outgoing).await
            }
            JobPayload::Code { about, leg } => {
                code::send(self, instance, leased, permit, code::CodeJob { about, record, leg }).await
            }
        }
    }

    /// Looks at the store when a job comes due that was settled here.
    fn expect_retry(&self, settlement: &Settlement) {
        if let Settlement::Retry { at, .. } = settlement
            && let Ok(delay) = Duration::try_from(at.duration_since(self.service.now()))
        {
            self.permits.retry_in(delay);
        }
    }

    /// Tells the store until it answers or the lease is over.
    async fn settle(&self, leased: &Leased, settlement: &Settlement) {
        let deadline = Instant::now() + LEASE_DURATION;
        loop {
            match self.service.store.settle(leased, settlement).await {
                Ok(true) => return self.expect_retry(settlement),
                Ok(false) => {
                    let kind = leased.lane.kind().as_str();
                    self.service.metrics.leases_lost.get_or_create(&ByKind { kind }).inc();
                    return;
                }
                Err(error) if Instant::now() >= deadline => {
                    tracing::warn!(job = %leased.id.0, %error, "an outcome could not be stored; the job will come again");
                    return;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
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

/// A panic of `attempt`, in words.
async fn catch_panic<T>(attempt: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(attempt).catch_unwind().await.map_err(|panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        format!("panic: {}", text.unwrap_or("without a message"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_outcome_that_says_why() {
        let number = std::hint::black_box(7);
        assert_eq!(catch_panic(async { number }).await, Ok(7));
        let outcome = catch_panic(async {
            tokio::task::yield_now().await;
            assert!(number < 7, "{number} is too many");
        });
        assert_eq!(outcome.await, Err("panic: 7 is too many".to_owned()));
    }
}
