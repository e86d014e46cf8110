//! What happens to a record by itself, on time: it ends, the person's data is erased, it is removed.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    Instance, RequestContext, Service, ServiceError,
    loaded::{Loaded, LoadedTyped},
};
use crate::{
    domain::{Kind, Protocol, Verification, link::LinkState},
    store::{Locator, StoreError, archive::Removal},
};

/// How late the last timer of a record may be: the store keeps the record so long, because only the record says which
/// lists it stands in.
pub(super) const LATEST: SignedDuration = SignedDuration::from_hours(1);

/// What a timer has to do next.
enum Due {
    Expire,
    Forget,
    Remove,
}

/// What is to become of a timer that has rung.
pub enum Rung {
    /// There is nothing left to do.
    Done,
    Again(Timestamp),
    /// Its record's change has set it anew.
    Set,
}

impl Service {
    /// Does what is due for the record that is kept there. It always follows from the record as it was read, so a timer
    /// that rings too early, or twice, does no harm. A record of an instance that is not configured here has to wait
    /// for a replica that has it.
    pub async fn ring(&self, cx: &RequestContext, place: Locator) -> Result<Rung, ServiceError> {
        let found = cx.store.find(None, &[place]).await?;
        let Some(stored) = found.records.into_iter().flatten().next() else { return Ok(Rung::Done) };
        let record = match self.decode(&stored) {
            // The store itself forgets it in the end.
            Err(StoreError::Sealed(_)) => return Ok(Rung::Again(self.now() + SEALED)),
            decoded => decoded?,
        };
        let Some(instance) = self.instances.get(record.instance) else {
            return Ok(Rung::Again(self.now() + UNKNOWN_INSTANCE));
        };
        let (due, at) = next(&instance, &record, self.now());
        if self.now() < at {
            return Ok(Rung::Again(at));
        }
        match due {
            Due::Expire | Due::Forget => {
                let loaded = Loaded { instance, record, version: stored.version };
                match loaded.typed() {
                    LoadedTyped::Link(link) => self.perform(cx, link, &due).await,
                    LoadedTyped::Code(code) => self.perform(cx, code, &due).await,
                }
            }
            Due::Remove => {
                let mut removal = Removal::new(record.instance, record.id.partition());
                removal.record = Some((record.id.into(), self.indexes(&instance, &record)));
                cx.store.remove(&removal).await?;
                Ok(Rung::Done)
            }
        }
    }

    async fn perform<K: Protocol>(
        &self,
        cx: &RequestContext,
        loaded: Loaded<K>,
        due: &Due,
    ) -> Result<Rung, ServiceError> {
        let command = if matches!(due, Due::Expire) { K::EXPIRE } else { K::FORGET };
        let (instance, pending) = (Arc::clone(&loaded.instance), loaded.record.ended_at().is_none());
        match self.apply(cx, loaded, command, None).await {
            // Whatever ends a record sets its timer.
            Ok(_) if pending => Ok(Rung::Set),
            Ok(applied) => Ok(Rung::Again(removed_at(&instance, &applied.record))),
            Err(ServiceError::NotFound) => Ok(Rung::Done),
            Err(error) => Err(error),
        }
    }
}

/// Until a replica that knows the instance may look.
const UNKNOWN_INSTANCE: SignedDuration = SignedDuration::from_secs(60);
/// Until a replica may look that has the key, or until the key is back.
const SEALED: SignedDuration = SignedDuration::from_mins(10);

fn next<K: Kind>(instance: &Instance, record: &Verification<K>, now: Timestamp) -> (Due, Timestamp) {
    let removed = removed_at(instance, record);
    match record.ended_at() {
        None => (Due::Expire, record.expires_at),
        Some(at) if now < removed && at + instance.config.erase_after < removed => {
            (Due::Forget, at + instance.config.erase_after)
        }
        Some(_) => (Due::Remove, removed),
    }
}

/// When a record that has ended just now is due again.
pub(super) fn after_end<K: Kind>(instance: &Instance, record: &Verification<K>, now: Timestamp) -> Timestamp {
    next(instance, record, now).1
}

/// When a record goes. A link that nobody ever used leaves early.
pub(super) fn removed_at<K: Kind>(instance: &Instance, record: &Verification<K>) -> Timestamp {
    let expired = record.as_link().is_some_and(|link| matches!(link.state, LinkState::Expired { .. }));
    let unused = expired && record.attempts == 0;
    let kept = if unused { instance.config.retention_unused } else { instance.config.retention };
    record.ended_at().unwrap_or(record.expires_at) + kept
}
