//! Everything that leaves the process: leased, attempted, settled.
//!
//! At least once, never lost. A worker that dies loses its lease and not the job; a worker that was too slow
//! is refused by its fence. Jobs committed here arrive with their lease and start at once; polling finds what
//! somebody dropped, what comes due, and what waits for a slot.

mod again;
mod callback;
mod code;
mod reply;
pub mod signature;
mod speak;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    domain::Reason,
    entropy,
    jobs::{
        breaker::Breakers,
        dead::DeadReason,
        number::Lines,
        payload::Work,
        permits::{Slot, Slots},
    },
    metrics::label::{ByKind, KindReason},
    service::{Instance, Service, ServiceError},
    store::{LEASE, Leased, Settlement, StoreError},
    trace::{self, Context, Span},
};

/// How often each replica looks at all partitions, before jitter.
const ROUND: Duration = Duration::from_millis(800);
/// How often each replica clears what ended jobs have left behind.
const TIDY: Duration = Duration::from_mins(10);
/// A job of an instance that is not configured here waits for a replica that has it.
const UNKNOWN_INSTANCE: SignedDuration = SignedDuration::from_secs(60);
const UNKNOWN_INSTANCE_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// The worker of this process.
pub struct Worker {
    service: Arc<Service>,
    slots: Arc<Slots>,
    breakers: Breakers,
    lines: Lines,
    tasks: TaskTracker,
    /// Attempts in flight end now, and their jobs are given back.
    hand_back: CancellationToken,
}

impl Worker {
    pub fn new(service: Arc<Service>) -> Arc<Self> {
        let slots = Arc::clone(&service.handoff.slots);
        Arc::new(Self {
            service,
            slots,
            breakers: Breakers::default(),
            lines: Lines::default(),
            tasks: TaskTracker::new(),
            hand_back: CancellationToken::new(),
        })
    }

    /// Works until `stop`, then lets the attempts in flight settle. Their deadline is shorter than any lease. From
    /// `draining` on only what is committed here is worked on: the rest is for those who stay.
    pub async fn run(
        self: Arc<Self>,
        mut committed: mpsc::Receiver<(Leased, Slot)>,
        draining: CancellationToken,
        stop: CancellationToken,
    ) {
        let mut backlog = false;
        let mut tidied = tokio::time::Instant::now();
        loop {
            if tidied.elapsed() > TIDY.mul_f64(0.75 + 0.5 * entropy::fraction()) {
                tidied = tokio::time::Instant::now();
                let this = Arc::clone(&self);
                self.tasks.spawn(async move { this.tidy().await });
            }
            let round = tokio::time::sleep(ROUND.mul_f64(0.75 + 0.5 * entropy::fraction()));
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some((leased, slot)) = committed.recv() => {
                    self.start(leased, slot);
                    continue;
                }
                // More is due than there were slots: go on as soon as one is free.
                () = self.slots.released(), if backlog => {}
                () = self.slots.nudged() => {}
                () = round => {}
            }
            if draining.is_cancelled() {
                backlog = false;
                continue;
            }
            backlog = self.poll().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "looking for due work failed");
                false
            });
        }
        committed.close();
        while let Some((leased, slot)) = committed.recv().await {
            self.start(leased, slot);
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends all attempts; their jobs are due again at once, for whoever is there, and no attempt was spent.
    pub fn hand_back(&self) {
        self.hand_back.cancel();
    }

    /// Starts what is due and has a slot. `true`: something had none.
    pub async fn poll(self: &Arc<Self>) -> Result<bool, StoreError> {
        let mut backlog = false;
        for (partition, destination) in self.service.store.due().await? {
            let slots: Vec<Slot> = std::iter::from_fn(|| self.slots.take(&destination)).take(64).collect();
            if slots.is_empty() {
                backlog = true;
                continue;
            }
            let wanted = slots.len();
            let leased = self.service.store.lease(partition, &destination, wanted).await?;
            backlog |= leased.len() == wanted;
            for (leased, slot) in leased.into_iter().zip(slots) {
                self.start(leased, slot);
            }
        }
        Ok(backlog)
    }

    /// Tries again at once where credentials were refused: the operator has changed the configuration.
    pub fn forgive(&self) {
        self.lines.forgive();
    }

    async fn tidy(&self) {
        for instance in self.service.instances.all() {
            if let Err(error) = self.service.store.tidy(instance.config.id).await {
                tracing::debug!(%error, "ended jobs were not cleared; another round will");
            }
        }
    }

    /// Waits until nothing is in flight.
    pub async fn idle(&self) {
        while self.slots.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn start(self: &Arc<Self>, leased: Leased, slot: Slot) {
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            let _slot = slot;
            let kind = leased.destination.kind();
            let in_flight = this.service.metrics.jobs_in_flight.get_or_create_owned(&ByKind { kind });
            in_flight.inc();
            this.work(&leased).await;
            in_flight.dec();
        });
    }

    async fn work(&self, leased: &Leased) {
        let attempt = async {
            tokio::select! {
                biased;
                () = self.hand_back.cancelled() => Ok(Settlement::Postpone { at: self.service.now() }),
                settlement = self.attempt(leased) => settlement,
            }
        };
        let settlement = match attempt.await {
            Ok(settlement) => settlement,
            Err(error) => {
                // The lease runs out and the job comes again; nothing was decided.
                tracing::warn!(job = %leased.id.0, %error, "a job could not be worked on");
                return;
            }
        };
        if let Settlement::Dead { note } = &settlement {
            let reason = DeadReason::of(&leased.id, note).as_str();
            let kind = leased.destination.kind();
            self.service.metrics.jobs_dead.get_or_create(&KindReason { kind, reason }).inc();
            tracing::warn!(job = %leased.id.0, note, "a job was given up");
        }
        self.settle(leased, &settlement).await;
    }

    async fn attempt(&self, leased: &Leased) -> Result<Settlement, ServiceError> {
        let now = self.service.now();
        let Some(instance) = self.service.instances.get(leased.instance) else {
            let given_up = now.duration_since(leased.since) > UNKNOWN_INSTANCE_LIFE;
            let note = Reason::InstanceRemoved.to_string();
            return Ok(if given_up {
                Settlement::Dead { note }
            } else {
                Settlement::Postpone { at: now + UNKNOWN_INSTANCE }
            });
        };
        let (work, parent) = Work::of(&self.service.keys, leased)?;
        let context = parent.map_or_else(Context::begin, Context::child);
        let (name, start, began) = (work.name(), Instant::now(), self.service.clock.wall());
        let settlement = trace::within(context, self.perform(&instance, leased, work)).await;
        let (ok, note) = match &settlement {
            Ok(Settlement::Done | Settlement::Delivered | Settlement::Postpone { .. }) => (true, "done"),
            Ok(Settlement::Retry { note, .. } | Settlement::Dead { note }) => (false, note.as_str()),
            Err(_) => (false, "store"),
        };
        let (took, instance_id) = (start.elapsed(), instance.config.id);
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let trace_id = context.trace_id();
        if ok {
            tracing::debug!(work = name, instance = %instance_id, millis, trace_id, "attempt");
        } else {
            tracing::info!(work = name, instance = %instance_id, millis, trace_id, note, "an attempt failed");
        }
        if trace::wanted(context) {
            trace::finish(Span {
                name: name.to_owned(),
                server: false,
                context,
                parent: parent.map(Context::span),
                start: began,
                took,
                ok,
                attributes: vec![
                    ("countersign.instance", instance_id.to_string()),
                    ("countersign.note", note.to_owned()),
                ],
            });
        }
        settlement
    }

    async fn perform(&self, instance: &Arc<Instance>, leased: &Leased, work: Work) -> Result<Settlement, ServiceError> {
        match work {
            Work::Callback { webhook_id, url, body, .. } => {
                let delivery = callback::Delivery { webhook_id, url, body };
                Ok(callback::deliver(self, instance, leased, delivery).await)
            }
            Work::Reply { about, reply, chat_id, subject } => {
                reply::send(self, instance, leased, reply::Outgoing { about, reply, chat_id, subject }).await
            }
            Work::Code { about, leg } => code::send(self, instance, leased, about, leg).await,
            Work::Tick { about } => self.service.tick(instance, about).await.map(rung),
        }
    }

    /// Tells the store until it answers or the lease is over.
    async fn settle(&self, leased: &Leased, settlement: &Settlement) {
        let deadline = Instant::now() + LEASE;
        loop {
            match self.service.store.settle(leased, settlement).await {
                Ok(true) => return,
                Ok(false) => {
                    let kind = leased.destination.kind();
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

/// A timer that has rung, or must ring again.
fn rung(again: Option<Timestamp>) -> Settlement {
    again.map_or(Settlement::Done, |at| Settlement::Postpone { at })
}
