//! News of changes between replicas: one sharded channel for each partition, one subscriber for each process.
//!
//! A change is told after its commit was answered, beside the request that made it. What is lost on the way
//! (a full queue, a broken connection) is found by the waiters themselves when they look again.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo as _, ProtocolVersion, PushInfo, PushKind, RedisError,
    RedisResult, Value, aio::MultiplexedConnection,
};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{
    connection::Connection,
    key,
    remedy::told,
    source::{CONNECT, RESPONSE, Source},
};
use crate::{
    domain::{Partition, VerificationId},
    entropy,
    store::changes::Changes,
};

/// Changes that wait to be told.
const QUEUE: usize = 1024;
const BATCH: usize = 128;
/// A silent connection is asked this often whether it lives.
const PING: Duration = Duration::from_secs(5);
/// Between two tries to subscribe.
const PAUSE: Duration = Duration::from_millis(500);

/// Both directions.
pub(super) struct Wake {
    changes: Arc<Changes>,
    source: Arc<Source>,
    connection: Arc<Connection>,
    teller: OnceLock<(mpsc::Sender<VerificationId>, AbortOnDropHandle<()>)>,
    listener: OnceLock<AbortOnDropHandle<()>>,
}

impl Wake {
    pub(super) fn new(source: Arc<Source>, connection: Arc<Connection>) -> Self {
        let changes = Arc::default();
        Self { changes, source, connection, teller: OnceLock::new(), listener: OnceLock::new() }
    }

    /// The waiters here. Whoever wants to wait makes this process listen to the others.
    pub(super) fn changes(&self) -> &Arc<Changes> {
        self.listener.get_or_init(|| {
            let listen = listen(Arc::clone(&self.source), Arc::clone(&self.changes));
            AbortOnDropHandle::new(tokio::spawn(listen))
        });
        &self.changes
    }

    /// Wakes the waiters here at once, and those of the other replicas soon.
    pub(super) fn tell(&self, id: VerificationId) {
        self.changes.ring(id);
        let (queue, _) = self.teller.get_or_init(|| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            let task = tokio::spawn(tell(Arc::clone(&self.connection), waiting));
            (queue, AbortOnDropHandle::new(task))
        });
        // A full queue means that Redis is away; then nobody would hear it either.
        let _ = queue.try_send(id);
    }
}

async fn tell(connection: Arc<Connection>, mut waiting: mpsc::Receiver<VerificationId>) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let mut pipeline = redis::pipe();
        for id in batch.drain(..) {
            pipeline.cmd("SPUBLISH").arg(key::channel(id.partition())).arg(id.as_bytes());
        }
        if let Err(error) = connection.run(&mut pipeline).await {
            tracing::debug!(%error, "changes were not told; waiters find them by themselves");
        }
    }
}

async fn listen(source: Arc<Source>, changes: Arc<Changes>) {
    let mut cut_off = false;
    loop {
        let error = hear(&source, &changes, &mut cut_off).await;
        if !cut_off {
            tracing::warn!(error = told(&error), "news of changes are cut off; waiters look every few seconds");
            cut_off = true;
        }
        tokio::time::sleep(PAUSE.mul_f64(1.0 + entropy::fraction())).await;
    }
}

/// Subscribes and rings until the connection breaks.
async fn hear(source: &Source, changes: &Arc<Changes>, cut_off: &mut bool) -> RedisError {
    let mut connection = match subscribe(source, Arc::clone(changes)).await {
        Ok(connection) => connection,
        Err(error) => return error,
    };
    *cut_off = false;
    // Whatever was told while nobody listened.
    changes.ring_all();
    loop {
        tokio::time::sleep(PING).await;
        if let Err(error) = redis::cmd("PING").query_async::<Value>(&mut connection).await {
            return error;
        }
    }
}

async fn subscribe(source: &Source, changes: Arc<Changes>) -> RedisResult<MultiplexedConnection> {
    let info = source.client().await?.get_connection_info().clone();
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let client = Client::open(info.into_connection_info()?.set_redis_settings(settings))?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(RESPONSE))
        .set_push_sender(move |push: PushInfo| {
            if let Some(id) = named(&push) {
                changes.ring(id);
            }
            Ok::<(), redis::aio::SendError>(())
        });
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    for partition in Partition::all() {
        redis::cmd("SSUBSCRIBE").arg(key::channel(partition)).query_async::<Value>(&mut connection).await?;
    }
    Ok(connection)
}

fn named(push: &PushInfo) -> Option<VerificationId> {
    match (&push.kind, push.data.as_slice()) {
        (PushKind::SMessage, [_, Value::BulkString(id)]) => {
            Some(VerificationId::from_bytes(id.as_slice().try_into().ok()?))
        }
        _ => None,
    }
}
