//! The scheduled transitions of a record: it expires, the person's data is erased, the record is removed.
//!
//! A timer only triggers the check; what is due follows from the record itself.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    Instance, RequestContext, Service, ServiceError,
    loaded::{Loaded, LoadedTyped},
};
use crate::{
    domain::{Kind, StateMachine, Verification, link::LinkState},
    store::{Locator, StoreError, archive::Removal},
};

/// How late the last timer of a record may fire. The store keeps the record for this long after its removal is due,
/// because only the record says which lists contain it.
pub(super) const MAX_TIMER_DELAY: SignedDuration = SignedDuration::from_hours(1);

/// The next transition of a record.
enum DueTransition {
    Expire,
    Erase,
    Remove,
}

/// What happens to a timer that has fired.
pub enum TimerOutcome {
    /// Nothing is left to do.
    Done,
    Reschedule(Timestamp),
    /// The change to the record has set the timer already.
    AlreadySet,
}

impl Service {
    /// Performs what is due for the record at `place`. The action is derived from the record as read, so a timer that
    /// fires early or twice does no harm. A record of an instance that is not configured here waits for a replica that
    /// has the instance.
    pub async fn fire_timer(&self, cx: &RequestContext, place: Locator) -> Result<TimerOutcome, ServiceError> {
        let found = cx.store.find(None, &[place]).await?;
        let Some(stored) = found.records.into_iter().flatten().next() else { return Ok(TimerOutcome::Done) };
        let record = match self.decode(&stored) {
            // The store eventually removes the record by itself.
            Err(StoreError::Sealed(_)) => return Ok(TimerOutcome::Reschedule(self.now() + SEALED)),
            decoded => decoded?,
        };
        let Some(instance) = self.instances.get(record.instance) else {
            return Ok(TimerOutcome::Reschedule(self.now() + UNKNOWN_INSTANCE));
        };
        let (due, at) = next_transition(&instance, &record, self.now());
        if self.now() < at {
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

fn next_transition<K: Kind>(
    instance: &Instance,
    record: &Verification<K>,
    now: Timestamp,
) -> (DueTransition, Timestamp) {
    let removed = removed_at(instance, record);
    match record.ended_at() {
        None => (DueTransition::Expire, record.expires_at),
        Some(at) if now < removed && at + instance.config.erase_after < removed => {
            (DueTransition::Erase, at + instance.config.erase_after)
        }
        Some(_) => (DueTransition::Remove, removed),
    }
}

/// When a record that ends now is due next.
pub(super) fn after_end<K: Kind>(instance: &Instance, record: &Verification<K>, now: Timestamp) -> Timestamp {
    next_transition(instance, record, now).1
}

/// When a record is removed. A link that expired without a failed attempt is removed earlier.
pub(super) fn removed_at<K: Kind>(instance: &Instance, record: &Verification<K>) -> Timestamp {
    let expired = record.as_link().is_some_and(|link| matches!(link.state, LinkState::Expired { .. }));
    let unused = expired && record.attempts == 0;
    let kept = if unused { instance.config.retention_unused } else { instance.config.retention };
    record.ended_at().unwrap_or(record.expires_at) + kept
}
