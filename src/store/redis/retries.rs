//! Which calls to Redis are sent again, and when.

use std::{
    io,
    time::{Duration, Instant},
};

use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};

use super::{
    error_hint,
    node::Node,
    recovery::{Recovery, WriteError, classify},
};
use crate::{random, store::StoreError};

/// Kept back from a request's remaining store time, so that the cause of a failure can still be found and returned.
pub(super) const REPORTING_RESERVE: Duration = Duration::from_millis(100);

/// Delay before a retry whose obstacle is already removed.
const IMMEDIATE_RETRY_DELAY: Duration = Duration::from_millis(5);

/// How to resend a write that may already have been applied, because its reply was lost or its server was demoted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ResendPolicy {
    /// Not at all: the caller would take its own first write for someone else's.
    Never,
    /// Unchanged: the write is idempotent.
    Same,
    /// With a final argument `again`, by which the script recognises its own earlier run.
    Marked,
}

impl ResendPolicy {
    pub(super) fn of(self, cmd: &Cmd, again: bool) -> Cmd {
        let mut cmd = cmd.clone();
        if again && self == Self::Marked {
            cmd.arg("again");
        }
        cmd
    }
}

/// Sends idempotent commands until they are answered or the time is over.
pub(super) async fn send_with_retries(
    node: &Node,
    pipeline: &Pipeline,
    deadline: Instant,
) -> Result<Vec<Value>, StoreError> {
    let mut last: Option<RedisError> = None;
    loop {
        let answer = with_deadline(deadline, node.send(pipeline)).await.and_then(|values| values.into_iter().collect());
        let error: RedisError = match answer {
            Ok(values) => return Ok(values),
            Err(error) => error,
        };
        let pause = match classify(&error) {
            Recovery::GiveUp(error) => return Err(error),
            Recovery::LoadScripts | Recovery::Reconnect => IMMEDIATE_RETRY_DELAY,
            Recovery::Backoff => retry_delay(),
        };
        if Instant::now() + pause >= deadline {
            // An attempt cut off by the deadline says less than the one before it.
            let why = last.filter(|_| Instant::now() >= deadline).unwrap_or(error);
            return Err(error_hint::store_error(&why, explain(node, &why).await));
        }
        last = Some(error);
        tokio::time::sleep(pause).await;
    }
}

/// Retries what Redis has not applied, and what it may have applied as `repeat` says. `work` gets whether an earlier
/// attempt may have been applied.
pub(super) async fn write_with_retries<T, F>(
    node: &Node,
    repeat: ResendPolicy,
    deadline: Instant,
    work: impl Fn(bool) -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, WriteError>>,
{
    let worth = |error: &RedisError| !matches!(classify(error), Recovery::GiveUp(_));
    let (mut again, mut last) = (false, None);
    let error = loop {
        let Ok(outcome) = tokio::time::timeout_at(deadline.into(), work(again)).await else {
            break last.unwrap_or_else(|| WriteError::Unconfirmed("it does not answer in time".to_owned()));
        };
        let error = match outcome {
            Ok(done) => return Ok(done),
            Err(WriteError::Refused(error)) if worth(&error) => WriteError::Refused(error),
            Err(WriteError::Broken(error)) if repeat != ResendPolicy::Never && worth(&error) => {
                again = true;
                WriteError::Broken(error)
            }
            Err(error) => break error,
        };
        let pause = match &error {
            WriteError::Refused(error) if !error.is_io_error() && !matches!(classify(error), Recovery::Backoff) => {
                IMMEDIATE_RETRY_DELAY
            }
            _ => retry_delay(),
        };
        if Instant::now() + pause >= deadline {
            break error;
        }
        last = Some(error);
        tokio::time::sleep(pause).await;
    };
    // After an attempt that may have been applied, the write must not be reported as refused.
    match error {
        WriteError::Refused(error) if !again => Err(match classify(&error) {
            Recovery::GiveUp(error) => error,
            _ => error_hint::store_error(&error, explain(node, &error).await),
        }),
        WriteError::Refused(error) => Err(WriteError::Broken(error).into()),
        error => Err(error.into()),
    }
}

pub(super) async fn with_deadline<T>(deadline: Instant, work: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let late = || Err(io::Error::from(io::ErrorKind::TimedOut).into());
    tokio::time::timeout_at(deadline.into(), work).await.unwrap_or_else(|_| late())
}

pub(super) async fn explain(node: &Node, error: &RedisError) -> String {
    let explained = tokio::time::timeout(REPORTING_RESERVE / 2, node.explain(error)).await;
    explained.unwrap_or_else(|_| error_hint::describe(error))
}

/// The delay before retrying a server that needs time, with jitter.
pub(super) fn retry_delay() -> Duration {
    Duration::from_millis(50).mul_f64(1.0 + 3.0 * random::fraction())
}
