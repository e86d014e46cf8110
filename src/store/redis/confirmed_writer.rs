//! Writes confirmed by replicas, and reads behind a barrier: each batch is followed by one `WAIT`.
//!
//! Commands and their `WAIT` use one dedicated connection: `WAIT` covers the writes of its own connection only, and
//! would block a shared one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    Durability,
    node::{Node, RunId},
    parse,
    recovery::{Recovery, WriteError, classify},
    replicated_connection::ReplicatedConnection,
    script,
};
use crate::store::background::Background;

/// Most writes that share one confirmation.
const MAX_BATCH: usize = 64;
/// How long a batch waits for its confirmation. It leaves the next batch time within its callers' budget.
const BATCH_TIMEOUT: Duration = Duration::from_millis(900);
/// First timeout of `WAIT`; after it, Sentinels are asked for another master.
const MIN_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_millis(600);

/// Sends writes that must be confirmed to one master.
pub(super) struct ConfirmedWriter {
    queue: mpsc::Sender<QueuedWrite>,
    confirmed: Arc<ConfirmedUntil>,
}

/// The time of a server's own clock up to which its writes are confirmed, with the server's run id.
#[derive(Default)]
struct ConfirmedUntil(Mutex<Option<(RunId, u64)>>);

struct QueuedWrite {
    cmds: Vec<Cmd>,
    /// For a slot that is migrating to this master.
    asking: bool,
    /// A write sent after commands that only read, so that its confirmation covers what they read: `WAIT` after a read
    /// proves nothing.
    barrier: Option<Cmd>,
    answer: oneshot::Sender<Result<Vec<Value>, WriteError>>,
}

impl ConfirmedWriter {
    pub(super) fn open(runtime: &Handle, background: &Background, node: Arc<Node>, durability: Durability) -> Self {
        let (queue, waiting) = mpsc::channel(1024);
        let confirmed = Arc::<ConfirmedUntil>::default();
        let sender = BatchSender {
            node,
            durability,
            confirmed: Arc::clone(&confirmed),
            replicated: None,
            wait_timeout: MIN_WAIT,
        };
        let running = background.running("confirmed writes");
        runtime.spawn(async move {
            sender.run(waiting).await;
            drop(running);
        });
        Self { queue, confirmed }
    }

    pub(super) async fn run(&self, cmd: Cmd, asking: bool) -> Result<Value, WriteError> {
        Ok(self.enqueue(vec![cmd], asking, None).await?.pop().unwrap_or(Value::Nil))
    }

    /// Reads, and returns when the writes it read are confirmed. Sends a barrier unless they are known to be.
    pub(super) async fn read(&self, node: &Node, cmds: Vec<Cmd>, asking: bool) -> Result<Vec<Value>, WriteError> {
        if !asking && let Some(values) = self.read_if_confirmed(node, &cmds).await? {
            return Ok(values);
        }
        let barrier = cmds.iter().find_map(script::barrier_beside);
        self.enqueue(cmds, asking, barrier).await
    }

    /// `None` if a record is newer than the last confirmed write.
    async fn read_if_confirmed(&self, node: &Node, cmds: &[Cmd]) -> Result<Option<Vec<Value>>, WriteError> {
        let mut pipeline = redis::Pipeline::with_capacity(cmds.len());
        for cmd in cmds {
            pipeline.add_command(cmd.clone());
        }
        let (values, run) = node.exchange(pipeline.ignore_errors()).await.map_err(WriteError::Broken)?;
        let values = values.into_iter().collect::<RedisResult<Vec<Value>>>().map_err(WriteError::Refused)?;
        let newest = values.iter().filter_map(parse::version).max();
        Ok(newest.is_none_or(|newest| self.confirmed.covers(&run, newest)).then_some(values))
    }

    async fn enqueue(&self, cmds: Vec<Cmd>, asking: bool, barrier: Option<Cmd>) -> Result<Vec<Value>, WriteError> {
        let (answer, wait) = oneshot::channel();
        let full = || WriteError::Unconfirmed("too many writes wait for it".to_owned());
        self.queue.try_send(QueuedWrite { cmds, asking, barrier, answer }).map_err(|_| full())?;
        wait.await.map_err(|_| full())?
    }
}

impl ConfirmedUntil {
    fn covers(&self, run: &RunId, version: u64) -> bool {
        let confirmed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        confirmed.as_ref().is_some_and(|(known, until)| known == run && version <= *until)
    }

    fn raise(&self, run: &RunId, until: u64) {
        let mut confirmed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = confirmed.as_ref().filter(|(known, _)| known == run).map_or(0, |(_, until)| *until);
        *confirmed = Some((run.clone(), until.max(known)));
    }
}

/// Sends queued writes to the master, one batch at a time.
struct BatchSender {
    node: Arc<Node>,
    durability: Durability,
    confirmed: Arc<ConfirmedUntil>,
    replicated: Option<ReplicatedConnection>,
    /// Follows the latency of the replicas.
    wait_timeout: Duration,
}

impl BatchSender {
    async fn run(mut self, mut waiting: mpsc::Receiver<QueuedWrite>) {
        let mut moves = self.node.master_changes();
        while let Some(first) = waiting.recv().await {
            let mut batch = vec![first];
            while batch.len() < MAX_BATCH
                && let Ok(next) = waiting.try_recv()
            {
                batch.push(next);
            }
            if moves.has_changed().unwrap_or(false) {
                self.replicated = None;
                moves.mark_unchanged();
            }
            let mut outcome = tokio::select! {
                outcome = self.connect_and_send(&mut batch) => outcome,
                // A demoted master may wait in vain for replicas it no longer has.
                _ = moves.changed() => Err(WriteError::Broken(no_master())),
            };
            if outcome.as_ref().is_ok_and(|sent| sent.values.iter().any(is_noscript))
                && let Some(replicated) = self.replicated.as_mut()
                && script::load_all(&mut replicated.connection).await.is_ok()
            {
                outcome = self.connect_and_send(&mut batch).await;
            }
            answer(batch, outcome);
        }
    }

    async fn connect_and_send(&mut self, batch: &mut Vec<QueuedWrite>) -> Result<BatchOutcome, WriteError> {
        let mut replicated = match self.replicated.take() {
            Some(open) => open,
            None => ReplicatedConnection::open(&self.node).await.map_err(WriteError::Refused)?,
        };
        if !replicated.has_fresh_count(self.durability) {
            replicated.recount().await.map_err(WriteError::Refused)?;
        }
        // A caller that was answered 503 meanwhile will retry, so its write must not be applied now.
        batch.retain(|write| !write.answer.is_closed());
        if batch.is_empty() {
            self.replicated = Some(replicated);
            return Ok(BatchOutcome { values: Vec::new(), confirmed: true, master_replaced: false });
        }
        self.send(replicated, batch).await
    }

    async fn send(
        &mut self,
        mut replicated: ReplicatedConnection,
        batch: &[QueuedWrite],
    ) -> Result<BatchOutcome, WriteError> {
        let began = Instant::now();
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for write in batch {
            for cmd in &write.cmds {
                if write.asking {
                    pipeline.cmd("ASKING").ignore();
                }
                pipeline.add_command(cmd.clone());
            }
        }
        let barrier = batch.iter().find_map(|write| write.barrier.as_ref());
        if let Some(barrier) = barrier {
            pipeline.add_command(barrier.clone());
        }
        pipeline.add_command(replicated.wait(self.durability, self.wait_timeout));
        let mut values: Vec<RedisResult<Value>> =
            pipeline.query_async(&mut replicated.connection).await.map_err(WriteError::Broken)?;
        let mut replicas = values.pop();
        let written = values.iter().filter_map(|value| parse::written(value.as_ref().ok()?)).max();
        let lost_barrier = barrier.is_some() && !matches!(values.last(), Some(Ok(_)));
        let mut confirmed = replicated.is_enough(self.durability, replicas.as_ref());
        // Commands that failed for a missing script were not applied, and are resent at once.
        let undone = values.iter().any(is_noscript);
        let mut master_replaced = false;
        while !confirmed && !undone && began.elapsed() + self.wait_timeout < BATCH_TIMEOUT {
            self.wait_timeout = (self.wait_timeout * 2).min(MAX_WAIT);
            // A demoted master gets no further confirmations.
            master_replaced =
                replicated.recount().await.is_err() || self.node.is_replaced(replicated.address.as_ref()).await;
            if master_replaced {
                break;
            }
            let again = replicated.wait(self.durability, self.wait_timeout);
            replicas = Some(again.query_async(&mut replicated.connection).await);
            confirmed = replicated.is_enough(self.durability, replicas.as_ref());
        }
        if confirmed {
            let took = began.elapsed() * 4;
            self.wait_timeout = ((self.wait_timeout * 7 + took) / 8).clamp(MIN_WAIT, MAX_WAIT);
            if let Some(written) = written {
                self.confirmed.raise(&replicated.run_id, written);
            }
        }
        // A demoted master keeps answering; only a new connection finds its successor.
        let broken = |value: &RedisResult<Value>| {
            value.as_ref().is_err_and(|error| matches!(classify(error), Recovery::Reconnect))
        };
        if !confirmed && !undone && self.node.is_replaced(replicated.address.as_ref()).await {
            master_replaced = true;
            replicated.address.iter().for_each(|address| self.node.avoid(address));
        }
        if !master_replaced && !values.iter().chain(&replicas).any(broken) {
            self.replicated = Some(replicated);
        }
        Ok(BatchOutcome { values, confirmed: confirmed && !lost_barrier, master_replaced })
    }
}

/// The replies to a batch.
struct BatchOutcome {
    values: Vec<RedisResult<Value>>,
    confirmed: bool,
    /// Not confirmed because the master was replaced: the batch can be retried at the new one.
    master_replaced: bool,
}

fn answer(batch: Vec<QueuedWrite>, outcome: Result<BatchOutcome, WriteError>) {
    let (mut values, unconfirmed) = match outcome {
        Ok(BatchOutcome { values, confirmed: true, .. }) => (values.into_iter(), None),
        Ok(BatchOutcome { values, master_replaced: true, .. }) => {
            (values.into_iter(), Some(WriteError::Broken(no_master())))
        }
        Ok(BatchOutcome { values, .. }) => {
            (values.into_iter(), Some(WriteError::Unconfirmed("no replica has it".to_owned())))
        }
        Err(error) => (Vec::new().into_iter(), Some(error)),
    };
    for write in batch {
        let own: Vec<RedisResult<Value>> = values.by_ref().take(write.cmds.len()).collect();
        let result = match own.into_iter().collect::<RedisResult<Vec<Value>>>() {
            Err(error) => Err(WriteError::Refused(error)),
            Ok(values) => match &unconfirmed {
                Some(error) => Err(error.clone()),
                None if values.len() < write.cmds.len() => {
                    Err(WriteError::Unconfirmed("an answer is missing".to_owned()))
                }
                None => Ok(values),
            },
        };
        // The caller may have been dropped; the write is applied regardless.
        let _ = write.answer.send(result);
    }
}

fn no_master() -> RedisError {
    RedisError::from((ErrorKind::Server(ServerErrorKind::ReadOnly), "it is no master"))
}

fn is_noscript(value: &RedisResult<Value>) -> bool {
    value.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT"))
}
