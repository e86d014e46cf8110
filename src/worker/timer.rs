//! A timer that has rung.

use super::Worker;
use crate::{
    service::{Rung, ServiceError},
    store::{Leased, Locator, Settlement, StoreError},
    trace_context::{self, TraceContext},
};

/// `None`: it was set anew, and nothing is left to settle.
pub(super) async fn fire(worker: &Worker, leased: &Leased) -> Result<Option<Settlement>, ServiceError> {
    let place = Locator::from_slice(&leased.body);
    let place = place.ok_or_else(|| StoreError::Corrupt("a timer of no record".to_owned()))?;
    let rung = trace_context::in_trace(TraceContext::new_root(), Box::pin(worker.service.ring(place))).await?;
    Ok(match rung {
        Rung::Done => Some(Settlement::Done),
        Rung::Again(at) => Some(Settlement::Postpone { at }),
        Rung::Set => None,
    })
}
