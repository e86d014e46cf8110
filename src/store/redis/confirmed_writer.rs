//! Confirmed writes: whatever waits goes out with one `WAIT` behind it.
//!
//! Script and `WAIT` travel on one connection of their own, never apart and never on the shared one, which
//! `WAIT` would block. A broken writer answers unconfirmed; the caller's 503 makes the gateway ask again.

use std::sync::Arc;

use redis::{Cmd, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    connection::{Cure, cure},
    node::Node,
    remedy::{given_up, told},
    script,
};
use crate::store::{StoreError, background::Background};

/// Most writes that share one confirmation.
const BATCH: usize = 64;
/// How long replicas get to confirm.
const PATIENCE_MS: u32 = 100;

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

/// The way for writes that must be confirmed, to one master.
pub(super) struct ConfirmedWriter(mpsc::Sender<Order>);

struct Order {
    cmd: Cmd,
    /// For a slot that is on its way to this master.
    asking: bool,
    answer: oneshot::Sender<Result<Value, Fault>>,
}

/// Why a write does not count.
pub(super) enum Fault {
    /// Redis did not do it.
    Refused(RedisError),
    /// It may have been done.
    Broken(RedisError),
    /// It was done here, and is not where it must be.
    Unconfirmed(String),
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        let unconfirmed = |why: &str| Self::Unavailable(format!("the write was not confirmed: {why}"));
        match fault {
            Fault::Refused(error) if error.code() == Some("OOM") => Self::Full,
            Fault::Refused(error) => given_up(&error, told(&error)),
            Fault::Broken(error) => unconfirmed(&told(&error)),
            Fault::Unconfirmed(why) => unconfirmed(&why),
        }
    }
}

impl ConfirmedWriter {
    pub(super) fn open(runtime: &Handle, background: &Background, node: Arc<Node>, durability: Durability) -> Self {
        let (sender, receiver) = mpsc::channel(1024);
        let running = background.running("confirmed writes");
        runtime.spawn(async move {
            carry(node, durability, receiver).await;
            drop(running);
        });
        Self(sender)
    }

    pub(super) async fn run(&self, cmd: Cmd, asking: bool) -> Result<Value, Fault> {
        let (answer, wait) = oneshot::channel();
        let full = || Fault::Unconfirmed("too many writes wait for it".to_owned());
        self.0.try_send(Order { cmd, asking, answer }).map_err(|_| full())?;
        wait.await.map_err(|_| full())?
    }
}

async fn carry(node: Arc<Node>, durability: Durability, mut waiting: mpsc::Receiver<Order>) {
    let mut connection = None;
    while let Some(first) = waiting.recv().await {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        let mut outcome = send(&node, &mut connection, durability, &batch).await;
        if outcome.as_ref().is_ok_and(|values| values.iter().any(is_noscript))
            && let Some(open) = connection.as_mut()
            && script::load_all(open).await.is_ok()
        {
            outcome = send(&node, &mut connection, durability, &batch).await;
        }
        answer(batch, outcome);
    }
}

/// The answers to the batch, and last that to the `WAIT` behind it.
async fn send(
    node: &Node,
    slot: &mut Option<MultiplexedConnection>,
    durability: Durability,
    batch: &[Order],
) -> RedisResult<Vec<RedisResult<Value>>> {
    let mut connection = match slot.take() {
        Some(open) => open,
        None => node.dial().await?,
    };
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    for order in batch {
        if order.asking {
            pipeline.cmd("ASKING").ignore();
        }
        pipeline.add_command(order.cmd.clone());
    }
    match durability {
        Durability::Strict => pipeline.cmd("WAITAOF").arg(0).arg(1).arg(PATIENCE_MS),
        Durability::Standard | Durability::Durable => pipeline.cmd("WAIT").arg(1).arg(PATIENCE_MS),
    };
    let values: Vec<RedisResult<Value>> = pipeline.query_async(&mut connection).await?;
    // A demoted master answers for ever; only a new connection finds the new one.
    if !values.iter().any(|value| value.as_ref().is_err_and(|error| matches!(cure(error), Cure::Reconnect))) {
        *slot = Some(connection);
    }
    Ok(values)
}

fn answer(batch: Vec<Order>, outcome: RedisResult<Vec<RedisResult<Value>>>) {
    let (mut values, fault) = match outcome {
        Ok(mut values) => {
            let confirmed = match values.pop() {
                Some(Ok(Value::Int(replicas))) => replicas >= 1,
                Some(Ok(Value::Array(counts))) => matches!(counts.last(), Some(Value::Int(replicas)) if *replicas >= 1),
                _ => false,
            };
            (values, (!confirmed).then_some(None))
        }
        Err(error) => (Vec::new(), Some(Some(error))),
    };
    values.reverse();
    for order in batch {
        let result = match (values.pop(), &fault) {
            (Some(Err(error)), _) => Err(Fault::Refused(error)),
            (Some(Ok(value)), None) => Ok(value),
            (_, Some(Some(error))) => Err(Fault::Broken(error.clone())),
            (Some(Ok(_)), Some(None)) => Err(Fault::Unconfirmed("no replica has it".to_owned())),
            (None, _) => Err(Fault::Unconfirmed("the connection broke".to_owned())),
        };
        // The request may have been given up meanwhile; the write stands all the same.
        let _ = order.answer.send(result);
    }
}

fn is_noscript(value: &RedisResult<Value>) -> bool {
    value.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT"))
}
