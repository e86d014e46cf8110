//! The wall clock. Nothing else in the crate reads it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::Timestamp;

use crate::domain::time::from_millis;

/// The host's wall clock plus an offset that `dev` and tests advance; `serve` never does.
#[derive(Clone, Default, Debug)]
pub struct Clock(Arc<Offset>);

/// In milliseconds.
#[derive(Default, Debug)]
struct Offset {
    current: AtomicI64,
    /// Before the last [`Clock::advance`], for store requests that were in flight at that moment.
    previous: AtomicI64,
}

impl Clock {
    /// The time of this host. Signature tolerances use it; decisions about verifications use the store's time, which
    /// all replicas share.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn wall(&self) -> Timestamp {
        from_millis(Timestamp::now().as_millisecond() + self.offset_millis())
    }

    /// The offset in milliseconds, which the stores add to their own time.
    pub fn offset_millis(&self) -> i64 {
        self.0.current.load(Ordering::Relaxed)
    }

    /// [`Self::offset_millis`] before the last [`Self::advance`].
    pub fn previous_offset_millis(&self) -> i64 {
        self.0.previous.load(Ordering::Relaxed)
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: std::time::Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX / 4);
        self.0.previous.store(self.0.current.fetch_add(by, Ordering::Relaxed), Ordering::Relaxed);
    }
}
