//! The thread that loads single records. A request waits for it, so it runs no query over many rows.
//!
//! All lookups queued at one moment share a snapshot, and so the locks and the pages that it takes.

use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::{self, JoinHandle},
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::{StoreError, background::Running};

/// Most queued lookups; further ones are refused at once.
const QUEUE_CAPACITY: usize = 1024;
/// Most lookups of one snapshot.
const MAX_GROUP: usize = 64;

type Lookup = Box<dyn FnOnce(&Connection) + Send>;

pub(super) struct Lookups {
    queue: Option<SyncSender<Lookup>>,
    thread: Option<JoinHandle<()>>,
}

impl Lookups {
    pub(super) fn start(connection: Connection, running: Running) -> io::Result<Self> {
        let (queue, lookups) = sync_channel(QUEUE_CAPACITY);
        let work = move || {
            // Reports a panic.
            let _running = running;
            work(&connection, &lookups);
        };
        let thread = thread::Builder::new().name("store-lookups".to_owned()).spawn(work)?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `query` on what was committed when it is called, or later.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let unavailable = |why: &str| StoreError::Unavailable(why.to_owned());
        let (caller, answer) = oneshot::channel();
        let lookup: Lookup = Box::new(|connection| {
            // The caller may have been dropped.
            drop(caller.send(query(connection)));
        });
        let queue = self.queue.as_ref().expect("only `drop` takes the queue");
        queue.try_send(lookup).map_err(|error| match error {
            TrySendError::Full(_) => unavailable("too many reads are waiting"),
            TrySendError::Disconnected(_) => unavailable("the process is ending"),
        })?;
        Ok(answer.await.map_err(|_| unavailable("the process is ending"))??)
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // The thread has already reported its panic.
            drop(thread.join());
        }
    }
}

fn work(connection: &Connection, lookups: &Receiver<Lookup>) {
    while let Ok(first) = lookups.recv() {
        // Taken before the snapshot begins, which must hold what was committed before they were queued.
        let others: Vec<Lookup> = lookups.try_iter().take(MAX_GROUP - 1).collect();
        let snapshot = (!others.is_empty()).then(|| connection.unchecked_transaction());
        first(connection);
        for lookup in others {
            lookup(connection);
        }
        // Without a transaction each statement has a snapshot of its own, which is as good. Nothing was written.
        drop(snapshot);
    }
}
