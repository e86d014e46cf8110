//! The scheduled transitions of a record: it expires, the person's data is erased, the record is removed.
//!
//! A timer only triggers the check; what is due follows from the record itself.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::loaded::{Loaded, LoadedTyped};
use crate::{
    domain::StateMachine,
    service::{
        RequestContext, ServiceError,
        retention::{DueTransition, next_transition, removed_at},
        verifications::Verifications,
    },
    store::{Locator, StoreError, archive::Removal},
};

/// What happens to a timer that has fired.
pub enum TimerOutcome {
    /// Nothing is left to do.
    Done,
    Reschedule(Timestamp),
    /// The change to the record has set the timer already.
    AlreadySet,
}

impl Verifications {
    /// Performs what is due for the record at `place`. The action is derived from the record as read, so a timer that
    /// fires early or twice does no harm. A record of an instance that is not configured here waits for a replica that
    /// has the instance.
    pub async fn fire_timer(&self, cx: &RequestContext, locator: Locator) -> Result<TimerOutcome, ServiceError> {
        let found = cx.store.find(None, &[locator]).await?;
        let Some(stored) = found.records.into_iter().flatten().next() else { return Ok(TimerOutcome::Done) };
        let record = match self.decode(&stored) {
            // The store eventually removes the record by itself.
            Err(StoreError::Sealed(_)) => return Ok(TimerOutcome::Reschedule(cx.now() + SEALED)),
            decoded => decoded?,
        };
        let Some(instance) = self.instances.get(record.instance) else {
            return Ok(TimerOutcome::Reschedule(cx.now() + UNKNOWN_INSTANCE));
        };
        let (due, at) = next_transition(&instance, &record, cx.now());
        if cx.now() < at {
            return Ok(TimerOutcome::Reschedule(at));
        }
        match due {
            DueTransition::Expire | DueTransition::Erase => {
                let loaded = Loaded { instance, record, version: stored.version };
                match loaded.typed() {
                    LoadedTyped::Link(link) => self.perform(cx, link, &due).await,
                    LoadedTyped::Code(code) => self.perform(cx, code, &due).await,
                }
            }
            DueTransition::Remove => {
                let mut removal = Removal::new(record.instance, record.id.partition());
                removal.record = Some((record.id.into(), self.indexes(&instance, &record)));
                cx.store.remove(&removal).await?;
                Ok(TimerOutcome::Done)
            }
        }
    }

    async fn perform<K: StateMachine>(
        &self,
        cx: &RequestContext,
        loaded: Loaded<K>,
        due: &DueTransition,
    ) -> Result<TimerOutcome, ServiceError> {
        let command = if matches!(due, DueTransition::Expire) { K::EXPIRE } else { K::ERASE };
        let (instance, pending) = (Arc::clone(&loaded.instance), loaded.record.ended_at().is_none());
        match self.apply(cx, loaded, command, None).await {
            // The change that ends a record also sets its timer.
            Ok(_) if pending => Ok(TimerOutcome::AlreadySet),
            Ok(applied) => Ok(TimerOutcome::Reschedule(removed_at(&instance, &applied.record))),
            Err(ServiceError::NotFound) => Ok(TimerOutcome::Done),
            Err(error) => Err(error),
        }
    }
}

/// Retry delay for an unknown instance, so that a replica that has it can take over.
const UNKNOWN_INSTANCE: SignedDuration = SignedDuration::from_secs(60);
/// Retry delay for an unreadable record, until a replica that has the key takes over or the key is restored.
const SEALED: SignedDuration = SignedDuration::from_mins(10);
