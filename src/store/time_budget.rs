//! Time that several calls share.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};

/// What the store may take of one request, in all its calls together. Then the caller gets 503.
pub const OF_A_REQUEST: Duration = Duration::from_secs(2);

/// What is left of the time that some calls may take together. Only the calls count, not what lies between them.
#[derive(Debug)]
pub struct TimeBudget(Mutex<Duration>);

/// The budget ended before the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsedUp;

impl TimeBudget {
    pub const fn new(whole: Duration) -> Self {
        Self(Mutex::new(whole))
    }

    pub fn left(&self) -> Duration {
        *self.lock()
    }

    /// One call, ended with what is left.
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
