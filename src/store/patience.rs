//! How long the store may keep one request waiting, in all its calls together.

use std::{cell::Cell, time::Duration};

use tokio::time::{Instant, timeout};

use super::StoreError;

/// Then the caller hears 503.
pub const BUDGET: Duration = Duration::from_secs(2);

tokio::task_local! {
    /// What the calls of this request have left.
    static LEFT: Cell<Duration>;
}

/// Runs the work of one request.
pub async fn of_one_request<T>(work: impl Future<Output = T>) -> T {
    LEFT.scope(Cell::new(BUDGET), work).await
}

/// What the next call may take. Whatever belongs to no request has the whole for each call.
pub(super) fn left() -> Duration {
    LEFT.try_with(Cell::get).unwrap_or(BUDGET)
}

/// One call, ended with what the request has left.
pub(super) async fn spend<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    if LEFT.try_with(|_| ()).is_err() {
        return call.await;
    }
    let start = Instant::now();
    let outcome = timeout(left(), call).await;
    LEFT.with(|all| all.set(all.get().saturating_sub(start.elapsed())));
    outcome.unwrap_or_else(|_| Err(StoreError::Unavailable("it does not answer in time".to_owned())))
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    async fn call(takes: Duration) -> Result<(), StoreError> {
        spend(async {
            sleep(takes).await;
            Ok(())
        })
        .await
    }

    #[tokio::test]
    async fn the_calls_of_a_request_share_its_time() {
        of_one_request(async {
            call(Duration::ZERO).await.unwrap();
            LEFT.with(|all| all.set(Duration::from_millis(50)));
            let start = Instant::now();
            call(Duration::from_secs(600)).await.unwrap_err();
            call(Duration::from_secs(600)).await.unwrap_err();
            assert!(start.elapsed() < Duration::from_secs(60));
            assert_eq!(left(), Duration::ZERO);
        })
        .await;
        assert_eq!(left(), BUDGET, "what belongs to no request");
    }
}
