//! The store's own tasks and threads, and the first failure of one of them.

use std::sync::Arc;

use tokio::sync::watch;

/// Shared by all background tasks of one store.
#[derive(Clone, Default)]
pub struct Background(Arc<watch::Sender<Option<String>>>);

/// Held by a task while it runs. If a panic drops it, the task is reported as failed.
pub(super) struct Running {
    background: Background,
    name: &'static str,
}

impl Background {
    pub(super) fn running(&self, name: &'static str) -> Running {
        Running { background: self.clone(), name }
    }

    /// Waits until a task has failed; returns its name and the cause.
    pub async fn failed(&self) -> String {
        let mut failed = self.0.subscribe();
        let why = failed.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.expect("the sender is alive, and was waited for")
    }
}

impl Running {
    /// Reports that the task gives up.
    pub(super) fn failed(&self, why: &str) {
        self.background.0.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert_with(|| format!("the {} failed: {why}", self.name));
            first
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed("it panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_reported_and_an_end_is_not() {
        let background = Background::default();
        let running = background.running("subscriber");
        tokio::spawn(async move { drop(running) }).await.unwrap();
        let running = background.running("writer");
        let panicked = tokio::spawn(async move {
            let _running = running;
            tokio::task::yield_now().await;
            panic!("a bug");
        });
        assert!(panicked.await.is_err());
        assert_eq!(background.failed().await, "the writer failed: it panicked");
    }
}
