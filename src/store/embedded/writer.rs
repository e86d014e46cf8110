//! The writer thread. It commits all queued writes in one transaction, which costs one fsync.

mod group;
mod step;

use std::{
    io,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use rusqlite::{Connection, Error};

use crate::store::{StoreError, background::Running};

use self::step::BoxedStep;
use super::{ballast::Ballast, checkpoint::Checkpointer, error::passes, time::MonotonicWallClock, upkeep::Upkeep};

/// Maximum number of queued writes; further ones are refused immediately.
const MAX_QUEUED: usize = 1024;
/// Maximum number of writes in one transaction.
const MAX_GROUP: usize = 256;

pub(super) struct Writer {
    queue: Option<SyncSender<BoxedStep>>,
    thread: Option<JoinHandle<()>>,
    /// Whether the disk is full.
    full: Arc<AtomicBool>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        time: Arc<MonotonicWallClock>,
        ballast: Ballast,
        checkpointer: Checkpointer,
        running: Running,
    ) -> io::Result<Self> {
        let (queue, operations) = sync_channel(MAX_QUEUED);
        let full = ballast.full_flag();
        let work = move || {
            if let ControlFlow::Break(error) = run(connection, &operations, &time, ballast, checkpointer) {
                running.failed(&error.to_string());
            }
        };
        let thread = thread::Builder::new().name("store-writer".to_owned()).spawn(work)?;
        Ok(Self { queue: Some(queue), thread: Some(thread), full })
    }

    /// An error if the disk is full and no new work is accepted. Steps that finish accepted work run even then.
    pub(super) fn has_room(&self) -> Result<(), StoreError> {
        if self.full.load(Ordering::Relaxed) { Err(StoreError::Full) } else { Ok(()) }
    }

    /// Runs `step` at the store's time, and returns when its changes are durable. The changes of a step that fails are
    /// rolled back. A step may run twice: again if another step of its transaction fails.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        step: impl Fn(&Connection, i64) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let unavailable = |why: &str| StoreError::Unavailable(why.to_owned());
        let (operation, answer) = step::boxed(step);
        let queue = self.queue.as_ref().expect("only `drop` takes the queue");
        queue.try_send(operation).map_err(|error| match error {
            TrySendError::Full(_) => unavailable("too many writes are waiting"),
            TrySendError::Disconnected(_) => unavailable("the writer has stopped"),
        })?;
        let lost = |_| {
            self.has_room().err().unwrap_or_else(|| unavailable("the write was not committed; the log has the reason"))
        };
        answer.await.map_err(lost)?
    }
}

impl Drop for Writer {
    /// Finishes the queued writes.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread is already logged.
            drop(thread.join());
        }
    }
}

/// Runs until the queue is closed or the disk fails. After a failed fsync the content of the disk is unknown, and a
/// second fsync would report success. So the process ends, and the next one reads what is on the disk.
fn run(
    mut connection: Connection,
    operations: &Receiver<BoxedStep>,
    time: &MonotonicWallClock,
    mut ballast: Ballast,
    checkpointer: Checkpointer,
) -> ControlFlow<Error> {
    let mut upkeep = Upkeep::new(checkpointer);
    while let Some(group) = next_group(operations, &upkeep) {
        ballast.check_space();
        let due = upkeep.is_due(group.len());
        let landed = group::commit_group(&mut connection, group, time, due.then_some(&mut upkeep), &mut ballast);
        let landed = match landed {
            Ok(landed) => landed,
            Err(error) => {
                continue_or_break(error)?;
                false
            }
        };
        if !landed {
            upkeep.put_off(due);
        }
        if let Err(error) = upkeep.checkpoint(&connection) {
            continue_or_break(error)?;
        }
    }
    ControlFlow::Continue(())
}

/// Waits for a write and returns all that are queued. Empty if only maintenance is due; `None` once the queue is
/// closed.
fn next_group(operations: &Receiver<BoxedStep>, upkeep: &Upkeep) -> Option<Vec<BoxedStep>> {
    let first = match upkeep.pause() {
        Some(pause) => match operations.recv_timeout(pause) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => return None,
        },
        None => operations.recv().ok()?,
    };
    let mut group = vec![first];
    while group.len() < MAX_GROUP {
        match operations.try_recv() {
            Ok(operation) => group.push(operation),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
    }
    Some(group)
}

/// Continues after temporary errors.
fn continue_or_break(error: Error) -> ControlFlow<Error> {
    if passes(&error) {
        tracing::warn!(%error, "the store cannot write; trying again");
        ControlFlow::Continue(())
    } else {
        tracing::error!(%error, "the store's disk failed; shutting down");
        ControlFlow::Break(error)
    }
}
#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use rusqlite::params;

    use super::*;
    use crate::{clock::Clock, store::background::Background};

    fn start(directory: &std::path::Path, prepare: impl FnOnce(&Connection)) -> Writer {
        let open = || Connection::open(directory.join("database")).unwrap();
        let connection = open();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        prepare(&connection);
        let background = Background::default();
        let checkpointer = Checkpointer::spawn(open(), background.running("checkpoints")).unwrap();
        let time = Arc::new(MonotonicWallClock::new(Clock::default()));
        let mut ballast = Ballast::open(directory);
        ballast.reserve_at_start();
        Writer::start(connection, time, ballast, checkpointer, background.running("writer")).unwrap()
    }

    fn insert(connection: &Connection, key: &str, value: &str) -> Result<(), StoreError> {
        connection.execute("INSERT INTO meta (key, value) VALUES (?1, ?2)", params![key, value])?;
        Ok(())
    }

    #[tokio::test]
    async fn a_full_disk_refuses_and_recovers() {
        let directory = tempfile::tempdir().unwrap();
        let limit = |connection: &Connection| connection.pragma_update(None, "max_page_count", 64).unwrap();
        let writer = start(directory.path(), limit);
        let add = |key: i64| writer.run(move |connection, _| insert(connection, &key.to_string(), &"x".repeat(10_000)));
        let mut key = 0;
        while add(key).await.is_ok() {
            key += 1;
        }
        assert!(matches!(add(key).await, Err(StoreError::Full)));
        writer.run(|connection, _| Ok(connection.pragma_update(None, "max_page_count", 1000)?)).await.unwrap();
        add(key).await.unwrap();
    }

    #[tokio::test]
    async fn a_failed_step_is_rolled_back_without_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let writer = start(directory.path(), |_| ());
        // Keeps the writer busy until the others are queued, so that they form one group.
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(Some(released));
        let busy = writer.run(move |_, _| {
            // It may be in one group with the step that fails, and run twice.
            if let Some(released) = released.lock().unwrap().take() {
                released.recv().unwrap();
            }
            Ok(())
        });
        let applied = |key: &'static str| writer.run(move |connection, _| insert(connection, key, "applied"));
        let failed = writer.run(|connection, _| {
            insert(connection, "b", "failed")?;
            Err::<(), _>(StoreError::Corrupt("after its first change".to_owned()))
        });
        let released = async { release.send(()).unwrap() };
        let (busy, a, b, c, ()) = tokio::join!(busy, applied("a"), failed, applied("c"), released);
        assert!(busy.is_ok() && a.is_ok() && c.is_ok());
        assert!(matches!(b, Err(StoreError::Corrupt(_))));
        let keys = writer.run(|connection, _| {
            let mut keys = connection.prepare("SELECT key FROM meta ORDER BY key")?;
            Ok(keys.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?)
        });
        assert_eq!(keys.await.unwrap(), ["a", "c"]);
    }
}
