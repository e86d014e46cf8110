//! Confirmed writes, and reads behind a barrier: whatever waits goes out with one `WAIT` behind it.
//!
//! Commands and `WAIT` travel on one connection of their own, never apart and never on the shared one, which
//! `WAIT` would block.

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
    connection::{Cure, cure},
    line::{Line, Run},
    node::Node,
    parse,
    remedy::{given_up, told},
    script,
};
use crate::store::{StoreError, background::Background};

/// Most writes that share one confirmation.
const BATCH: usize = 64;
/// How long one batch waits for its confirmation, so that the next one still has time within its callers' budget.
const BATCH_PATIENCE: Duration = Duration::from_millis(900);
/// Before a missing confirmation makes us look for another master.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);
const MOST_PATIENCE: Duration = Duration::from_millis(600);

/// What must have happened before a write counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// The script returned. Survives a crash of Redis with AOF, up to its fsync interval.
    Standard,
    /// One replica has it: survives a fail-over to that replica, and a split.
    Durable,
    /// Every replica has it: survives any fail-over.
    Everywhere,
}

/// The way for writes that must be confirmed, to one master.
pub(super) struct ConfirmedWriter {
    orders: mpsc::Sender<Order>,
    confirmed: Arc<Confirmed>,
}

/// Up to which time of its own clock all writes of a server are confirmed.
#[derive(Default)]
struct Confirmed(Mutex<Option<(Run, u64)>>);

struct Order {
    cmds: Vec<Cmd>,
    /// For a slot that is on its way to this master.
    asking: bool,
    /// Written behind commands that only read, so that the confirmation covers what they read. A `WAIT` behind a read
    /// alone proves nothing.
    barrier: Option<Cmd>,
    answer: oneshot::Sender<Result<Vec<Value>, Fault>>,
}

/// Why a write does not count.
#[derive(Clone)]
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
        let (orders, waiting) = mpsc::channel(1024);
        let confirmed = Arc::<Confirmed>::default();
        let carrier =
            Carrier { node, durability, confirmed: Arc::clone(&confirmed), line: None, patience: LEAST_PATIENCE };
        let running = background.running("confirmed writes");
        runtime.spawn(async move {
            carrier.carry(waiting).await;
            drop(running);
        });
        Self { orders, confirmed }
    }

    pub(super) async fn run(&self, cmd: Cmd, asking: bool) -> Result<Value, Fault> {
        Ok(self.order(vec![cmd], asking, None).await?.pop().unwrap_or(Value::Nil))
    }

    /// Reads, and answers when a replica has whatever was written before. Writes a barrier unless that is known.
    pub(super) async fn read(&self, node: &Node, cmds: Vec<Cmd>, asking: bool) -> Result<Vec<Value>, Fault> {
        if !asking && let Some(values) = self.read_old(node, &cmds).await? {
            return Ok(values);
        }
        let barrier = cmds.iter().find_map(script::barrier_beside);
        self.order(cmds, asking, barrier).await
    }

    /// `None`: something is too new.
    async fn read_old(&self, node: &Node, cmds: &[Cmd]) -> Result<Option<Vec<Value>>, Fault> {
        let mut pipeline = redis::Pipeline::with_capacity(cmds.len());
        for cmd in cmds {
            pipeline.add_command(cmd.clone());
        }
        let (values, run) = node.exchange(pipeline.ignore_errors()).await.map_err(Fault::Broken)?;
        let values = values.into_iter().collect::<RedisResult<Vec<Value>>>().map_err(Fault::Refused)?;
        let newest = values.iter().filter_map(parse::version).max();
        Ok(newest.is_none_or(|newest| self.confirmed.covers(&run, newest)).then_some(values))
    }

    async fn order(&self, cmds: Vec<Cmd>, asking: bool, barrier: Option<Cmd>) -> Result<Vec<Value>, Fault> {
        let (answer, wait) = oneshot::channel();
        let full = || Fault::Unconfirmed("too many writes wait for it".to_owned());
        self.orders.try_send(Order { cmds, asking, barrier, answer }).map_err(|_| full())?;
        wait.await.map_err(|_| full())?
    }
}

impl Confirmed {
    fn covers(&self, run: &Run, version: u64) -> bool {
        let confirmed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        confirmed.as_ref().is_some_and(|(known, until)| known == run && version <= *until)
    }

    fn raise(&self, run: &Run, until: u64) {
        let mut confirmed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = confirmed.as_ref().filter(|(known, _)| known == run).map_or(0, |(_, until)| *until);
        *confirmed = Some((run.clone(), until.max(known)));
    }
}

/// Carries orders to the master, a batch at a time.
struct Carrier {
    node: Arc<Node>,
    durability: Durability,
    confirmed: Arc<Confirmed>,
    line: Option<Line>,
    /// Follows how long replicas take.
    patience: Duration,
}

impl Carrier {
    async fn carry(mut self, mut waiting: mpsc::Receiver<Order>) {
        let mut moves = self.node.moves();
        while let Some(first) = waiting.recv().await {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = waiting.try_recv()
            {
                batch.push(next);
            }
            // Who has been told 503 meanwhile asks again, and nothing is done behind his back.
            batch.retain(|order| !order.answer.is_closed());
            if batch.is_empty() {
                continue;
            }
            if moves.has_changed().unwrap_or(false) {
                self.line = None;
                moves.mark_unchanged();
            }
            let mut outcome = tokio::select! {
                outcome = self.send(&batch) => outcome,
                // The old master may keep us waiting for replicas that it has no more.
                _ = moves.changed() => Err(Fault::Broken(no_master())),
            };
            if outcome.as_ref().is_ok_and(|sent| sent.values.iter().any(is_noscript))
                && let Some(line) = self.line.as_mut()
                && script::load_all(&mut line.connection).await.is_ok()
            {
                outcome = self.send(&batch).await;
            }
            answer(batch, outcome);
        }
    }

    async fn send(&mut self, batch: &[Order]) -> Result<Sent, Fault> {
        let mut line = match self.line.take() {
            Some(open) => open,
            None => Line::open(&self.node).await.map_err(Fault::Refused)?,
        };
        let began = Instant::now();
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for order in batch {
            for cmd in &order.cmds {
                if order.asking {
                    pipeline.cmd("ASKING").ignore();
                }
                pipeline.add_command(cmd.clone());
            }
        }
        let barrier = batch.iter().find_map(|order| order.barrier.as_ref());
        if let Some(barrier) = barrier {
            pipeline.add_command(barrier.clone());
        }
        if !line.is_counted(self.durability) {
            line.recount().await.map_err(Fault::Refused)?;
        }
        pipeline.add_command(line.wait(self.durability, self.patience));
        let mut values: Vec<RedisResult<Value>> =
            pipeline.query_async(&mut line.connection).await.map_err(Fault::Broken)?;
        let mut replicas = values.pop();
        let written = values.iter().filter_map(|value| parse::written(value.as_ref().ok()?)).max();
        let lost_barrier = barrier.is_some() && !matches!(values.last(), Some(Ok(_)));
        let mut confirmed = line.is_enough(self.durability, replicas.as_ref());
        // What a server without scripts did not do needs no confirmation; it is sent again at once.
        let undone = values.iter().any(is_noscript);
        let mut moved = false;
        while !confirmed && !undone && began.elapsed() + self.patience < BATCH_PATIENCE {
            self.patience = (self.patience * 2).min(MOST_PATIENCE);
            // A master that was replaced gets no confirmation any more.
            moved = line.recount().await.is_err() || self.node.has_moved(&line).await;
            if moved {
                break;
            }
            let again = line.wait(self.durability, self.patience);
            replicas = Some(again.query_async(&mut line.connection).await);
            confirmed = line.is_enough(self.durability, replicas.as_ref());
        }
        if confirmed {
            let took = began.elapsed() * 4;
            self.patience = ((self.patience * 7 + took) / 8).clamp(LEAST_PATIENCE, MOST_PATIENCE);
            if let Some(written) = written {
                self.confirmed.raise(&line.run, written);
            }
        }
        // A demoted master answers for ever; only a new connection finds the new one.
        let broken =
            |value: &RedisResult<Value>| value.as_ref().is_err_and(|error| matches!(cure(error), Cure::Reconnect));
        if !confirmed && !undone && self.node.has_moved(&line).await {
            moved = true;
            line.place.iter().for_each(|place| self.node.leave(place));
        }
        if !moved && !values.iter().chain(&replicas).any(broken) {
            self.line = Some(line);
        }
        Ok(Sent { values, confirmed: confirmed && !lost_barrier, moved })
    }
}

/// What became of a batch.
struct Sent {
    values: Vec<RedisResult<Value>>,
    confirmed: bool,
    /// It is not confirmed because another server is the master: the batch is worth another try there.
    moved: bool,
}

fn answer(batch: Vec<Order>, outcome: Result<Sent, Fault>) {
    let (mut values, unconfirmed) = match outcome {
        Ok(Sent { values, confirmed: true, .. }) => (values.into_iter(), None),
        Ok(Sent { values, moved: true, .. }) => (values.into_iter(), Some(Fault::Broken(no_master()))),
        Ok(Sent { values, .. }) => (values.into_iter(), Some(Fault::Unconfirmed("no replica has it".to_owned()))),
        Err(fault) => (Vec::new().into_iter(), Some(fault)),
    };
    for order in batch {
        let own: Vec<RedisResult<Value>> = values.by_ref().take(order.cmds.len()).collect();
        let result = match own.into_iter().collect::<RedisResult<Vec<Value>>>() {
            Err(error) => Err(Fault::Refused(error)),
            Ok(values) => match &unconfirmed {
                Some(fault) => Err(fault.clone()),
                None if values.len() < order.cmds.len() => Err(Fault::Unconfirmed("an answer is missing".to_owned())),
                None => Ok(values),
            },
        };
        // The request may have been given up meanwhile; the write stands all the same.
        let _ = order.answer.send(result);
    }
}

fn no_master() -> RedisError {
    RedisError::from((ErrorKind::Server(ServerErrorKind::ReadOnly), "it is no master"))
}

fn is_noscript(value: &RedisResult<Value>) -> bool {
    value.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT"))
}
