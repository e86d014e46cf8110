//! One attempt at a job: dispatch by kind, supervision (panics, shutdown), and logging and tracing of the outcome.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures_util::FutureExt as _;
use jiff::SignedDuration;

use super::{Worker, approval, callback, code, message_retry::AttemptNote, reply, timer};
use crate::{
    domain::Verification,
    jobs::{payload::JobPayload, permits::Permit, retry::Schedule},
    metrics::label::ByKind,
    random,
    service::{Instance, ServiceError},
    store::{DeadReason, LaneKind, LeasedJob, Settlement},
    trace_context::{self, Span, TraceContext},
};

/// Maximum delay before retrying a job that this replica cannot process because its instance or key is not configured.
/// Another replica may have them.
const MAX_UNPROCESSABLE_DELAY: SignedDuration = SignedDuration::from_secs(60);
const MAX_UNPROCESSABLE_AGE: SignedDuration = SignedDuration::from_hours(24);
/// Maximum number of consecutive leases that expire without an outcome. A job that reaches it is assumed to crash the
/// worker and is marked dead.
const MAX_EXPIRED_LEASES: u32 = 8;

impl Worker {
    /// Runs an attempt and returns how to settle the job, even if it panics. `None` after an error of the store: the
    /// job is retried when its lease expires.
    pub(super) async fn run_supervised(
        &self,
        leased: &LeasedJob,
        permit: &Permit,
        record: Option<&Verification>,
    ) -> Option<Settlement> {
        let kind = leased.lane.kind().as_str();
        let in_flight = self.services.env.metrics.jobs_in_flight.get_or_create_owned(&ByKind { kind });
        in_flight.inc();
        let attempt = Box::pin(async {
            tokio::select! {
                biased;
                () = self.release.cancelled() => Ok(self.shutdown_settlement(permit)),
                settlement = self.run_attempt(leased, permit, record) => settlement,
            }
        });
        let outcome = catch_panic(attempt).await;
        in_flight.dec();
        match outcome {
            Ok(Ok(settlement)) => Some(settlement),
            Ok(Err(error)) => {
                tracing::warn!(job = %leased.id.0, %error, "a job attempt failed; it is retried when its lease expires");
                None
            }
            Err(note) => {
                tracing::error!(job = %leased.id.0, kind, note, "a job attempt panicked; the job is retried");
                Some(self.retry(leased, Schedule::REPLY, note))
            }
        }
    }

    /// Settlement of an attempt that is interrupted by shutdown: the job is due immediately. If the message may have
    /// been sent, the interruption counts as an attempt.
    fn shutdown_settlement(&self, permit: &Permit) -> Settlement {
        let at = self.services.env.store.now();
        if permit.may_have_sent() {
            let note = AttemptNote { possibly_sent: true, cause: "the process was shut down" };
            Settlement::Retry { at, note: note.to_string() }
        } else {
            Settlement::Postpone { at }
        }
    }

    fn retry(&self, leased: &LeasedJob, schedule: Schedule, note: String) -> Settlement {
        match schedule.next_delay(leased.attempts + 1, random::fraction(), None) {
            Some(delay) => Settlement::Retry { at: self.services.env.store.now() + delay, note },
            None => Settlement::Dead { reason: DeadReason::GivenUp, note },
        }
    }

    async fn run_attempt(
        &self,
        leased: &LeasedJob,
        permit: &Permit,
        record: Option<&Verification>,
    ) -> Result<Settlement, ServiceError> {
        if leased.lane.kind() == LaneKind::Timer {
            Box::pin(timer::fire(self, leased)).await
        } else {
            Box::pin(self.run_job(leased, permit, record)).await
        }
    }

    async fn run_job(
        &self,
        leased: &LeasedJob,
        permit: &Permit,
        record: Option<&Verification>,
    ) -> Result<Settlement, ServiceError> {
        if leased.expired_leases >= MAX_EXPIRED_LEASES {
            let reason = DeadReason::Poison;
            let note = format!("{reason}: {} consecutive leases expired without an outcome", leased.expired_leases);
            return Ok(Settlement::Dead { reason, note });
        }
        let Some(instance) = self.services.env.instances.get(leased.instance) else {
            let reason = DeadReason::InstanceRemoved;
            return Ok(self.postpone_or_give_up(leased, reason, reason.to_string()));
        };
        let (payload, parent) = match JobPayload::open_leased(&self.services.env.keys, leased) {
            Ok(work) => work,
            Err(error) => {
                tracing::error!(job = %leased.id.0, %error, "a job cannot be read by this replica; another one may have its key");
                let reason = DeadReason::Unreadable;
                return Ok(self.postpone_or_give_up(leased, reason, format!("{reason}: {error}")));
            }
        };
        let context = parent.map_or_else(TraceContext::new_root, TraceContext::child);
        let (name, start, started_at) = (payload.name(), Instant::now(), self.services.env.clock.wall());
        let settlement =
            trace_context::in_trace(context, Box::pin(self.deliver(&instance, leased, permit, payload, record))).await;
        let (ok, note) = match &settlement {
            Ok(Settlement::Done | Settlement::Delivered | Settlement::Postpone { .. }) => (true, "done"),
            Ok(Settlement::Retry { note, .. } | Settlement::Dead { note, .. }) => (false, note.as_str()),
            Err(_) => (false, "store"),
        };
        let (elapsed, instance_id) = (start.elapsed(), instance.config.id);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let trace_id = context.trace_id_hex();
        if ok {
            tracing::debug!(work = name, instance = %instance_id, millis, trace_id, "a job attempt finished");
        } else {
            tracing::info!(work = name, instance = %instance_id, millis, trace_id, note, "a job attempt failed");
        }
        if trace_context::is_recorded(context) {
            trace_context::record(Span {
                name: name.to_owned(),
                server: false,
                context,
                parent: parent.map(TraceContext::span_id),
                start: started_at,
                duration: elapsed,
                ok,
                attributes: vec![
                    ("countersign.instance", instance_id.to_string()),
                    ("countersign.note", note.to_owned()),
                ],
            });
        }
        settlement
    }

    /// Settlement of a job that cannot be attempted here: postponed, since another replica may be able to, and dead
    /// after `MAX_UNPROCESSABLE_AGE`.
    fn postpone_or_give_up(&self, leased: &LeasedJob, reason: DeadReason, note: String) -> Settlement {
        let now = self.services.env.store.now();
        if now.duration_since(leased.since) > MAX_UNPROCESSABLE_AGE {
            Settlement::Dead { reason, note }
        } else {
            // A quarter of the age, so that a replica that has the instance and the key gets the job soon.
            let age = now.duration_since(leased.since) / 4;
            Settlement::Postpone { at: now + age.clamp(SignedDuration::from_secs(1), MAX_UNPROCESSABLE_DELAY) }
        }
    }

    async fn deliver(
        &self,
        instance: &Arc<Instance>,
        leased: &LeasedJob,
        permit: &Permit,
        work: JobPayload,
        record: Option<&Verification>,
    ) -> Result<Settlement, ServiceError> {
        match work {
            JobPayload::Callback(job) => Ok(callback::deliver(self, instance, leased, permit, job).await),
            JobPayload::Reply(job) => reply::send(self, instance, leased, permit, &job, record).await,
            JobPayload::Code(job) => code::send(self, instance, leased, permit, job, record).await,
            JobPayload::Approval(job) => approval::send(self, instance, leased, permit, job, record).await,
        }
    }
}

/// Runs `run_job` and turns a panic into an error with its message.
async fn catch_panic<T>(attempt: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(attempt).catch_unwind().await.map_err(|panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        format!("panic: {}", text.unwrap_or("(no message)"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_reported_with_its_message() {
        let number = std::hint::black_box(7);
        assert_eq!(catch_panic(async { number }).await, Ok(7));
        let outcome = catch_panic(async {
            tokio::task::yield_now().await;
            assert!(number < 7, "{number} is too many");
        });
        assert_eq!(outcome.await, Err("panic: 7 is too many".to_owned()));
    }
}
