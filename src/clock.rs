//! The only place that reads the wall clock.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::Timestamp;

use crate::domain::time::from_millis;

/// A clock that tests can push forward. `serve` never does.
#[derive(Clone, Default, Debug)]
pub struct Clock(Arc<Offset>);

/// Milliseconds.
#[derive(Default, Debug)]
struct Offset {
    current: AtomicI64,
    /// Before the last push: questions that were asked then may not be answered yet.
    previous: AtomicI64,
}

impl Clock {
    /// The host's idea of the time. Signature tolerances use it; everything that decides about a
    /// verification uses the store's time instead.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn wall(&self) -> Timestamp {
        from_millis(Timestamp::now().as_millisecond() + self.offset_millis())
    }

    /// What the stores add to their own time.
    pub fn offset_millis(&self) -> i64 {
        self.0.current.load(Ordering::Relaxed)
    }

    /// [`Self::offset_millis`] before the last [`Self::advance`].
    pub fn previous_offset_millis(&self) -> i64 {
        self.0.previous.load(Ordering::Relaxed)
    }

    pub fn advance(&self, by: std::time::Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX / 4);
        self.0.previous.store(self.0.current.fetch_add(by, Ordering::Relaxed), Ordering::Relaxed);
    }
}
