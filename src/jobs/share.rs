//! How the attempts in flight are divided.
//!
//! Each kind of work has a share of its own. Half of it is for lanes whose last attempt succeeded. Lanes that nothing
//! is known of have the other half, and of that those that fail or answer slowly have half. In each of these an
//! instance has at most half. So no number of receivers that hang, and no tenant, keeps the permits from the others.

use std::time::Instant;

use super::health::{Health, MAX_WIDTH, Outcome, SLOW};
use crate::store::{Lane, LaneKind};

/// Attempts in flight of one kind of work.
const SHARE: usize = 256;

/// What is known of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Proven,
    Unknown,
    /// Fails, or takes long.
    Doubtful,
}

/// Work that shares permits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pool {
    Timers,
    Messages,
    Callbacks,
}

impl Pool {
    fn of(kind: LaneKind) -> Self {
        match kind {
            LaneKind::Timer => Self::Timers,
            LaneKind::Replies | LaneKind::Notices | LaneKind::Codes => Self::Messages,
            LaneKind::Callbacks | LaneKind::Other => Self::Callbacks,
        }
    }
}

/// A lane as it stands.
pub(super) struct InFlight<'a> {
    pub(super) lane: &'a Lane,
    pub(super) standing: Standing,
    pub(super) count: usize,
}

/// How a lane stands whose oldest attempt in flight began at `oldest`.
pub(super) fn standing(lane: &Lane, health: Option<&Health>, oldest: Option<Instant>, now: Instant) -> Standing {
    if lane.kind() == LaneKind::Timer {
        return Standing::Proven;
    }
    let slow = oldest.is_some_and(|oldest| now.duration_since(oldest) > SLOW);
    match health.and_then(Health::last) {
        _ if slow => Standing::Doubtful,
        None => Standing::Unknown,
        Some(Outcome::Succeeded) => Standing::Proven,
        Some(Outcome::Slow | Outcome::Failed | Outcome::Refused) => Standing::Doubtful,
    }
}

/// How many more attempts of a lane may begin.
pub(super) fn room<'a>(
    lane: &Lane,
    standing: Standing,
    width: usize,
    in_flight: impl Iterator<Item = InFlight<'a>>,
) -> usize {
    let pool = Pool::of(lane.kind());
    let (mut own, mut proven, mut others, mut doubtful) = (0, Used::default(), Used::default(), Used::default());
    for other in in_flight.filter(|other| Pool::of(other.lane.kind()) == pool) {
        if other.lane == lane {
            own = other.count;
        }
        let same = other.lane.instance() == lane.instance();
        match other.standing {
            Standing::Proven => proven.add(other.count, same),
            Standing::Unknown => others.add(other.count, same),
            Standing::Doubtful => {
                others.add(other.count, same);
                doubtful.add(other.count, same);
            }
        }
    }
    if pool == Pool::Timers {
        return MAX_WIDTH.saturating_sub(own);
    }
    let shared = match standing {
        Standing::Proven => proven.room(SHARE / 2),
        Standing::Unknown => others.room(SHARE / 2),
        Standing::Doubtful => doubtful.room(SHARE / 4).min(others.room(SHARE / 2)),
    };
    width.saturating_sub(own).min(shared)
}

#[derive(Default)]
struct Used {
    all: usize,
    by_instance: usize,
}

impl Used {
    fn add(&mut self, count: usize, same_instance: bool) {
        self.all += count;
        self.by_instance += if same_instance { count } else { 0 };
    }

    fn room(&self, limit: usize) -> usize {
        limit.saturating_sub(self.all).min((limit / 2).saturating_sub(self.by_instance))
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

    fn room_beside(lane: &Lane, standing: Standing, others: &[(Lane, Standing, usize)]) -> usize {
        let others = others.iter().map(|(lane, standing, count)| InFlight { lane, standing: *standing, count: *count });
        room(lane, standing, MAX_WIDTH, others)
    }

    #[test]
    fn receivers_that_hang_leave_the_half_of_the_healthy_alone() {
        for tenants in [1, 200] {
            let mut in_flight = Vec::new();
            for number in 0..200 {
                let lane = receiver(number % tenants, number);
                let room = room_beside(&lane, Standing::Doubtful, &in_flight);
                in_flight.push((lane, Standing::Doubtful, room));
            }
            let held: usize = in_flight.iter().map(|(.., count)| count).sum();
            assert!(held <= SHARE / 4, "{held}");
            assert_eq!(room_beside(&receiver(0, 250), Standing::Proven, &in_flight), MAX_WIDTH);
            assert!(room_beside(&receiver(250, 251), Standing::Unknown, &in_flight) > 0);
        }
    }

    #[test]
    fn one_instance_has_at_most_half() {
        let busy: Vec<_> = (0..9).map(|origin| (receiver(1, origin), Standing::Proven, 8)).collect();
        assert_eq!(room_beside(&receiver(1, 20), Standing::Proven, &busy), 0);
        assert_eq!(room_beside(&receiver(2, 20), Standing::Proven, &busy), SHARE / 2 - 72);
    }

    #[test]
    fn kinds_do_not_take_from_one_another() {
        let full: Vec<_> = (0..64).map(|origin| (receiver(origin, origin), Standing::Proven, 8)).collect();
        let number = InstanceId::from_random([1; 16]);
        for lane in [Lane::replies(number), Lane::codes(number), Lane::timer()] {
            assert_eq!(room_beside(&lane, Standing::Proven, &full), MAX_WIDTH, "{lane}");
        }
        assert_eq!(room_beside(&receiver(99, 99), Standing::Proven, &full), 0);
    }

    #[test]
    fn an_attempt_that_takes_long_makes_a_lane_doubtful() {
        let (lane, now) = (receiver(1, 1), Instant::now());
        let mut health = Health::default();
        assert_eq!(standing(&lane, Some(&health), None, now), Standing::Unknown);
        let time = crate::domain::time::from_millis(0);
        health.note(LaneKind::Callbacks, time, Outcome::Succeeded, 0.0);
        assert_eq!(standing(&lane, Some(&health), Some(now), now + SLOW), Standing::Proven);
        assert_eq!(standing(&lane, Some(&health), Some(now), now + 2 * SLOW), Standing::Doubtful);
        health.note(LaneKind::Callbacks, time, Outcome::Failed, 0.0);
        assert_eq!(standing(&lane, Some(&health), None, now), Standing::Doubtful);
    }
}
