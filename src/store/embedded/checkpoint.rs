//! Copies the write-ahead log into the database, in a thread of its own: the writer would make its callers wait for
//! that.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use rusqlite::Connection;

use super::error::passes;
use crate::store::background::Running;

const IDLE: u8 = 0;
const BUSY: u8 = 1;
const DONE: u8 = 2;

pub(super) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    state: Arc<AtomicU8>,
}

impl Checkpointer {
    pub(super) fn spawn(connection: Connection, running: Running) -> io::Result<Self> {
        let (wake, wakes) = sync_channel(1);
        let state = Arc::new(AtomicU8::new(IDLE));
        let shared = Arc::clone(&state);
        let work = move || {
            for () in wakes {
                // PASSIVE: does not wait for readers, and stops before pages that one still needs.
                let copied = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
                match copied {
                    Ok(()) => {}
                    Err(error) if passes(&error) => {
                        tracing::warn!(%error, "a checkpoint of the write-ahead log failed; trying again");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the store's disk failed; shutting down");
                        return running.failed(&error.to_string());
                    }
                }
                shared.store(DONE, Ordering::Release);
            }
        };
        let thread = thread::Builder::new().name("store-checkpoint".to_owned()).spawn(work)?;
        Ok(Self { wake: Some(wake), thread: Some(thread), state })
    }

    /// Begins a checkpoint. Returns `false` if one is under way.
    pub(super) fn start(&self) -> bool {
        let begun = self.state.compare_exchange(IDLE, BUSY, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if let Some(wake) = self.wake.as_ref().filter(|_| begun) {
            // Fails only after the thread has ended and said why.
            let _ = wake.try_send(());
        }
        begun
    }

    /// Whether a checkpoint is under way, or done and not yet taken.
    pub(super) fn is_busy(&self) -> bool {
        self.state.load(Ordering::Acquire) != IDLE
    }

    /// Returns `true` once for each checkpoint that is done.
    pub(super) fn take_done(&self) -> bool {
        self.state.compare_exchange(DONE, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Drop for Checkpointer {
    /// Closes the connection, so that the writer's is the last.
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // The thread has already reported its panic.
            drop(thread.join());
        }
    }
}
