//! What this replica has learned about the party behind a lane: how many attempts it takes at once, and when it is
//! left alone.

use std::{collections::VecDeque, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::store::LaneKind;

/// An attempt that takes longer than this is no sign of health.
pub const SLOW: Duration = Duration::from_secs(1);
/// Attempts in flight to one party that takes long but does what it is asked.
const SLOW_WIDTH: usize = 8;
/// Messages in flight to a gateway that nothing is known of, or that fails.
const MESSAGES: usize = 8;
/// Attempts in flight to one party that answers fast.
pub const MAX_WIDTH: usize = 64;
const WINDOW: SignedDuration = SignedDuration::from_secs(60);
const MIN_ATTEMPTS: usize = 10;

/// First and longest hold after failures. A reply is worthless after two minutes, so a gateway is tried sooner.
const CALLBACK_HOLD: [Duration; 2] = [Duration::from_secs(30), Duration::from_mins(10)];
const MESSAGE_HOLD: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];
/// After a gateway has refused our credentials, which only the operator can change.
const REFUSED_HOLD: [Duration; 2] = [Duration::from_secs(30), Duration::from_mins(10)];

/// How an attempt ended, as far as the party behind the lane is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It answered in time, also if it refused this one message.
    Succeeded,
    /// It succeeded, but took long.
    Slow,
    Failed,
    /// It refuses our credentials: the next attempt would fail as well.
    Refused,
}

impl Outcome {
    /// Of an attempt that took `took`.
    pub fn of(success: bool, took: Duration) -> Self {
        match success {
            true if took > SLOW => Self::Slow,
            true => Self::Succeeded,
            false => Self::Failed,
        }
    }
}

/// What is known of one party.
#[derive(Debug)]
pub struct Health {
    width: usize,
    last: Option<Outcome>,
    recent: VecDeque<(Timestamp, bool)>,
    /// Holds in a row without a success.
    holds: u32,
    held_until: Option<Timestamp>,
}

impl Default for Health {
    /// Nothing is known: one attempt shows whether there can be more.
    fn default() -> Self {
        Self { width: 1, last: None, recent: VecDeque::new(), holds: 0, held_until: None }
    }
}

impl Health {
    /// Notes the end of an attempt. `Some`: no attempt until then. The width doubles with every round of successes and
    /// is halved by a failure. After a hold the first failure is enough for the next one, twice as long.
    ///
    /// `jitter` in `0.0..=1.0` prolongs a hold by up to a fifth, so that many do not end together.
    pub fn note(&mut self, kind: LaneKind, now: Timestamp, outcome: Outcome, jitter: f64) -> Option<Timestamp> {
        let success = matches!(outcome, Outcome::Succeeded | Outcome::Slow);
        self.last = Some(outcome);
        match outcome {
            Outcome::Succeeded => self.width = (self.width + 1).min(MAX_WIDTH),
            Outcome::Slow => self.width = self.width.max((self.width + 1).min(SLOW_WIDTH)),
            Outcome::Failed | Outcome::Refused => self.width = (self.width / 2).max(1),
        }
        if success {
            (self.holds, self.held_until) = (0, None);
        }
        self.recent.push_back((now, success));
        while self.recent.len() > 10 * MIN_ATTEMPTS
            || self.recent.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW)
        {
            self.recent.pop_front();
        }
        let failures = self.recent.iter().filter(|(_, success)| !success).count();
        let failing = self.recent.len() >= MIN_ATTEMPTS && failures * 10 >= self.recent.len() * 7;
        // Attempts that were in flight when the hold began tell nothing new.
        let held = self.held_until.is_some_and(|until| now < until);
        if success || held || !(failing || self.holds > 0 || outcome == Outcome::Refused) {
            return None;
        }
        let [first, longest] = match (outcome, kind.is_message()) {
            (Outcome::Refused, _) => REFUSED_HOLD,
            (_, true) => MESSAGE_HOLD,
            (_, false) => CALLBACK_HOLD,
        };
        let length = (first * 2u32.pow(self.holds.min(8))).min(longest);
        self.holds += 1;
        self.recent.clear();
        self.held_until = Some(now + length.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0)));
        self.held_until
    }

    pub fn last(&self) -> Option<Outcome> {
        self.last
    }

    /// Attempts of a lane of this kind that may be in flight. A hold is ended by one probe. A gateway that is slow with
    /// one person's message must not make the next person wait, and codes have another channel when it fails.
    pub fn width(&self, kind: LaneKind) -> usize {
        let least = match kind {
            LaneKind::Codes => MESSAGES,
            LaneKind::Replies | LaneKind::Notices if !self.is_held() => MESSAGES,
            _ => 1,
        };
        self.width.max(least)
    }

    pub fn held_until(&self) -> Option<Timestamp> {
        self.held_until
    }

    /// Whether it was left alone at the last failure and has not succeeded since.
    pub fn is_held(&self) -> bool {
        self.holds > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::from_millis;

    fn at(second: i64) -> Timestamp {
        from_millis(second * 1000)
    }

    fn callback(health: &mut Health, second: i64, success: bool) -> Option<Timestamp> {
        let outcome = if success { Outcome::Succeeded } else { Outcome::Failed };
        health.note(LaneKind::Callbacks, at(second), outcome, 0.0)
    }

    #[test]
    fn seven_of_ten_failures_begin_a_hold_and_each_failed_probe_doubles_it() {
        let mut health = Health::default();
        for second in 0..9 {
            assert_eq!(callback(&mut health, second, second % 4 == 0), None);
        }
        assert_eq!(callback(&mut health, 9, false), Some(at(39)));
        assert_eq!(callback(&mut health, 19, false), None, "it was in flight when the hold began");
        assert_eq!(callback(&mut health, 40, false), Some(at(100)));
        assert!(health.is_held());
        assert_eq!(callback(&mut health, 101, true), None);
        assert!(!health.is_held());
        assert_eq!(callback(&mut health, 102, false), None, "a success has closed it");
        let mut second = 1000;
        let mut longest = SignedDuration::ZERO;
        for _ in 0..30 {
            if let Some(until) = callback(&mut health, second, false) {
                longest = longest.max(until.duration_since(at(second)));
                second = until.as_second();
            }
        }
        assert_eq!(Duration::try_from(longest).unwrap(), CALLBACK_HOLD[1]);
    }

    #[test]
    fn a_refusal_of_our_credentials_holds_at_once() {
        let mut health = Health::default();
        let refused = |health: &mut Health, second| health.note(LaneKind::Replies, at(second), Outcome::Refused, 0.0);
        assert_eq!(refused(&mut health, 0), Some(at(30)));
        assert_eq!(refused(&mut health, 30), Some(at(90)));
        assert_eq!(health.note(LaneKind::Replies, at(91), Outcome::Succeeded, 0.0), None);
        assert!(!health.is_held());
    }

    #[test]
    fn a_hold_is_prolonged_by_at_most_a_fifth() {
        let until = Health::default().note(LaneKind::Replies, at(0), Outcome::Refused, 1.0);
        assert_eq!(until, Some(at(36)));
    }

    #[test]
    fn a_mostly_healthy_party_is_never_held() {
        let mut health = Health::default();
        for second in 0..1000 {
            assert_eq!(callback(&mut health, second / 10, second % 3 != 0), None);
        }
    }

    #[test]
    fn the_width_grows_with_successes_and_far_with_fast_ones_only() {
        let mut health = Health::default();
        for _ in 0..100 {
            callback(&mut health, 0, true);
        }
        assert_eq!(health.width(LaneKind::Callbacks), MAX_WIDTH);
        callback(&mut health, 0, false);
        assert_eq!(health.width(LaneKind::Callbacks), MAX_WIDTH / 2);
        health.note(LaneKind::Callbacks, at(0), Outcome::Slow, 0.0);
        assert_eq!(health.width(LaneKind::Callbacks), MAX_WIDTH / 2);
        let mut slow = Health::default();
        for _ in 0..100 {
            slow.note(LaneKind::Callbacks, at(0), Outcome::Slow, 0.0);
        }
        assert_eq!(slow.width(LaneKind::Callbacks), SLOW_WIDTH);
    }
}
