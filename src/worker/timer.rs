//! Fires a due timer.

use super::Worker;
use crate::{
    service::{ServiceError, TimerOutcome},
    store::{LeasedJob, Locator, Settlement, StoreError},
    trace_context::{self, TraceContext},
};

pub(super) async fn fire(worker: &Worker, leased: &LeasedJob) -> Result<Settlement, ServiceError> {
    let locator = Locator::from_slice(&leased.body);
    let locator = locator.ok_or_else(|| StoreError::Corrupt("a timer of no record".to_owned()))?;
    let outcome = trace_context::in_trace(
        TraceContext::new_root(),
        Box::pin(worker.services.shared.verifications.fire_timer(&worker.cx, locator)),
    )
    .await?;
    Ok(match outcome {
        // A timer that was set anew keeps its new time. Its lease is settled rather than left to expire, since expired
        // leases are put back one by one.
        TimerOutcome::Done | TimerOutcome::AlreadySet => Settlement::Done,
        TimerOutcome::Reschedule(at) => Settlement::Postpone { at },
    })
}
