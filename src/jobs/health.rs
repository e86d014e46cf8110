//! Health of the destination of a lane, as seen by this replica: how many concurrent attempts it gets, and until when
//! it is held after failures.

use std::{collections::VecDeque, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::store::LaneKind;

/// An attempt that takes longer than this counts as slow.
pub const SLOW_ATTEMPT: Duration = Duration::from_secs(1);
/// Concurrent attempts to a destination that responds slowly but successfully.
const SLOW_CONCURRENCY: usize = 8;
const FASTEST_WINDOW: SignedDuration = SignedDuration::from_secs(10);
/// Differences between response times that are treated as noise.
const LATENCY_NOISE: Duration = Duration::from_millis(2);
/// Messages in flight to a gateway whose health is unknown, or that fails.
const UNPROVEN_MESSAGE_CONCURRENCY: usize = 8;
/// Timers in flight: they wait for the store only.
const MAX_CONCURRENT_TIMERS: usize = 32;
/// Maximum number of concurrent attempts to a destination that responds fast.
pub const MAX_CONCURRENCY: usize = 128;
const FAILURE_WINDOW: SignedDuration = SignedDuration::from_secs(60);
const MIN_ATTEMPTS: usize = 10;

/// First and longest hold after failures. A reply is useless after two minutes, so a gateway is retried sooner.
const CALLBACK_HOLD: [Duration; 2] = [Duration::from_secs(30), Duration::from_mins(10)];
const MESSAGE_HOLD: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];
/// First and longest hold after a gateway has refused our credentials, which only the operator can change.
const REFUSED_HOLD: [Duration; 2] = [Duration::from_secs(30), Duration::from_mins(10)];

/// Outcome of an attempt, as far as it concerns the health of the destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttemptOutcome {
    /// It answered after this time, even if it refused this particular message.
    Answered(Duration),
    Failed,
    /// It refused our credentials, so the next attempt would fail as well.
    Refused,
}

/// Health of one destination.
#[derive(Debug)]
pub struct Health {
    concurrency: usize,
    fastest: FastestResponse,
    last: Option<AttemptOutcome>,
    recent: VecDeque<(Timestamp, bool)>,
    /// Consecutive holds without a success in between.
    holds: u32,
    held_until: Option<Timestamp>,
}

/// Shortest response time of a destination within the last [`FASTEST_WINDOW`] to twice that. Older times expire, so
/// that a destination that has become slower is measured again.
#[derive(Debug, Default)]
struct FastestResponse {
    window_start: Option<Timestamp>,
    previous_window: Option<Duration>,
    current_window: Option<Duration>,
}

impl FastestResponse {
    /// Records an answer time and returns the shortest one.
    fn record(&mut self, at: Timestamp, took: Duration) -> Duration {
        if self.window_start.is_none_or(|began| at.duration_since(began) > FASTEST_WINDOW) {
            (self.window_start, self.previous_window, self.current_window) = (Some(at), self.current_window, None);
        }
        self.current_window = Some(self.current_window.map_or(took, |fastest| fastest.min(took)));
        self.previous_window.into_iter().chain(self.current_window).min().unwrap_or(took)
    }
}

impl Default for Health {
    /// Nothing is known yet: a single attempt shows whether more are possible.
    fn default() -> Self {
        Self {
            concurrency: 1,
            fastest: FastestResponse::default(),
            last: None,
            recent: VecDeque::new(),
            holds: 0,
            held_until: None,
        }
    }
}

impl Health {
    /// Records the end of an attempt. Returns the end of the hold if the outcome puts the lane on hold. The concurrency
    /// doubles with every round of successes and is halved by a failure. After a hold, the first failure begins the
    /// next one, twice as long, until an attempt succeeds.
    ///
    /// `jitter` in `0.0..=1.0` prolongs a hold by up to a fifth, so that many holds do not end together.
    pub fn record(
        &mut self,
        kind: LaneKind,
        now: Timestamp,
        outcome: AttemptOutcome,
        in_flight: usize,
        jitter: f64,
    ) -> Option<Timestamp> {
        let success = matches!(outcome, AttemptOutcome::Answered(_));
        self.last = Some(outcome);
        match outcome {
            AttemptOutcome::Answered(took) => self.answered(now, took, in_flight),
            AttemptOutcome::Failed | AttemptOutcome::Refused => self.concurrency = (self.concurrency / 2).max(1),
        }
        if success {
            (self.holds, self.held_until) = (0, None);
        }
        self.recent.push_back((now, success));
        while self.recent.len() > 10 * MIN_ATTEMPTS
            || self.recent.front().is_some_and(|(at, _)| now.duration_since(*at) > FAILURE_WINDOW)
        {
            self.recent.pop_front();
        }
        let failures = self.recent.iter().filter(|(_, success)| !success).count();
        let failing = self.recent.len() >= MIN_ATTEMPTS && failures * 10 >= self.recent.len() * 7;
        // Attempts that were in flight when the hold began provide no new information.
        let held = self.held_until.is_some_and(|until| now < until);
        if success || held || !(failing || self.holds > 0 || outcome == AttemptOutcome::Refused) {
            return None;
        }
        let [first, longest] = match (outcome, kind.is_message()) {
            (AttemptOutcome::Refused, _) => REFUSED_HOLD,
            (_, true) => MESSAGE_HOLD,
            (_, false) => CALLBACK_HOLD,
        };
        let length = (first * 2u32.pow(self.holds.min(8))).min(longest);
        self.holds += 1;
        self.recent.clear();
        self.held_until = Some(now + length.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0)));
        self.held_until
    }

    /// Widens by one if the concurrency is in use. Narrows if answers take twice as long as the fastest: additional
    /// attempts then only wait, for the other side or for a processor. Also narrows if the concurrency is not in use,
    /// since it is untested.
    fn answered(&mut self, now: Timestamp, took: Duration, in_flight: usize) {
        let fastest = self.fastest.record(now, took);
        let most = if took > SLOW_ATTEMPT { SLOW_CONCURRENCY.max(self.concurrency) } else { MAX_CONCURRENCY };
        self.concurrency = if took > 2 * fastest + LATENCY_NOISE {
            self.concurrency - self.concurrency / 8
        } else if 2 * in_flight >= self.concurrency {
            (self.concurrency + 1).min(most)
        } else {
            (self.concurrency - 1).max(1)
        };
    }

    pub fn last(&self) -> Option<AttemptOutcome> {
        self.last
    }

    /// Maximum attempts in flight for a lane of this kind. A hold is ended by a single probe. Messages have a minimum
    /// concurrency: a slow message to one person must not delay the next person's, and codes have another channel if
    /// the gateway fails.
    pub fn max_concurrency(&self, kind: LaneKind) -> usize {
        let least = match kind {
            LaneKind::Timer => MAX_CONCURRENT_TIMERS,
            LaneKind::Codes => UNPROVEN_MESSAGE_CONCURRENCY,
            LaneKind::Replies | LaneKind::Notices if !self.is_held() => UNPROVEN_MESSAGE_CONCURRENCY,
            _ => 1,
        };
        self.concurrency.max(least)
    }

    pub fn held_until(&self) -> Option<Timestamp> {
        self.held_until
    }

    /// Whether a hold has begun and no attempt has succeeded since.
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
        let outcome = if success { AttemptOutcome::Answered(Duration::ZERO) } else { AttemptOutcome::Failed };
        health.record(LaneKind::Callbacks, at(second), outcome, 1, 0.0)
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
        let refused =
            |health: &mut Health, second| health.record(LaneKind::Replies, at(second), AttemptOutcome::Refused, 1, 0.0);
        assert_eq!(refused(&mut health, 0), Some(at(30)));
        assert_eq!(refused(&mut health, 30), Some(at(90)));
        assert_eq!(health.record(LaneKind::Replies, at(91), AttemptOutcome::Answered(Duration::ZERO), 1, 0.0), None);
        assert!(!health.is_held());
    }

    #[test]
    fn a_hold_is_prolonged_by_at_most_a_fifth() {
        let until = Health::default().record(LaneKind::Replies, at(0), AttemptOutcome::Refused, 1, 1.0);
        assert_eq!(until, Some(at(36)));
    }

    #[test]
    fn a_mostly_healthy_party_is_never_held() {
        let mut health = Health::default();
        for second in 0..1000 {
            assert_eq!(callback(&mut health, second / 10, second % 3 != 0), None);
        }
    }

    fn answers(health: &mut Health, second: i64, count: usize, took: Duration) {
        for _ in 0..count {
            health.record(LaneKind::Callbacks, at(second), AttemptOutcome::Answered(took), MAX_CONCURRENCY, 0.0);
        }
    }

    #[test]
    fn the_width_grows_with_answers_and_a_failure_halves_it() {
        let mut health = Health::default();
        answers(&mut health, 0, 200, Duration::from_millis(50));
        assert_eq!(health.max_concurrency(LaneKind::Callbacks), MAX_CONCURRENCY);
        callback(&mut health, 0, false);
        assert_eq!(health.max_concurrency(LaneKind::Callbacks), MAX_CONCURRENCY / 2);
        let mut slow = Health::default();
        answers(&mut slow, 0, 100, 2 * SLOW_ATTEMPT);
        assert_eq!(slow.max_concurrency(LaneKind::Callbacks), SLOW_CONCURRENCY);
    }

    #[test]
    fn a_width_that_is_not_used_shrinks() {
        let mut health = Health::default();
        answers(&mut health, 0, 200, Duration::from_millis(10));
        for _ in 0..200 {
            let outcome = AttemptOutcome::Answered(Duration::from_millis(10));
            health.record(LaneKind::Callbacks, at(1), outcome, 3, 0.0);
        }
        assert!((6..=7).contains(&health.max_concurrency(LaneKind::Callbacks)));
    }

    #[test]
    fn answers_that_take_twice_as_long_make_it_narrower() {
        let mut health = Health::default();
        answers(&mut health, 0, 20, Duration::from_millis(10));
        let concurrency = health.max_concurrency(LaneKind::Callbacks);
        answers(&mut health, 1, 10, Duration::from_millis(40));
        assert!(health.max_concurrency(LaneKind::Callbacks) < concurrency / 2);
        answers(&mut health, 11, 1, Duration::from_millis(40));
        answers(&mut health, 22, 50, Duration::from_millis(40));
        assert!(health.max_concurrency(LaneKind::Callbacks) > concurrency, "it is as fast as it can be now");
    }
}
