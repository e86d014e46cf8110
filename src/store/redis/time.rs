//! The time of Redis, kept beside our monotonic clock between answers.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Instant,
};

use jiff::Timestamp;

use crate::{clock::Clock, domain::time::from_millis};

/// A step of the store's clock that is more than the noise of the network.
const STEP_US: i64 = 1_000_000;

pub(super) struct StoreTime {
    start: Instant,
    /// Store time minus our monotonic time in microseconds, without the shift of tests.
    offset_us: AtomicI64,
    /// Until the store has told its time it is the host's, which may be any.
    told: AtomicBool,
    latest: AtomicI64,
    clock: Clock,
}

impl StoreTime {
    pub(super) fn new(clock: Clock) -> Self {
        let offset_us = AtomicI64::new((clock.wall().as_millisecond() - clock.shift_millis()) * 1000);
        Self { start: Instant::now(), offset_us, told: AtomicBool::new(false), latest: AtomicI64::new(i64::MIN), clock }
    }

    pub(super) fn shift(&self) -> i64 {
        self.clock.shift_millis()
    }

    /// Learns from an answer. The answer was older when it arrived, so the largest offset is the truest.
    pub(super) fn observe(&self, store_millis: i64) {
        let seen = (store_millis - self.shift()) * 1000 - self.elapsed_us();
        let known = self.offset_us.load(Ordering::Relaxed);
        let first = !self.told.swap(true, Ordering::Relaxed);
        if first || seen > known || known - seen > STEP_US {
            self.offset_us.store(seen, Ordering::Relaxed);
        }
    }

    /// Goes back only where the store's clock was put back, or turns out not to be the host's.
    pub(super) fn now(&self) -> Timestamp {
        let now = (self.offset_us.load(Ordering::Relaxed) + self.elapsed_us()) / 1000 + self.shift();
        let latest = self.latest.fetch_max(now, Ordering::Relaxed);
        if latest.saturating_sub(now) > STEP_US / 1000 {
            self.latest.store(now, Ordering::Relaxed);
            return from_millis(now);
        }
        from_millis(latest.max(now))
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_store_is_believed_at_its_first_word_and_after_a_step() {
        for ahead in [Duration::from_millis(900), Duration::from_hours(24)] {
            let host = Clock::default();
            let truth = host.wall().as_millisecond();
            let time = StoreTime::new(Clock::default());
            let off = i64::try_from(ahead.as_millis()).unwrap();
            assert!((time.now().as_millisecond() - truth).abs() < 900);
            time.observe(truth - off);
            std::thread::sleep(ahead.min(Duration::from_secs(1)));
            let now = time.now().as_millisecond() - host.wall().as_millisecond();
            assert!((now + off).abs() < 500, "{now}");
            time.observe(host.wall().as_millisecond());
            assert!((time.now().as_millisecond() - host.wall().as_millisecond()).abs() < 500);
        }
    }

    #[test]
    fn a_late_answer_turns_nothing_back() {
        let time = StoreTime::new(Clock::default());
        let first = time.now().as_millisecond();
        time.observe(first);
        time.observe(first - 800);
        assert!(time.now().as_millisecond() >= first);
    }
}
