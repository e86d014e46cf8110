//! Divides the permits between lanes.
//!
//! Each kind of work has its own pool. Half of it is for proven lanes, whose last attempt succeeded. The other half is
//! for all other lanes; doubtful ones, which fail or answer slowly, get at most half of that. In each of these shares,
//! one instance gets at most half. So neither receivers that hang nor a single tenant can use up the permits of the
//! others.

use std::{collections::HashMap, time::Instant};

use super::health::{AttemptOutcome, Health, MAX_CONCURRENCY, SLOW_ATTEMPT};
use crate::{
    domain::InstanceId,
    store::{Lane, LaneKind},
};

/// Claimed jobs per kind of work. One instance may have a quarter of them: twice as many as a lane attempts at once, so
/// that the next jobs of a fast lane are at hand when an attempt ends.
const MAX_CLAIMED: usize = 8 * MAX_CONCURRENCY;

/// Confidence in a lane, derived from its attempts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LaneConfidence {
    Proven,
    Unknown,
    /// Fails, or answers slowly.
    Doubtful,
}

/// Kinds of work that share permits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum PermitPool {
    Timers,
    Messages,
    Callbacks,
}

impl PermitPool {
    fn of(kind: LaneKind) -> Self {
        match kind {
            LaneKind::Timer => Self::Timers,
            LaneKind::Replies | LaneKind::Notices | LaneKind::Codes => Self::Messages,
            LaneKind::Callbacks | LaneKind::Other => Self::Callbacks,
        }
    }
}

/// Confidence in a lane whose oldest attempt in flight began at `oldest`.
pub(super) fn confidence(
    lane: &Lane,
    health: Option<&Health>,
    oldest: Option<Instant>,
    now: Instant,
) -> LaneConfidence {
    if lane.kind() == LaneKind::Timer {
        return LaneConfidence::Proven;
    }
    let slow = oldest.is_some_and(|oldest| now.duration_since(oldest) > SLOW_ATTEMPT);
    match health.and_then(Health::last) {
        _ if slow => LaneConfidence::Doubtful,
        None => LaneConfidence::Unknown,
        Some(AttemptOutcome::Answered(took)) if took <= SLOW_ATTEMPT => LaneConfidence::Proven,
        Some(AttemptOutcome::Answered(_) | AttemptOutcome::Failed | AttemptOutcome::Refused) => {
            LaneConfidence::Doubtful
        }
    }
}

/// Unit by which permits are counted: an instance within a pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct PermitOwner {
    pool: PermitPool,
    instance: Option<InstanceId>,
}

impl PermitOwner {
    pub(super) fn of(lane: &Lane) -> Self {
        Self { pool: PermitPool::of(lane.kind()), instance: lane.instance() }
    }
}

/// Permits in use, by pool and by owner.
#[derive(Default)]
pub(super) struct PermitUsage {
    pools: HashMap<PermitPool, PermitCounts>,
    owners: HashMap<PermitOwner, PermitCounts>,
}

#[derive(Clone, Copy, Default)]
struct PermitCounts {
    proven: usize,
    unknown: usize,
    doubtful: usize,
}

impl PermitCounts {
    fn of(&mut self, confidence: LaneConfidence) -> &mut usize {
        match confidence {
            LaneConfidence::Proven => &mut self.proven,
            LaneConfidence::Unknown => &mut self.unknown,
            LaneConfidence::Doubtful => &mut self.doubtful,
        }
    }

    /// How many more permits there are if one half is for proven lanes and the other half for the rest.
    fn room(self, confidence: LaneConfidence, half: usize) -> usize {
        let others = half.saturating_sub(self.unknown + self.doubtful);
        match confidence {
            LaneConfidence::Proven => half.saturating_sub(self.proven),
            LaneConfidence::Unknown => others,
            LaneConfidence::Doubtful => others.min((half / 2).saturating_sub(self.doubtful)),
        }
    }
}

impl PermitUsage {
    pub(super) fn add(&mut self, owner: PermitOwner, confidence: LaneConfidence, count: usize) {
        *self.pools.entry(owner.pool).or_default().of(confidence) += count;
        *self.owners.entry(owner).or_default().of(confidence) += count;
    }

    pub(super) fn remove(&mut self, owner: PermitOwner, confidence: LaneConfidence, count: usize) {
        *self.pools.entry(owner.pool).or_default().of(confidence) -= count;
        let counts = self.owners.entry(owner).or_default();
        *counts.of(confidence) -= count;
        if counts.proven + counts.unknown + counts.doubtful == 0 {
            self.owners.remove(&owner);
        }
    }

    /// How many more permits this owner may take for a lane with this confidence.
    pub(super) fn room(&self, owner: PermitOwner, confidence: LaneConfidence) -> usize {
        if owner.pool == PermitPool::Timers {
            return MAX_CONCURRENCY;
        }
        let of_all = self.pools.get(&owner.pool).copied().unwrap_or_default();
        let of_owner = self.owners.get(&owner).copied().unwrap_or_default();
        of_all.room(confidence, MAX_CLAIMED / 2).min(of_owner.room(confidence, MAX_CLAIMED / 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{InstanceId, keys::Digest};

    fn receiver(instance: u8, origin: u8) -> Lane {
        let origin = Digest::from_hex(&format!("{origin:032x}")).unwrap();
        Lane::callbacks(InstanceId::from_random([instance; 16]), origin)
    }

    fn room_beside(lane: &Lane, confidence: LaneConfidence, others: &[(Lane, LaneConfidence, usize)]) -> usize {
        let mut usage = PermitUsage::default();
        for (lane, confidence, count) in others {
            usage.add(PermitOwner::of(lane), *confidence, *count);
        }
        usage.room(PermitOwner::of(lane), confidence).min(MAX_CONCURRENCY)
    }

    #[test]
    fn receivers_that_hang_leave_the_half_of_the_healthy_alone() {
        for tenants in [1, 200] {
            let mut in_flight = Vec::new();
            for number in 0..200 {
                let lane = receiver(number % tenants, number);
                let room = room_beside(&lane, LaneConfidence::Doubtful, &in_flight);
                in_flight.push((lane, LaneConfidence::Doubtful, room));
            }
            let held: usize = in_flight.iter().map(|(.., count)| count).sum();
            assert!(held <= MAX_CLAIMED / 4, "{held}");
            assert_eq!(room_beside(&receiver(0, 250), LaneConfidence::Proven, &in_flight), MAX_CONCURRENCY);
            assert!(room_beside(&receiver(250, 251), LaneConfidence::Unknown, &in_flight) > 0);
        }
    }

    #[test]
    fn one_instance_has_at_most_half() {
        let busy: Vec<_> = (0..17).map(|origin| (receiver(1, origin), LaneConfidence::Proven, 16)).collect();
        assert_eq!(room_beside(&receiver(1, 20), LaneConfidence::Proven, &busy), 0);
        assert_eq!(room_beside(&receiver(2, 20), LaneConfidence::Proven, &busy), MAX_CONCURRENCY);
    }

    #[test]
    fn a_lane_with_as_many_attempts_as_it_may_have_can_claim_the_next_jobs() {
        let lane = receiver(1, 1);
        let busy = [(lane.clone(), LaneConfidence::Proven, MAX_CONCURRENCY)];
        assert_eq!(room_beside(&lane, LaneConfidence::Proven, &busy), MAX_CONCURRENCY);
    }

    #[test]
    fn kinds_do_not_take_from_one_another() {
        let full: Vec<_> = (0..64).map(|origin| (receiver(origin, origin), LaneConfidence::Proven, 8)).collect();
        assert_eq!(8 * full.len(), MAX_CLAIMED / 2);
        let number = InstanceId::from_random([1; 16]);
        for lane in [Lane::replies(number), Lane::codes(number), Lane::timer()] {
            assert_eq!(room_beside(&lane, LaneConfidence::Proven, &full), MAX_CONCURRENCY, "{lane}");
        }
        assert_eq!(room_beside(&receiver(99, 99), LaneConfidence::Proven, &full), 0);
    }

    #[test]
    fn an_attempt_that_takes_long_makes_a_lane_doubtful() {
        let (lane, now) = (receiver(1, 1), Instant::now());
        let mut health = Health::default();
        assert_eq!(confidence(&lane, Some(&health), None, now), LaneConfidence::Unknown);
        let time = crate::domain::time::from_millis(0);
        health.record(LaneKind::Callbacks, time, AttemptOutcome::Answered(SLOW_ATTEMPT), 1, 0.0);
        assert_eq!(confidence(&lane, Some(&health), Some(now), now + SLOW_ATTEMPT), LaneConfidence::Proven);
        assert_eq!(confidence(&lane, Some(&health), Some(now), now + 2 * SLOW_ATTEMPT), LaneConfidence::Doubtful);
        health.record(LaneKind::Callbacks, time, AttemptOutcome::Failed, 1, 0.0);
        assert_eq!(confidence(&lane, Some(&health), None, now), LaneConfidence::Doubtful);
    }
}
