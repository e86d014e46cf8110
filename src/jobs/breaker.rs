//! Keeps work back from a destination that fails, so that attempts are spent when they can succeed.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
};

use jiff::{SignedDuration, Timestamp};

use crate::store::Destination;

const WINDOW: SignedDuration = SignedDuration::from_secs(60);
const LEAST_ATTEMPTS: usize = 10;
const FIRST_HOLD: SignedDuration = SignedDuration::from_secs(30);
const LONGEST_HOLD: SignedDuration = SignedDuration::from_mins(10);

/// What this replica has seen of one destination.
#[derive(Default)]
pub struct Breaker {
    recent: VecDeque<(Timestamp, bool)>,
    holds: i32,
}

impl Breaker {
    /// Notes an attempt. `Some`: keep all work back until then. After a hold, one success forgives all.
    pub fn note(&mut self, now: Timestamp, success: bool) -> Option<Timestamp> {
        if success {
            self.holds = 0;
        }
        self.recent.push_back((now, success));
        while self.recent.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.recent.pop_front();
        }
        let failures = self.recent.iter().filter(|(_, success)| !success).count();
        let broken = self.recent.len() >= LEAST_ATTEMPTS && failures * 10 >= self.recent.len() * 7;
        if success || !broken {
            return None;
        }
        let hold = (FIRST_HOLD * 2i32.pow(u32::try_from(self.holds.min(8)).unwrap_or(0))).min(LONGEST_HOLD);
        self.holds += 1;
        self.recent.clear();
        Some(now + hold)
    }
}

/// One [`Breaker`] per destination that has work.
#[derive(Default)]
pub struct Breakers(Mutex<HashMap<Destination, Breaker>>);

impl Breakers {
    pub fn note(&self, destination: &Destination, now: Timestamp, success: bool) -> Option<Timestamp> {
        let mut breakers = self.0.lock().expect("nobody panics while holding it");
        if breakers.len() > 10_000 {
            breakers.retain(|_, breaker| !breaker.recent.is_empty());
        }
        breakers.entry(destination.clone()).or_default().note(now, success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::from_millis;

    #[test]
    fn seven_of_ten_failures_open_it_longer_each_time() {
        let mut breaker = Breaker::default();
        let at = |second: i64| from_millis(second * 1000);
        for second in 0..9 {
            assert_eq!(breaker.note(at(second), second % 4 == 0), None);
        }
        assert_eq!(breaker.note(at(9), false), Some(at(39)));
        for second in 40..49 {
            assert_eq!(breaker.note(at(second), false), None);
        }
        assert_eq!(breaker.note(at(49), false), Some(at(109)));
        assert_eq!(breaker.note(at(110), true), None);
        for second in 111..120 {
            let _ = breaker.note(at(second), false);
        }
        assert_eq!(breaker.note(at(121), false), None, "the window was cleared at second 120");
    }

    #[test]
    fn a_mostly_healthy_receiver_is_left_alone() {
        let mut breaker = Breaker::default();
        for second in 0..1000 {
            assert_eq!(breaker.note(from_millis(second * 100), second % 3 != 0), None);
        }
    }
}
