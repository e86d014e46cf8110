//! A clock that does not go back at once: it stands still for a while when its source does.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long it stands still. If the source is behind for longer, it was ahead before, and standing still until it has
/// caught up would delay all timers.
const BACKWARD_STEP_GRACE: Duration = Duration::from_secs(60);
/// A smaller step back is made up for quickly, and not reported.
const STEP_MILLIS: i64 = 1_000;

pub(super) struct MonotonicTime {
    last: AtomicI64,
    /// Since when it stands still, and at which time.
    behind: Mutex<Option<(Instant, i64)>>,
    held: Duration,
}

impl Default for MonotonicTime {
    fn default() -> Self {
        Self::held_for(BACKWARD_STEP_GRACE)
    }
}

impl MonotonicTime {
    pub(super) fn held_for(held: Duration) -> Self {
        Self { last: AtomicI64::new(i64::MIN), behind: Mutex::default(), held }
    }

    /// The time when the source says `clock`, in milliseconds.
    pub(super) fn at(&self, clock: i64) -> i64 {
        let now = self.last.fetch_max(clock, Ordering::AcqRel).max(clock);
        if now - clock < STEP_MILLIS { now } else { self.behind(clock, now) }
    }

    fn behind(&self, clock: i64, now: i64) -> i64 {
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, mark) = *behind.get_or_insert_with(|| (Instant::now(), now));
        if mark != now {
            // The source has gone on since, so this is another step back.
            *behind = Some((Instant::now(), now));
            return now;
        }
        if since.elapsed() < self.held {
            return now;
        }
        *behind = None;
        self.last.store(clock, Ordering::Release);
        tracing::warn!(ahead_ms = now - clock, "the store's clock was ahead and was set back; the daemon follows it");
        clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_ahead_is_followed_back_after_a_while() {
        let (patient, quick) = (MonotonicTime::default(), MonotonicTime::held_for(Duration::ZERO));
        let (right, ahead) = (1_795_168_830_123, 1_795_168_830_123 + 7_200_000);
        for (time, then) in [(&patient, ahead), (&quick, right)] {
            assert_eq!(time.at(ahead), ahead);
            assert_eq!(time.at(ahead - STEP_MILLIS / 2), ahead, "it catches up soon");
            assert_eq!(time.at(right), then);
            assert_eq!(time.at(right + 1), then.max(right + 1));
        }
    }
}
