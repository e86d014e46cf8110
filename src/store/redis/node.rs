//! Multiplexed connections to one master, replaced when one is broken or its server is no longer the master.
//!
//! The task behind a connection lives in the runtime that dialled it. Each of the web server's workers is a
//! runtime of its own, on one thread: with a connection of its own a request never waits for another thread.

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
    confirmed_writer::{Durability, Fault},
    connection::{Cure, cure},
    line::{Line, Run, run_of},
    remedy, script,
    source::{Place, Source, place_of},
};

/// One master: of a store that has but one, or of a cluster.
pub(super) struct Node {
    source: ArcSwap<Source>,
    open: Mutex<HashMap<RuntimeThread, Open>>,
    generations: AtomicU64,
    /// Whether the run of a server is asked for with each connection.
    by_run: bool,
    left: Mutex<Option<(Place, Instant)>>,
    /// Where the last dial led to.
    reached: Arc<ArcSwapOption<Place>>,
    /// What Sentinels named last, and when.
    peers: ArcSwapOption<(Instant, Vec<Place>)>,
    /// Changes when a master is left.
    moves: watch::Sender<()>,
    /// Of those who ask a server why it broke their connection off, one does.
    asking: tokio::sync::Mutex<()>,
}

/// Who shares a connection: one thread that is a runtime, or all threads of a larger one.
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

/// With a generation, so that of many that saw it break only one throws it away.
#[derive(Clone)]
struct Open {
    generation: u64,
    /// One dial for all who wait. It ends by itself, whoever gives up meanwhile.
    connection: Shared<BoxFuture<'static, RedisResult<(MultiplexedConnection, Run)>>>,
}

/// How long Sentinels get to name another master.
const ASK: Duration = Duration::from_millis(200);
/// How long Sentinels are not asked again which servers they know of.
const PEERS: Duration = Duration::from_secs(30);
/// How long a master that was left is avoided.
const AVOID: Duration = Duration::from_secs(10);

impl Node {
    pub(super) fn new(source: Source, durability: Durability) -> Self {
        let (open, generations, left, reached, peers, moves, asking) = Default::default();
        let by_run = durability != Durability::Standard;
        Self { source: ArcSwap::from_pointee(source), open, generations, by_run, left, reached, peers, moves, asking }
    }

    pub(super) fn source(&self) -> Arc<Source> {
        self.source.load_full()
    }

    /// Open connections stay.
    pub(super) fn set_source(&self, source: Source) {
        self.source.store(Arc::new(source));
    }

    /// Sends once. What ails the connection is mended before the next time.
    pub(super) async fn send(&self, pipeline: &Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        Ok(self.exchange(pipeline).await?.0)
    }

    /// A write that no replica need confirm.
    pub(super) async fn write(&self, cmd: Cmd) -> Result<Value, Fault> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(cmd).ignore_errors();
        // Without a connection nothing was sent.
        let open = self.get().await.map_err(Fault::Refused)?;
        let (mut values, _) = self.converse(open, &pipeline).await.map_err(Fault::Broken)?;
        values.pop().unwrap_or(Ok(Value::Nil)).map_err(Fault::Refused)
    }

    /// As [`Node::send`], with the run of the server that answered, which only a durable store knows.
    pub(super) async fn exchange(&self, pipeline: &Pipeline) -> RedisResult<(Vec<RedisResult<Value>>, Run)> {
        self.converse(self.get().await?, pipeline).await
    }

    async fn converse(
        &self,
        (generation, (mut connection, run)): (u64, (MultiplexedConnection, Run)),
        pipeline: &Pipeline,
    ) -> RedisResult<(Vec<RedisResult<Value>>, Run)> {
        let answer: RedisResult<Vec<RedisResult<Value>>> = pipeline.query_async(&mut connection).await;
        let mut lacks_scripts = false;
        let mut look = |error: &RedisError| match cure(error) {
            Cure::LoadScripts => lacks_scripts = true,
            Cure::Reconnect => self.discard(generation),
            Cure::Wait | Cure::GiveUp(_) => {}
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

    async fn get(&self) -> RedisResult<(u64, (MultiplexedConnection, Run))> {
        let Open { generation, connection } = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.entry(RuntimeThread::here()).or_insert_with(|| self.begin()).clone()
        };
        let connection = connection.await.inspect_err(|_| self.discard(generation))?;
        Ok((generation, connection))
    }

    fn begin(&self) -> Open {
        let (source, left, by_run) = (self.source(), self.left(), self.by_run);
        let reached = Arc::clone(&self.reached);
        let dial = tokio::spawn(async move {
            let (mut connection, place) = source.dial(left.as_ref()).await?;
            reached.store(place.map(Arc::new));
            let run = if by_run { run_of(&mut connection).await? } else { Run::default() };
            Ok((connection, run))
        });
        let dialled = async { dial.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::Interrupted).into())) };
        Open { generation: self.generations.fetch_add(1, Ordering::Relaxed), connection: dialled.boxed().shared() }
    }

    /// A connection of its own, for traffic that blocks, and where it leads.
    pub(super) async fn dial_named(&self) -> RedisResult<(MultiplexedConnection, Option<Place>)> {
        self.source().dial(self.left().as_ref()).await
    }

    pub(super) async fn client(&self) -> RedisResult<Client> {
        self.source().client(self.left().as_ref()).await
    }

    /// Whether a Sentinel names another master than the one that `line` leads to.
    pub(super) async fn has_moved(&self, line: &Line) -> bool {
        if self.source().address().is_some() {
            return false;
        }
        let asked = tokio::time::timeout(ASK, self.source().client(line.place.as_ref())).await;
        matches!(asked, Ok(Ok(client)) if place_of(client.get_connection_info().addr()) != line.place)
    }

    /// Nobody goes back to the master at `place` while there is another one.
    pub(super) fn leave(&self, place: &Place) {
        {
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            let again = left.as_ref().is_some_and(|(known, at)| known == place && at.elapsed() < AVOID);
            if again {
                return;
            }
            *left = Some((place.clone(), Instant::now()));
        }
        tracing::info!(left = format!("{}:{}", place.0, place.1), "Sentinels name another master of Redis");
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.moves.send_replace(());
    }

    /// Host and port of the server that was dialled last.
    pub(super) fn reached(&self) -> Option<Place> {
        self.reached.load().as_deref().cloned()
    }

    /// Servers that Sentinels know of. While none answers, those of before.
    pub(super) async fn peers(&self) -> Vec<Place> {
        let known = self.peers.load_full();
        let known = match known.as_deref() {
            Some((at, peers)) if at.elapsed() < PEERS => return peers.clone(),
            known => known.map(|(_, peers)| peers.clone()),
        };
        let Some(peers) = self.source().peers().await else { return known.unwrap_or_default() };
        self.peers.store(Some(Arc::new((Instant::now(), peers.clone()))));
        peers
    }

    /// Told when a master is left.
    pub(super) fn moves(&self) -> watch::Receiver<()> {
        self.moves.subscribe()
    }

    fn left(&self) -> Option<Place> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.as_ref().filter(|(_, at)| at.elapsed() < AVOID).map(|(place, _)| place.clone())
    }

    fn discard(&self, generation: u64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, open| open.generation != generation);
    }

    /// What an error means, in words for whoever runs Redis.
    pub(super) async fn explain(&self, error: &RedisError) -> String {
        let broken = error.kind() == ErrorKind::Io && !error.is_connection_refusal() && !error.is_timeout();
        // One asks for all: they wait for the same server.
        if broken
            && let Ok(_one_at_a_time) = self.asking.try_lock()
            && let Some(client) = self.source().address()
            && let Some(why) = remedy::why_broken(client).await
        {
            return why;
        }
        remedy::told(error)
    }
}
