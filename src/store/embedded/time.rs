//! The store's clock: the wall clock, held still for a while when it goes back.

use std::time::Duration;

use jiff::Timestamp;

use crate::{clock::Clock, domain::time::from_millis, store::monotonic_time::MonotonicTime};

pub(super) struct MonotonicWallClock {
    clock: Clock,
    monotonic: MonotonicTime,
}

impl MonotonicWallClock {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, monotonic: MonotonicTime::default() }
    }

    /// In milliseconds, the unit of times in the database.
    pub(super) fn millis(&self) -> i64 {
        self.monotonic.at(self.clock.wall().as_millisecond())
    }

    /// Negative while the wall clock catches up after going back.
    pub(super) fn skew_millis(&self) -> i64 {
        self.clock.wall().as_millisecond() - self.millis()
    }

    pub(super) fn now(&self) -> Timestamp {
        from_millis(self.millis())
    }
}

/// The time `span` after `now`, both in milliseconds.
pub(super) fn after(now: i64, span: Duration) -> i64 {
    now.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}
