//! The time of Redis, kept beside our monotonic clock between answers.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Instant,
};

use jiff::Timestamp;

use crate::{clock::Clock, domain::time::from_millis};

/// A step of the store's clock that is more than the noise of the network.
const STEP_MS: i64 = 1_000;

pub(super) struct StoreTime {
    start: Instant,
    /// Store time minus our monotonic time, without the shift of tests.
    offset: AtomicI64,
    latest: AtomicI64,
    clock: Clock,
}

impl StoreTime {
    pub(super) fn new(clock: Clock) -> Self {
        let offset = AtomicI64::new(clock.wall().as_millisecond() - clock.shift_millis());
        Self { start: Instant::now(), offset, latest: AtomicI64::new(i64::MIN), clock }
    }

    pub(super) fn shift(&self) -> i64 {
        self.clock.shift_millis()
    }

    /// Learns from an answer. The answer was older when it arrived, so the largest offset is the truest.
    pub(super) fn observe(&self, store_millis: i64) {
        let seen = store_millis - self.shift() - self.elapsed();
        let known = self.offset.load(Ordering::Relaxed);
        if seen > known || known - seen > STEP_MS {
            self.offset.store(seen, Ordering::Relaxed);
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        let now = self.offset.load(Ordering::Relaxed) + self.elapsed() + self.shift();
        from_millis(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// How far the host's clock is from the store's, in milliseconds.
    pub(super) fn skew_millis(&self) -> i64 {
        self.clock.wall().as_millisecond() - self.now().as_millisecond()
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX / 4)
    }
}
