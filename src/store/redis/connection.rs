//! Multiplexed connections, replaced when one is broken or its server is no longer the master.
//!
//! The task behind a connection lives in the runtime that dialled it. Each of the web server's workers is a
//! runtime of its own, on one thread: with a connection of its own a request never waits for another thread.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value,
    aio::MultiplexedConnection,
};

use tokio::runtime::{Handle, RuntimeFlavor};

use super::{
    remedy, script,
    source::{self, Source},
};
use crate::{entropy, store::StoreError};

/// A request waits this long for the store in all, then its caller hears 503.
pub(super) const BUDGET: Duration = Duration::from_secs(2);

/// The way to one Redis master.
pub(super) struct Connection {
    source: Arc<Source>,
    open: Mutex<HashMap<Worker, Open>>,
    generations: AtomicU64,
    connecting: tokio::sync::Mutex<()>,
}

/// Who shares a connection: one thread that is a runtime, or all threads of a larger one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Worker {
    Thread(ThreadId),
    Threads,
}

impl Worker {
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

/// What to do about an error.
enum Cure {
    LoadScripts,
    Reconnect,
    Wait,
    GiveUp(StoreError),
}

impl Connection {
    pub(super) fn new(source: Arc<Source>) -> Self {
        Self { source, open: Mutex::default(), generations: AtomicU64::new(0), connecting: tokio::sync::Mutex::new(()) }
    }

    /// Sends a pipeline of commands that are safe to repeat, and repeats it within the budget.
    pub(super) async fn run(&self, pipeline: &mut Pipeline) -> Result<Vec<Value>, StoreError> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        pipeline.ignore_errors();
        let deadline = Instant::now() + BUDGET;
        loop {
            let error = match self.try_once(pipeline).await {
                Ok(values) => return Ok(values),
                Err(error) => error,
            };
            let pause = match cure(&error) {
                Cure::GiveUp(error) => return Err(error),
                Cure::LoadScripts | Cure::Reconnect => Duration::from_millis(5),
                Cure::Wait => Duration::from_millis(50).mul_f64(1.0 + 3.0 * entropy::fraction()),
            };
            if Instant::now() + pause >= deadline {
                return Err(StoreError::Unavailable(self.explain(&error).await));
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn explain(&self, error: &RedisError) -> String {
        let broken = error.kind() == ErrorKind::Io && !error.is_connection_refusal() && !error.is_timeout();
        // One asks for all: they wait for the same server.
        if broken
            && let Ok(_one_at_a_time) = self.connecting.try_lock()
            && let Some(client) = self.source.address()
            && let Some(why) = remedy::why_broken(client).await
        {
            return why;
        }
        remedy::told(error)
    }

    async fn try_once(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let (generation, mut connection) = self.get().await?;
        let answer: RedisResult<Vec<RedisResult<Value>>> = pipeline.query_async(&mut connection).await;
        let values = answer.and_then(|values| values.into_iter().collect());
        if let Err(error) = &values {
            match cure(error) {
                Cure::LoadScripts => script::load_all(&mut connection).await?,
                Cure::Reconnect => self.discard(generation),
                Cure::Wait | Cure::GiveUp(_) => {}
            }
        }
        values
    }

    async fn get(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let worker = Worker::here();
        let current = || {
            let open = self.open.lock().expect("nobody panics while holding it");
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
        self.open.lock().expect("nobody panics while holding it").insert(worker, open);
        Ok((generation, connection))
    }

    /// A connection of its own, for traffic that blocks.
    pub(super) async fn dial(&self) -> RedisResult<MultiplexedConnection> {
        self.source.dial(AsyncConnectionConfig::new()).await
    }

    fn discard(&self, generation: u64) {
        let mut open = self.open.lock().expect("nobody panics while holding it");
        open.retain(|_, open| open.generation != generation);
    }
}

fn cure(error: &RedisError) -> Cure {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoScript) => Cure::LoadScripts,
        // A demoted master answers reads for ever; only a new connection finds the new one.
        ErrorKind::Server(ServerErrorKind::ReadOnly) | ErrorKind::Io => Cure::Reconnect,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown,
        ) => Cure::Wait,
        _ if source::has_no_master(error) => Cure::Wait,
        _ if refuses_us(error) => Cure::GiveUp(StoreError::Unavailable(remedy::told(error))),
        _ if error.is_unrecoverable_error() || error.is_timeout() || error.is_connection_dropped() => Cure::Reconnect,
        _ => match error.code() {
            Some("OOM") => Cure::GiveUp(StoreError::Full),
            Some("NOREPLICAS" | "MISCONF" | "BUSY" | "UNKILLABLE") => Cure::Wait,
            _ => Cure::GiveUp(StoreError::Broken(remedy::told(error))),
        },
    }
}

/// Until somebody changes a password or a permission.
fn refuses_us(error: &RedisError) -> bool {
    matches!(remedy::code(error), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
}
