//! News of changes between replicas: one sharded channel for each partition, one subscriber for each process.
//!
//! A change is told after its commit was answered, beside the request that made it. What is lost on the way
//! (a full queue, a broken connection) is found by the waiters themselves when they look again.

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{connection::Connection, key, listen::listen};
use crate::store::{RecordId, background::Background, changes::Changes};

/// Changes that wait to be told.
const QUEUE: usize = 1024;
const BATCH: usize = 128;

/// Both directions.
pub(super) struct Wake {
    changes: Arc<Changes>,
    connection: Connection,
    background: Background,
    teller: OnceLock<(mpsc::Sender<RecordId>, AbortOnDropHandle<()>)>,
    listener: OnceLock<AbortOnDropHandle<()>>,
}

impl Wake {
    pub(super) fn new(connection: Connection, background: Background) -> Self {
        let changes = Arc::default();
        Self { changes, connection, background, teller: OnceLock::new(), listener: OnceLock::new() }
    }

    /// The waiters here. Whoever wants to wait makes this process listen to the others.
    pub(super) fn changes(&self) -> &Arc<Changes> {
        self.listener.get_or_init(|| {
            let listen = listen(self.connection.clone(), Arc::clone(&self.changes));
            self.start("subscriber to changes", listen)
        });
        &self.changes
    }

    /// Wakes the waiters here at once, and those of the other replicas soon.
    pub(super) fn tell(&self, id: RecordId) {
        self.changes.ring(id);
        let (queue, _) = self.teller.get_or_init(|| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            let tell = tell(self.connection.clone(), waiting);
            (queue, self.start("publisher of changes", tell))
        });
        // A full queue means that Redis is away; then nobody would hear it either.
        let _ = queue.try_send(id);
    }

    fn start(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
        let running = self.background.running(name);
        AbortOnDropHandle::new(tokio::spawn(async move {
            task.await;
            drop(running);
        }))
    }
}

async fn tell(connection: Connection, mut waiting: mpsc::Receiver<RecordId>) {
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
