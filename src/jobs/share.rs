//! How the attempts in flight are divided.
//!
//! Each kind of work has a share of its own. Half of it is for lanes whose last attempt succeeded. Lanes that nothing
//! is known of have the other half, and of that those that fail or answer slowly have half. In each of these an
//! instance has at most half. So no number of receivers that hang, and no tenant, keeps the permits from the others.

use std::{collections::HashMap, time::Instant};

use super::health::{AttemptOutcome, Health, MAX_WIDTH, SLOW};
use crate::{
    domain::InstanceId,
    store::{Lane, LaneKind},
};

/// Attempts in flight of one kind of work.
const SHARE: usize = 512;

/// What is known of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LaneStanding {
    Proven,
    Unknown,
    /// Fails, or takes long.
    Doubtful,
}

/// Work that shares permits.
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

/// How a lane stands whose oldest attempt in flight began at `oldest`.
pub(super) fn standing(lane: &Lane, health: Option<&Health>, oldest: Option<Instant>, now: Instant) -> LaneStanding {
    if lane.kind() == LaneKind::Timer {
        return LaneStanding::Proven;
    }
    let slow = oldest.is_some_and(|oldest| now.duration_since(oldest) > SLOW);
    match health.and_then(Health::last) {
        _ if slow => LaneStanding::Doubtful,
        None => LaneStanding::Unknown,
        Some(AttemptOutcome::Answered(took)) if took <= SLOW => LaneStanding::Proven,
        Some(AttemptOutcome::Answered(_) | AttemptOutcome::Failed | AttemptOutcome::Refused) => LaneStanding::Doubtful,
    }
}

/// Whose attempts count together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Owner {
    pool: PermitPool,
    instance: Option<InstanceId>,
}

impl Owner {
    pub(super) fn of(lane: &Lane) -> Self {
        Self { pool: PermitPool::of(lane.kind()), instance: lane.instance() }
    }
}

/// Attempts in flight, by those who share permits.
#[derive(Default)]
pub(super) struct Usage {
    pools: HashMap<PermitPool, Counts>,
    owners: HashMap<Owner, Counts>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    proven: usize,
    unknown: usize,
    doubtful: usize,
}

impl Counts {
    fn of(&mut self, standing: LaneStanding) -> &mut usize {
        match standing {
            LaneStanding::Proven => &mut self.proven,
            LaneStanding::Unknown => &mut self.unknown,
            LaneStanding::Doubtful => &mut self.doubtful,
        }
    }

    /// How many more there may be where the half is for proven lanes and the other one for the rest.
    fn room(self, standing: LaneStanding, half: usize) -> usize {
        let others = half.saturating_sub(self.unknown + self.doubtful);
        match standing {
            LaneStanding::Proven => half.saturating_sub(self.proven),
            LaneStanding::Unknown => others,
            LaneStanding::Doubtful => others.min((half / 2).saturating_sub(self.doubtful)),
        }
    }
}

impl Usage {
    pub(super) fn add(&mut self, owner: Owner, standing: LaneStanding, count: usize) {
        *self.pools.entry(owner.pool).or_default().of(standing) += count;
        *self.owners.entry(owner).or_default().of(standing) += count;
    }

    pub(super) fn remove(&mut self, owner: Owner, standing: LaneStanding, count: usize) {
        *self.pools.entry(owner.pool).or_default().of(standing) -= count;
        let counts = self.owners.entry(owner).or_default();
        *counts.of(standing) -= count;
        if counts.proven + counts.unknown + counts.doubtful == 0 {
            self.owners.remove(&owner);
        }
    }

    /// How many more attempts of this owner may begin in a lane of this standing.
    pub(super) fn room(&self, owner: Owner, standing: LaneStanding) -> usize {
        if owner.pool == PermitPool::Timers {
            return MAX_WIDTH;
        }
        let of_all = self.pools.get(&owner.pool).copied().unwrap_or_default();
        let of_owner = self.owners.get(&owner).copied().unwrap_or_default();
        of_all.room(standing, SHARE / 2).min(of_owner.room(standing, SHARE / 4))
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

    fn room_beside(lane: &Lane, standing: LaneStanding, others: &[(Lane, LaneStanding, usize)]) -> usize {
        let mut usage = Usage::default();
        for (lane, standing, count) in others {
            usage.add(Owner::of(lane), *standing, *count);
        }
        usage.room(Owner::of(lane), standing).min(MAX_WIDTH)
    }

    #[test]
    fn receivers_that_hang_leave_the_half_of_the_healthy_alone() {
        for tenants in [1, 200] {
            let mut in_flight = Vec::new();
            for number in 0..200 {
                let lane = receiver(number % tenants, number);
                let room = room_beside(&lane, LaneStanding::Doubtful, &in_flight);
                in_flight.push((lane, LaneStanding::Doubtful, room));
            }
            let held: usize = in_flight.iter().map(|(.., count)| count).sum();
            assert!(held <= SHARE / 4, "{held}");
            assert_eq!(room_beside(&receiver(0, 250), LaneStanding::Proven, &in_flight), MAX_WIDTH);
            assert!(room_beside(&receiver(250, 251), LaneStanding::Unknown, &in_flight) > 0);
        }
    }

    #[test]
    fn one_instance_has_at_most_half() {
        let busy: Vec<_> = (0..9).map(|origin| (receiver(1, origin), LaneStanding::Proven, 16)).collect();
        assert_eq!(room_beside(&receiver(1, 20), LaneStanding::Proven, &busy), 0);
        assert_eq!(room_beside(&receiver(2, 20), LaneStanding::Proven, &busy), SHARE / 2 - 144);
    }

    #[test]
    fn kinds_do_not_take_from_one_another() {
        let full: Vec<_> = (0..64).map(|origin| (receiver(origin, origin), LaneStanding::Proven, 8)).collect();
        let number = InstanceId::from_random([1; 16]);
        for lane in [Lane::replies(number), Lane::codes(number), Lane::timer()] {
            assert_eq!(room_beside(&lane, LaneStanding::Proven, &full), MAX_WIDTH, "{lane}");
        }
        assert_eq!(room_beside(&receiver(99, 99), LaneStanding::Proven, &full), 0);
    }

    #[test]
    fn an_attempt_that_takes_long_makes_a_lane_doubtful() {
        let (lane, now) = (receiver(1, 1), Instant::now());
        let mut health = Health::default();
        assert_eq!(standing(&lane, Some(&health), None, now), LaneStanding::Unknown);
        let time = crate::domain::time::from_millis(0);
        health.note(LaneKind::Callbacks, time, AttemptOutcome::Answered(SLOW), 1, 0.0);
        assert_eq!(standing(&lane, Some(&health), Some(now), now + SLOW), LaneStanding::Proven);
        assert_eq!(standing(&lane, Some(&health), Some(now), now + 2 * SLOW), LaneStanding::Doubtful);
        health.note(LaneKind::Callbacks, time, AttemptOutcome::Failed, 1, 0.0);
        assert_eq!(standing(&lane, Some(&health), None, now), LaneStanding::Doubtful);
    }
}
