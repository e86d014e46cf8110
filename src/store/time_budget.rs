//! Time budget shared by several calls.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};

/// Time that all store calls of one request may take together. Beyond it, the caller gets 503.
pub const OF_A_REQUEST: Duration = Duration::from_secs(2);

/// Time left for a number of calls. Only the time spent in calls counts, not the time between them.
#[derive(Debug)]
pub struct TimeBudget(Mutex<Duration>);

/// The budget was used up before the call completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsedUp;

impl TimeBudget {
    pub const fn new(whole: Duration) -> Self {
        Self(Mutex::new(whole))
    }

    pub fn left(&self) -> Duration {
        *self.lock()
    }

    /// Runs one call, and cancels it when the budget is used up.
    pub async fn spend<T>(&self, call: impl Future<Output = T>) -> Result<T, UsedUp> {
        let start = Instant::now();
        let outcome = timeout(self.left(), call).await;
        let mut left = self.lock();
        *left = left.saturating_sub(start.elapsed());
        outcome.map_err(|_| UsedUp)
    }

    fn lock(&self) -> MutexGuard<'_, Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn calls_share_the_time_and_pauses_are_free() {
        const WHOLE: Duration = Duration::from_secs(1);
        let budget = TimeBudget::new(WHOLE);
        sleep(Duration::from_millis(50)).await;
        assert_eq!(budget.left(), WHOLE);
        budget.spend(sleep(Duration::from_millis(50))).await.unwrap();
        assert!(budget.left() <= WHOLE - Duration::from_millis(50));
        let (start, left) = (Instant::now(), budget.left());
        assert_eq!(budget.spend(sleep(Duration::from_secs(600))).await, Err(UsedUp));
        assert!((left..Duration::from_secs(60)).contains(&start.elapsed()));
        assert_eq!(budget.left(), Duration::ZERO);
        assert_eq!(budget.spend(sleep(Duration::from_secs(600))).await, Err(UsedUp));
        assert_eq!(budget.spend(async { 7 }).await, Ok(7), "what needs no time needs no budget");
    }
}
