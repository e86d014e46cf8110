//! The only place that reads the wall clock.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::Timestamp;

use crate::domain::time::from_millis;

/// A clock that tests can push forward. `serve` never does.
#[derive(Clone, Default, Debug)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// The host's idea of the time. Signature tolerances use it; everything that decides about a
    /// verification uses the store's time instead.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn wall(&self) -> Timestamp {
        from_millis(Timestamp::now().as_millisecond() + self.shift_millis())
    }

    /// What the stores add to their own time.
    pub fn shift_millis(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn advance(&self, by: std::time::Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX / 4), Ordering::Relaxed);
    }
}
