//! Waiting for a condition instead of a fixed time, since durations depend on the machine.

use std::time::{Duration, Instant};

/// What takes longer counts as never happening. No test that passes comes near it, however slow the machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `holds`.
pub(crate) async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    until_or(|| what.to_owned(), holds).await;
}

/// As [`until`]; `otherwise` says what was seen instead.
pub(crate) async fn until_or(otherwise: impl Fn() -> String, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {}", otherwise());
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// As [`until`], where nothing else has to run meanwhile.
#[track_caller]
pub(crate) fn blocking_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// What `future` comes to, which must end.
pub(crate) async fn within_timeout<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, future).await.unwrap_or_else(|_| panic!("never: {what}"))
}
