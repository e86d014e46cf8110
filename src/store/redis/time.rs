//! The time of Redis, kept beside our monotonic clock between answers.

use std::{
    sync::atomic::{AtomicI64, Ordering},
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
    latest: AtomicI64,
    clock: Clock,
}

impl StoreTime {
    pub(super) fn new(clock: Clock) -> Self {
        let offset_us = AtomicI64::new((clock.wall().as_millisecond() - clock.shift_millis()) * 1000);
        Self { start: Instant::now(), offset_us, latest: AtomicI64::new(i64::MIN), clock }
    }

    pub(super) fn shift(&self) -> i64 {
        self.clock.shift_millis()
    }

    /// Learns from an answer. The answer was older when it arrived, so the largest offset is the truest.
    pub(super) fn observe(&self, store_millis: i64) {
        let seen = (store_millis - self.shift()) * 1000 - self.elapsed_us();
        let known = self.offset_us.load(Ordering::Relaxed);
        if seen > known || known - seen > STEP_US {
            self.offset_us.store(seen, Ordering::Relaxed);
        }
    }

    /// Never ahead of the store by more than its clock's own steps.
    pub(super) fn now(&self) -> Timestamp {
        let now = (self.offset_us.load(Ordering::Relaxed) + self.elapsed_us()) / 1000 + self.shift();
        from_millis(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// How far the host's clock is from the store's, in milliseconds.
    pub(super) fn skew_millis(&self) -> i64 {
        self.clock.wall().as_millisecond() - self.now().as_millisecond()
    }

    fn elapsed_us(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX / 4)
    }
}
