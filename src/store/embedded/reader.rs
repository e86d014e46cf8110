//! Reads beside the writer. Each sees what was committed when it began.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rusqlite::Connection;
use tokio::{sync::Mutex, task::spawn_blocking};

use crate::store::StoreError;

/// Read-only connections, used in turn.
pub(super) struct Readers {
    connections: [Arc<Mutex<Connection>>; 2],
    turn: AtomicUsize,
}

impl Readers {
    pub(super) fn new(connections: [Connection; 2]) -> Self {
        Self { connections: connections.map(|connection| Arc::new(Mutex::new(connection))), turn: AtomicUsize::new(0) }
    }

    /// Runs `query` on a thread where it may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        // Wait here rather than on a blocking thread, whose number is limited.
        let connection = Arc::clone(&self.connections[turn]).lock_owned().await;
        match spawn_blocking(move || query(&connection)).await {
            Ok(result) => Ok(result?),
            Err(error) if error.is_cancelled() => Err(StoreError::Unavailable("the process is ending".to_owned())),
            Err(error) => Err(StoreError::Corrupt(error.to_string())),
        }
    }
}
