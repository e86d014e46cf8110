//! The store's time: the wall clock, held still for a while when it goes backwards.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{clock::Clock, domain::time::from_millis};

/// How long time stands still. A clock that is behind for longer was ahead before, and all that waits for the time to
/// be reached again would wait for as long as it was wrong.
const HELD: Duration = Duration::from_secs(60);
/// Being behind by less is caught up with soon.
const STEP_MILLIS: i64 = 1_000;

pub(super) struct Time {
    clock: Clock,
    last: AtomicI64,
    /// Since when time stands still, and where.
    behind: Mutex<Option<(Instant, i64)>>,
    held: Duration,
}

impl Time {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, last: AtomicI64::new(i64::MIN), behind: Mutex::default(), held: HELD }
    }

    /// In milliseconds, as the database keeps times.
    pub(super) fn millis(&self) -> i64 {
        let wall = self.clock.wall().as_millisecond();
        let now = self.last.fetch_max(wall, Ordering::AcqRel).max(wall);
        if now - wall < STEP_MILLIS { now } else { self.behind(wall, now) }
    }

    fn behind(&self, wall: i64, now: i64) -> i64 {
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, mark) = *behind.get_or_insert_with(|| (Instant::now(), now));
        if mark != now {
            // Time has gone on since: this is another step back.
            *behind = Some((Instant::now(), now));
            return now;
        }
        if since.elapsed() < self.held {
            return now;
        }
        *behind = None;
        self.last.store(wall, Ordering::Release);
        tracing::warn!(ahead_ms = now - wall, "the clock was ahead and was put back: the store's time follows it");
        wall
    }

    /// Negative while the wall clock catches up with where it was before it went back.
    pub(super) fn skew_millis(&self) -> i64 {
        self.clock.wall().as_millisecond() - self.millis()
    }

    pub(super) fn now(&self) -> Timestamp {
        from_millis(self.millis())
    }
}

/// The moment `span` after `now`, both in milliseconds.
pub(super) fn after(now: i64, span: Duration) -> i64 {
    now.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_ahead_is_followed_back_after_a_while() {
        let clock = Clock::default();
        let ahead = |time: &Time| time.millis() - (clock.wall().as_millisecond() - clock.shift_millis());
        let patient = Time::new(clock.clone());
        let mut quick = Time::new(clock.clone());
        quick.held = Duration::ZERO;
        clock.advance(Duration::from_hours(2));
        assert!(ahead(&patient) > 7_000_000 && ahead(&quick) > 7_000_000);
        // Around the range of the shift, to where it began.
        let half = i64::MAX.cast_unsigned();
        clock.advance(Duration::from_millis(half));
        clock.advance(Duration::from_millis(half + 2 - 7_200_000));
        assert_eq!(clock.shift_millis(), 0);
        assert!(ahead(&patient) > 7_000_000, "time stands still");
        assert!(ahead(&quick).abs() < 1_000, "and follows the clock then");
    }
}
