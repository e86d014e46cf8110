//! Multiplexed connections to one master, replaced when one is broken or its server is no longer the master.
//!
//! The task behind a connection lives in the runtime that dialled it. Each of the web server's workers is a
//! runtime of its own, on one thread: with a connection of its own a request never waits for another thread.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
};

use arc_swap::ArcSwap;
use redis::{AsyncConnectionConfig, ErrorKind, Pipeline, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::{
    connection::{Cure, cure},
    remedy, script,
    source::Source,
};

/// One master: of a store that has but one, or of a cluster.
pub(super) struct Node {
    source: ArcSwap<Source>,
    open: Mutex<HashMap<RuntimeThread, Open>>,
    generations: AtomicU64,
    connecting: tokio::sync::Mutex<()>,
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
struct Open {
    generation: u64,
    connection: MultiplexedConnection,
}

impl Node {
    pub(super) fn new(source: Source) -> Self {
        let (open, generations, connecting) = Default::default();
        Self { source: ArcSwap::from_pointee(source), open, generations, connecting }
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
        let (generation, mut connection) = self.get().await?;
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
        answer
    }

    async fn get(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let worker = RuntimeThread::here();
        let current = || {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.get(&worker).map(|open| (open.generation, open.connection.clone()))
        };
        if let Some(found) = current() {
            return Ok(found);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(found) = current() {
            return Ok(found);
        }
        let connection = self.dial().await?;
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        let open = Open { generation, connection: connection.clone() };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(worker, open);
        Ok((generation, connection))
    }

    /// A connection of its own, for traffic that blocks.
    pub(super) async fn dial(&self) -> RedisResult<MultiplexedConnection> {
        self.source().dial(AsyncConnectionConfig::new()).await
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
            && let Ok(_one_at_a_time) = self.connecting.try_lock()
            && let Some(client) = self.source().address()
            && let Some(why) = remedy::why_broken(client).await
        {
            return why;
        }
        remedy::told(error)
    }
}
