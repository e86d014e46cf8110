//! Multiplexed connections to one master, replaced when one breaks or its server is demoted.
//!
//! The task behind a connection lives in the runtime that dialled it. Each worker of the web server is a
//! single-threaded runtime: with a connection of its own, a request never waits for another thread.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use redis::{Client, Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::watch,
};

use super::{
    Durability,
    endpoint::{Endpoint, HostPort, host_port},
    error_hint,
    recovery::{Recovery, WriteError, classify},
    script,
};

use crate::domain::Partition;

/// Redis' `run_id`: changes with every start of a server.
pub(super) type RunId = Arc<str>;

/// The single master of a store, or one master of a cluster.
pub(super) struct Node {
    endpoint: ArcSwap<Endpoint>,
    open: Mutex<HashMap<RuntimeThread, SharedConnection>>,
    generations: AtomicU64,
    /// Whether the server's run id is fetched for each connection.
    reads_run_id: bool,
    avoided: Mutex<Option<(HostPort, Instant)>>,
    /// The address last connected to.
    last_address: Arc<ArcSwapOption<HostPort>>,
    /// What Sentinels named last, and when.
    peers: ArcSwapOption<(Instant, Vec<HostPort>)>,
    /// Signals that a master was abandoned.
    master_changes: watch::Sender<()>,
    /// Held by the one task that asks a server why it closes connections.
    diagnosing: tokio::sync::Mutex<()>,
}

/// A master and the partitions it serves.
pub(super) struct MasterNode {
    /// Unique among the masters of a cluster; empty for a single master.
    pub(super) name: String,
    pub(super) node: Arc<Node>,
    pub(super) partitions: Vec<Partition>,
}

/// Which threads share a connection: one that is a runtime, or all threads of a larger runtime.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum RuntimeThread {
    Thread(ThreadId),
    Threads,
}

impl RuntimeThread {
    pub(super) fn here() -> Self {
        match Handle::current().runtime_flavor() {
            RuntimeFlavor::CurrentThread => Self::Thread(thread::current().id()),
            _ => Self::Threads,
        }
    }
}

/// The generation lets only one of many tasks that saw the connection break discard it.
#[derive(Clone)]
struct SharedConnection {
    generation: u64,
    /// One dial for all that wait. It completes even if they give up.
    connection: Shared<BoxFuture<'static, RedisResult<(MultiplexedConnection, RunId)>>>,
}

/// How long Sentinels may take to name another master.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(200);
/// How long Sentinels are not asked again which servers they know of.
const PEERS_LIFETIME: Duration = Duration::from_secs(30);
/// How long an abandoned master is avoided.
const AVOID_DURATION: Duration = Duration::from_secs(10);

impl Node {
    pub(super) fn new(endpoint: Endpoint, durability: Durability) -> Self {
        let (open, generations, avoided, last_address, peers, master_changes, diagnosing) = Default::default();
        Self {
            endpoint: ArcSwap::from_pointee(endpoint),
            open,
            generations,
            reads_run_id: durability != Durability::Standard,
            avoided,
            last_address,
            peers,
            master_changes,
            diagnosing,
        }
    }

    pub(super) fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.load_full()
    }

    /// Open connections are kept.
    pub(super) fn set_endpoint(&self, source: Endpoint) {
        self.endpoint.store(Arc::new(source));
    }

    /// Sends once. A broken connection is discarded, and missing scripts are loaded, for the next attempt.
    pub(super) async fn send(&self, pipeline: &Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        Ok(self.exchange(pipeline).await?.0)
    }

    /// A write that needs no confirmation by replicas.
    pub(super) async fn write(&self, cmd: Cmd) -> Result<Value, WriteError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(cmd).ignore_errors();
        // Without a connection nothing was sent.
        let open = self.connection().await.map_err(WriteError::Refused)?;
        let (mut values, _) = self.send_on(open, &pipeline).await.map_err(WriteError::Broken)?;
        values.pop().unwrap_or(Ok(Value::Nil)).map_err(WriteError::Refused)
    }

    /// Like [`Node::send`], with the run id of the server that answered. The run id is empty unless the store is
    /// durable.
    pub(super) async fn exchange(&self, pipeline: &Pipeline) -> RedisResult<(Vec<RedisResult<Value>>, RunId)> {
        self.send_on(self.connection().await?, pipeline).await
    }

    async fn send_on(
        &self,
        (generation, (mut connection, run)): (u64, (MultiplexedConnection, RunId)),
        pipeline: &Pipeline,
    ) -> RedisResult<(Vec<RedisResult<Value>>, RunId)> {
        let answer: RedisResult<Vec<RedisResult<Value>>> = pipeline.query_async(&mut connection).await;
        let mut lacks_scripts = false;
        let mut look = |error: &RedisError| match classify(error) {
            Recovery::LoadScripts => lacks_scripts = true,
            Recovery::Reconnect => self.discard(generation),
            Recovery::Backoff | Recovery::GiveUp(_) => {}
        };
        match &answer {
            Ok(values) => values.iter().filter_map(|value| value.as_ref().err()).for_each(look),
            Err(error) => look(error),
        }
        if lacks_scripts {
            script::load_all(&mut connection).await?;
        }
        answer.map(|values| (values, run))
    }

    async fn connection(&self) -> RedisResult<(u64, (MultiplexedConnection, RunId))> {
        let SharedConnection { generation, connection } = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.entry(RuntimeThread::here()).or_insert_with(|| self.dial()).clone()
        };
        let connection = connection.await.inspect_err(|_| self.discard(generation))?;
        Ok((generation, connection))
    }

    fn dial(&self) -> SharedConnection {
        let (source, avoided, by_run) = (self.endpoint(), self.avoided(), self.reads_run_id);
        let reached = Arc::clone(&self.last_address);
        let dial = tokio::spawn(async move {
            let (mut connection, address) = source.dial(avoided.as_ref()).await?;
            reached.store(address.map(Arc::new));
            let run = if by_run { run_id(&mut connection).await? } else { RunId::default() };
            Ok((connection, run))
        });
        let dialled = async { dial.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::Interrupted).into())) };
        SharedConnection {
            generation: self.generations.fetch_add(1, Ordering::Relaxed),
            connection: dialled.boxed().shared(),
        }
    }

    /// Opens a dedicated connection, for commands that block, and returns its address.
    pub(super) async fn dial_dedicated(&self) -> RedisResult<(MultiplexedConnection, Option<HostPort>)> {
        self.endpoint().dial(self.avoided().as_ref()).await
    }

    pub(super) async fn client(&self) -> RedisResult<Client> {
        self.endpoint().client(self.avoided().as_ref()).await
    }

    /// Whether a Sentinel names another master than the one at `address`.
    pub(super) async fn is_replaced(&self, address: Option<&HostPort>) -> bool {
        if self.endpoint().address().is_some() {
            return false;
        }
        let asked = tokio::time::timeout(SENTINEL_TIMEOUT, self.endpoint().client(address)).await;
        matches!(asked, Ok(Ok(client)) if host_port(client.get_connection_info().addr()).as_ref() != address)
    }

    /// Abandons the master at `address` for as long as Sentinels name another one.
    pub(super) fn avoid(&self, address: &HostPort) {
        {
            let mut avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
            let again = avoided.as_ref().is_some_and(|(known, at)| known == address && at.elapsed() < AVOID_DURATION);
            if again {
                return;
            }
            *avoided = Some((address.clone(), Instant::now()));
        }
        tracing::info!(
            left = format!("{}:{}", address.0, address.1),
            "Redis failed over: the Sentinels name another master; connecting to it"
        );
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.master_changes.send_replace(());
    }

    /// Host and port of the last server dialled.
    pub(super) fn last_address(&self) -> Option<HostPort> {
        self.last_address.load().as_deref().cloned()
    }

    /// Servers that Sentinels know of. While none answers, those of before.
    pub(super) async fn peers(&self) -> Vec<HostPort> {
        let known = self.peers.load_full();
        let known = match known.as_deref() {
            Some((at, peers)) if at.elapsed() < PEERS_LIFETIME => return peers.clone(),
            known => known.map(|(_, peers)| peers.clone()),
        };
        let Some(peers) = self.endpoint().peers().await else { return known.unwrap_or_default() };
        self.peers.store(Some(Arc::new((Instant::now(), peers.clone()))));
        peers
    }

    /// Notified when a master is abandoned.
    pub(super) fn master_changes(&self) -> watch::Receiver<()> {
        self.master_changes.subscribe()
    }

    fn avoided(&self) -> Option<HostPort> {
        let avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
        avoided.as_ref().filter(|(_, at)| at.elapsed() < AVOID_DURATION).map(|(address, _)| address.clone())
    }

    fn discard(&self, generation: u64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, open| open.generation != generation);
    }

    /// Describes an error for operators.
    pub(super) async fn explain(&self, error: &RedisError) -> String {
        let broken = error.kind() == ErrorKind::Io && !error.is_connection_refusal() && !error.is_timeout();
        // One task asks for all: they wait for the same server.
        if broken
            && let Ok(_one_at_a_time) = self.diagnosing.try_lock()
            && let Some(client) = self.endpoint().address()
            && let Some(why) = error_hint::probe_denial(client).await
        {
            return why;
        }
        error_hint::describe(error)
    }
}

pub(super) async fn run_id(connection: &mut MultiplexedConnection) -> RedisResult<RunId> {
    let info: String = redis::cmd("INFO").arg("server").query_async(connection).await?;
    Ok(info.lines().find_map(|line| line.trim_end().strip_prefix("run_id:")).unwrap_or_default().into())
}
