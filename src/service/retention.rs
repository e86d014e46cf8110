//! When a record expires, is erased and is removed. A pure function of the record and its instance.

use jiff::{SignedDuration, Timestamp};

use super::Instance;
use crate::domain::{Kind, Verification, link::LinkState};

/// How late the last timer of a record may fire. The store keeps the record for this long after its removal is due,
/// because only the record says which lists contain it.
pub(super) const MAX_TIMER_DELAY: SignedDuration = SignedDuration::from_hours(1);

/// The next transition of a record.
pub(super) enum DueTransition {
    Expire,
    Erase,
    Remove,
}

pub(super) fn next_transition<K: Kind>(
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
