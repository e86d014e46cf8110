//! Confirmed writes: whatever waits goes out with one `WAIT` behind it.
//!
//! Script and `WAIT` travel on one connection of their own, never apart and never on the shared one, which
//! `WAIT` would block. A broken lane answers unconfirmed; the caller's 503 makes the gateway ask again.

use std::sync::Arc;

use redis::{Cmd, RedisResult, Value, aio::MultiplexedConnection};
use tokio::sync::{mpsc, oneshot};

use super::{connection::Connection, remedy::told, script};
use crate::store::StoreError;

/// Most writes that share one confirmation.
const BATCH: usize = 64;
/// How long replicas get to confirm.
const PATIENCE_MS: u32 = 100;

type Answer = oneshot::Sender<Result<Value, StoreError>>;

/// What must have happened before a write counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// The script returned. Survives a crash of Redis with AOF, up to its fsync interval.
    Standard,
    /// One replica has it: survives a fail-over and a split.
    Durable,
    /// One replica has it on disk.
    Strict,
}

/// The way for writes that must be confirmed.
pub(super) struct Lane(mpsc::Sender<(Cmd, Answer)>);

impl Lane {
    pub(super) fn open(connection: Arc<Connection>, durability: Durability) -> Self {
        let (sender, receiver) = mpsc::channel(1024);
        tokio::spawn(carry(connection, durability, receiver));
        Self(sender)
    }

    pub(super) async fn run(&self, cmd: Cmd) -> Result<Value, StoreError> {
        let (answer, wait) = oneshot::channel();
        let full = || StoreError::Unavailable("too many writes wait for confirmation".to_owned());
        self.0.try_send((cmd, answer)).map_err(|_| full())?;
        wait.await.map_err(|_| full())?
    }
}

async fn carry(source: Arc<Connection>, durability: Durability, mut waiting: mpsc::Receiver<(Cmd, Answer)>) {
    let mut connection = None;
    while let Some(first) = waiting.recv().await {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        let mut outcome = send(&source, &mut connection, durability, &batch).await;
        if outcome.as_ref().is_ok_and(|values| values.iter().any(is_noscript))
            && let Some(open) = connection.as_mut()
            && script::load_all(open).await.is_ok()
        {
            outcome = send(&source, &mut connection, durability, &batch).await;
        }
        answer(batch, outcome);
    }
}

async fn send(
    source: &Connection,
    slot: &mut Option<MultiplexedConnection>,
    durability: Durability,
    batch: &[(Cmd, Answer)],
) -> RedisResult<Vec<RedisResult<Value>>> {
    let mut connection = match slot.take() {
        Some(open) => open,
        None => source.dial().await?,
    };
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    for (cmd, _) in batch {
        pipeline.add_command(cmd.clone());
    }
    match durability {
        Durability::Strict => pipeline.cmd("WAITAOF").arg(0).arg(1).arg(PATIENCE_MS),
        Durability::Standard | Durability::Durable => pipeline.cmd("WAIT").arg(1).arg(PATIENCE_MS),
    };
    let values: Vec<RedisResult<Value>> = pipeline.query_async(&mut connection).await?;
    if !values.iter().flatten().any(is_readonly) {
        *slot = Some(connection);
    }
    Ok(values)
}

fn answer(batch: Vec<(Cmd, Answer)>, outcome: RedisResult<Vec<RedisResult<Value>>>) {
    let unconfirmed = |why: &str| StoreError::Unavailable(format!("the write was not confirmed: {why}"));
    let (mut values, why) = match outcome {
        Ok(mut values) => {
            let confirmed = match values.pop() {
                Some(Ok(Value::Int(replicas))) => replicas >= 1,
                Some(Ok(Value::Array(counts))) => matches!(counts.last(), Some(Value::Int(replicas)) if *replicas >= 1),
                _ => false,
            };
            (values, (!confirmed).then(|| "no replica has it".to_owned()))
        }
        Err(error) => (Vec::new(), Some(told(&error))),
    };
    values.reverse();
    for (_, sender) in batch {
        let result = match (values.pop(), &why) {
            (Some(Err(error)), _) if error.code() == Some("OOM") => Err(StoreError::Full),
            (Some(Err(error)), _) => Err(StoreError::Unavailable(told(&error))),
            (Some(Ok(value)), None) => Ok(value),
            (_, why) => Err(unconfirmed(why.as_deref().unwrap_or("the connection broke"))),
        };
        // The request may have been given up meanwhile; the write stands all the same.
        let _ = sender.send(result);
    }
}

fn is_noscript(value: &RedisResult<Value>) -> bool {
    value.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT"))
}

fn is_readonly(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.code() == "READONLY")
}
