//! A queued write, and the channel for its result.

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::StoreError;

pub(super) type BoxedStep = Box<dyn Step>;

/// Outcome of running a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StepOutcome {
    Applied,
    /// Its changes must be undone.
    Failed,
    /// Failed because the disk is full.
    Full,
}

pub(super) trait Step: Send {
    /// Runs the step and keeps its result. If the transaction is undone, the step can run again.
    fn run(&mut self, connection: &Connection, now: i64) -> StepOutcome;

    /// Sends the result of the last run to the caller. Dropping the step instead reports to the caller that it was
    /// lost.
    fn send_result(self: Box<Self>);
}

struct PendingStep<F, T> {
    step: F,
    result: Option<Result<T, StoreError>>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

pub(super) fn boxed<T: Send + 'static>(
    step: impl Fn(&Connection, i64) -> Result<T, StoreError> + Send + 'static,
) -> (BoxedStep, oneshot::Receiver<Result<T, StoreError>>) {
    let (caller, answer) = oneshot::channel();
    (Box::new(PendingStep { step, result: None, caller }), answer)
}

impl<F, T> Step for PendingStep<F, T>
where
    F: Fn(&Connection, i64) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection, now: i64) -> StepOutcome {
        let result = (self.step)(connection, now);
        let effect = match &result {
            Ok(_) => StepOutcome::Applied,
            Err(StoreError::Full) => StepOutcome::Full,
            Err(_) => StepOutcome::Failed,
        };
        self.result = Some(result);
        effect
    }

    fn send_result(self: Box<Self>) {
        if let Some(result) = self.result {
            // The caller may have been dropped.
            drop(self.caller.send(result));
        }
    }
}
