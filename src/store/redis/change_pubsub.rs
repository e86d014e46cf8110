//! Change notifications between replicas: one sharded pub/sub channel for each partition.
//!
//! A change is published after its commit was answered, by a task of its own. Waiters poll as well, so a notification
//! that is lost (a full queue, a broken connection) only delays them.

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{connection::RedisConnection, key, subscriber::run};
use crate::store::{RecordId, background::Background, changes::ChangeNotifier};

/// Changes queued for publishing.
const QUEUE_CAPACITY: usize = 1024;
const MAX_BATCH: usize = 128;

/// Publishes this replica's changes and subscribes to those of the others; both tasks start at the first use.
pub(super) struct ChangePubSub {
    changes: Arc<ChangeNotifier>,
    connection: RedisConnection,
    background: Background,
    publisher: OnceLock<(mpsc::Sender<RecordId>, AbortOnDropHandle<()>)>,
    subscriber: OnceLock<AbortOnDropHandle<()>>,
}

impl ChangePubSub {
    pub(super) fn new(connection: RedisConnection, background: Background) -> Self {
        let changes = Arc::default();
        Self { changes, connection, background, publisher: OnceLock::new(), subscriber: OnceLock::new() }
    }

    /// The waiters of this process. The first use starts the subscriber.
    pub(super) fn changes(&self) -> &Arc<ChangeNotifier> {
        self.subscriber.get_or_init(|| {
            let listen = run(self.connection.clone(), Arc::clone(&self.changes));
            self.start("subscriber to changes", listen)
        });
        &self.changes
    }

    /// Notifies the waiters of this process at once, and those of other replicas soon.
    pub(super) fn publish(&self, id: RecordId) {
        self.changes.notify(id);
        let (queue, _) = self.publisher.get_or_init(|| {
            let (queue, waiting) = mpsc::channel(QUEUE_CAPACITY);
            let tell = run_publisher(self.connection.clone(), waiting);
            (queue, self.start("publisher of changes", tell))
        });
        // The queue is full when Redis is unreachable; a notification would be lost anyway.
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

async fn run_publisher(connection: RedisConnection, mut waiting: mpsc::Receiver<RecordId>) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while waiting.recv_many(&mut batch, MAX_BATCH).await > 0 {
        let mut pipeline = redis::pipe();
        for id in batch.drain(..) {
            pipeline.cmd("SPUBLISH").arg(key::channel(id.partition())).arg(id.as_bytes());
        }
        if let Err(error) = connection.run(&mut pipeline).await {
            tracing::debug!(%error, "changes were not published; waiters find them when they poll");
        }
    }
}
