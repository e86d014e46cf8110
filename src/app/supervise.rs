//! Supervision of long-running tasks. A task that ends before the shutdown, by an error, a panic or a return, ends the
//! process.

use std::{collections::HashMap, panic::AssertUnwindSafe};

use anyhow::{Context as _, anyhow, bail};
use futures_util::FutureExt as _;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// The name of a task in the log.
type TaskName = &'static str;

/// Named tasks. Tasks that still run are aborted on drop.
#[derive(Default)]
pub(super) struct Tasks {
    set: JoinSet<(TaskName, anyhow::Result<()>)>,
    running: HashMap<TaskName, AbortHandle>,
    /// The error of the first task that failed.
    first_error: Option<anyhow::Error>,
}

impl Tasks {
    /// Starts a task. Names must be unique: the shutdown waits for tasks by name.
    pub(super) fn spawn(&mut self, name: TaskName, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let task = async move {
            let caught = AssertUnwindSafe(task).catch_unwind().await;
            // The panic hook has logged the message.
            (name, caught.unwrap_or_else(|_| Err(anyhow!("it panicked"))))
        };
        self.running.insert(name, self.set.spawn(task));
    }

    /// Waits for `stop`, or for the first task to end.
    pub(super) async fn watch(&mut self, stop: &CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            Some(ended) = self.set.join_next() => {
                let Ok((name, outcome)) = ended else { return };
                self.running.remove(name);
                let outcome = outcome.and_then(|()| bail!("it returned"));
                self.record(name, outcome);
            }
        }
    }

    /// Waits until the task has ended.
    pub(super) async fn wait_for(&mut self, name: TaskName) {
        while self.running.contains_key(name) {
            let Some(Ok((ended, outcome))) = self.set.join_next().await else { return };
            self.running.remove(ended);
            self.record(ended, outcome);
        }
    }

    /// As [`Tasks::wait_for`], until `deadline` at most. Returns whether the task ended in time.
    pub(super) async fn wait_for_until(&mut self, deadline: Instant, name: TaskName) -> bool {
        timeout_at(deadline, self.wait_for(name)).await.is_ok()
    }

    /// Aborts the tasks that still run, and returns the error of the first task that failed.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.set.abort_all();
        self.first_error.take().map_or(Ok(()), Err)
    }

    fn record(&mut self, name: TaskName, outcome: anyhow::Result<()>) {
        let Err(error) = outcome.with_context(|| format!("the {name} failed")) else { return };
        tracing::error!(task = name, error = format!("{error:#}"), "a task failed; shutting down the process");
        self.first_error.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    async fn outcome(task: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> String {
        let mut tasks = Tasks::default();
        tasks.spawn("other", pending());
        tasks.spawn("one", task);
        tasks.watch(&CancellationToken::new()).await;
        // The other task is still running.
        assert!(!tasks.wait_for_until(Instant::now(), "other").await);
        tasks.wait_for("one").await;
        format!("{:#}", tasks.finish().unwrap_err())
    }

    #[tokio::test]
    async fn a_task_that_ends_before_the_stop_is_a_failure() {
        assert_eq!(outcome(async { Ok(()) }).await, "the one failed: it returned");
        assert_eq!(outcome(async { bail!("no disk") }).await, "the one failed: no disk");
        assert_eq!(outcome(async { panic!("a bug") }).await, "the one failed: it panicked");
    }

    #[tokio::test]
    async fn a_task_that_ends_after_the_stop_is_a_failure_only_if_it_failed() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::default();
        let until = stop.clone();
        tasks.spawn("good", async move {
            until.cancelled().await;
            Ok(())
        });
        stop.cancel();
        tasks.watch(&stop).await;
        tasks.wait_for("good").await;
        tasks.spawn("bad", async { panic!("at the end") });
        tasks.wait_for("bad").await;
        assert_eq!(format!("{:#}", tasks.finish().unwrap_err()), "the bad failed: it panicked");
    }
}
