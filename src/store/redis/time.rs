//! The store's clock, estimated between replies with this process' monotonic clock.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Instant,
};

use jiff::Timestamp;

use crate::{clock::Clock, domain::time::from_millis, store::monotonic_time::MonotonicTime};

/// A larger step back of the estimate is a change of the store's clock, not network jitter.
const MAX_STEP_US: i64 = 1_000_000;

pub(super) struct ServerClockEstimate {
    start: Instant,
    /// Store time minus our monotonic time, in microseconds, without the shift used by tests.
    offset_us: AtomicI64,
    /// Until the first reply, the estimate is the host's time, which may be wrong.
    observed: AtomicBool,
    monotonic: MonotonicTime,
    clock: Clock,
}

impl ServerClockEstimate {
    pub(super) fn new(clock: Clock) -> Self {
        let offset_us = AtomicI64::new((clock.wall().as_millisecond() - clock.offset_millis()) * 1000);
        Self {
            start: Instant::now(),
            offset_us,
            observed: AtomicBool::new(false),
            monotonic: MonotonicTime::default(),
            clock,
        }
    }

    pub(super) fn test_offset_millis(&self) -> i64 {
        self.clock.offset_millis()
    }

    /// Updates the estimate from a reply. The reply aged on its way, so the largest offset is the most accurate.
    pub(super) fn observe(&self, store_millis: i64) {
        let known = self.offset_us.load(Ordering::Relaxed);
        let offset =
            |shift: i64| store_millis.saturating_sub(shift).saturating_mul(1000).saturating_sub(self.elapsed_us());
        // A request sent before a test shifted the clock is answered with the earlier shift.
        let (seen, earlier) = (offset(self.test_offset_millis()), offset(self.clock.previous_offset_millis()));
        let seen = if earlier.abs_diff(known) < seen.abs_diff(known) { earlier } else { seen };
        if !self.observed.load(Ordering::Relaxed) || seen > known || known - seen > MAX_STEP_US {
            self.offset_us.store(seen, Ordering::Relaxed);
            self.observed.store(true, Ordering::Release);
        }
    }

    /// Never ahead of the store by more than its clock's own steps. After the first reply it goes back only after a
    /// grace period.
    pub(super) fn now(&self) -> Timestamp {
        let observed = self.observed.load(Ordering::Acquire);
        let now = (self.offset_us.load(Ordering::Relaxed) + self.elapsed_us()) / 1000 + self.test_offset_millis();
        // A local estimate must not become the lower bound for the store's clock.
        from_millis(if observed { self.monotonic.at(now) } else { now })
    }

    /// How far the host's clock is from the store's, in milliseconds.
    pub(super) fn skew_millis(&self) -> i64 {
        self.clock.wall().as_millisecond() - self.now().as_millisecond()
    }

    fn elapsed_us(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reply_replaces_the_local_estimate() {
        for ahead in [900, 24 * 3_600_000] {
            let host = Clock::default();
            let off = |time: &ServerClockEstimate| time.now().as_millisecond() - host.wall().as_millisecond();
            let time = ServerClockEstimate::new(host.clone());
            assert!(off(&time).abs() < 400);
            time.observe(host.wall().as_millisecond() - ahead);
            assert!((off(&time) + ahead).abs() < 400, "{}", off(&time));
            time.observe(host.wall().as_millisecond());
            assert!(off(&time).abs() < 400, "it was put forward");
        }
    }

    #[test]
    fn a_reply_from_before_the_test_clock_was_shifted_is_not_misread() {
        let clock = Clock::default();
        let time = ServerClockEstimate::new(clock.clone());
        let asked = clock.wall().as_millisecond();
        time.observe(asked);
        clock.advance(std::time::Duration::from_hours(25));
        time.observe(asked);
        assert!((time.now().as_millisecond() - clock.wall().as_millisecond()).abs() < 400);
    }

    #[test]
    fn a_store_whose_clock_was_ahead_is_followed_back() {
        let host = Clock::default();
        let off = |time: &ServerClockEstimate| time.now().as_millisecond() - host.wall().as_millisecond();
        let time = ServerClockEstimate {
            monotonic: MonotonicTime::held_for(std::time::Duration::ZERO),
            ..ServerClockEstimate::new(host.clone())
        };
        time.observe(host.wall().as_millisecond() + 7_200_000);
        assert!(off(&time) > 7_000_000);
        time.observe(host.wall().as_millisecond());
        assert!(off(&time).abs() < 1_500, "{}", off(&time));
    }

    #[test]
    fn nothing_turns_it_back() {
        let time = ServerClockEstimate::new(Clock::default());
        let first = time.now().as_millisecond();
        time.observe(first);
        for late in [800, 3_600_000] {
            let before = time.now();
            time.observe(first - late);
            assert!(time.now() >= before);
        }
    }
}
