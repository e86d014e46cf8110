//! The thread that writes. All writes queued at one moment become one transaction, and so one fsync.

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

use rusqlite::{Connection, Error, TransactionBehavior};
use tokio::sync::oneshot;

use crate::store::{StoreError, background::Running};

use super::{
    ballast::Ballast,
    error::{is_full, passes},
    time::Time,
    upkeep::Upkeep,
};

/// Most queued writes; further ones are refused at once.
const QUEUE: usize = 1024;
/// Most writes in one transaction.
pub(super) const GROUP: usize = 256;

/// Sends the result to the caller. Dropped if the group was not committed, which the caller notices.
type Answer = Box<dyn FnOnce() + Send>;

/// The effect of one step.
struct Stepped {
    keep: bool,
    /// Whether it found the disk full.
    full: bool,
    answer: Answer,
}

type Operation = Box<dyn FnOnce(&Connection, i64) -> Stepped + Send>;

pub(super) struct Writer {
    queue: Option<SyncSender<Operation>>,
    thread: Option<JoinHandle<()>>,
    /// Whether the disk is full.
    full: Arc<AtomicBool>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        time: Arc<Time>,
        ballast: Ballast,
        running: Running,
    ) -> io::Result<Self> {
        let (queue, operations) = sync_channel(QUEUE);
        let full = ballast.full();
        let work = move || {
            if let ControlFlow::Break(error) = work(connection, &operations, &time, ballast) {
                running.failed(&error.to_string());
            }
        };
        let thread = thread::Builder::new().name("store-writer".to_owned()).spawn(work)?;
        Ok(Self { queue: Some(queue), thread: Some(thread), full })
    }

    /// Whether new work may begin. Steps that finish accepted work are tried on a full disk too.
    pub(super) fn has_room(&self) -> Result<(), StoreError> {
        if self.full.load(Ordering::Relaxed) { Err(StoreError::Full) } else { Ok(()) }
    }

    /// Runs `step` at the store's time, and returns when it is durable. A step that fails leaves no trace.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Connection, i64) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let unavailable = |why: &str| StoreError::Unavailable(why.to_owned());
        let (sender, answer) = oneshot::channel();
        let operation: Operation = Box::new(|connection, now| {
            let result = step(connection, now);
            // The caller may have been dropped.
            let full = matches!(result, Err(StoreError::Full));
            Stepped { keep: result.is_ok(), full, answer: Box::new(|| drop(sender.send(result))) }
        });
        let queue = self.queue.as_ref().expect("only `drop` takes the queue");
        queue.try_send(operation).map_err(|error| match error {
            TrySendError::Full(_) => unavailable("too many writes are waiting"),
            TrySendError::Disconnected(_) => unavailable("the writer has stopped"),
        })?;
        let lost = |_| self.has_room().err().unwrap_or_else(|| unavailable("the write did not land, the log says why"));
        answer.await.map_err(lost)?
    }
}

impl Drop for Writer {
    /// Finishes the queued writes.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // The thread has already reported its panic.
            drop(thread.join());
        }
    }
}

/// Runs until the queue is closed or the disk fails. After a failed fsync the content of the disk is unknown, and a
/// second fsync would report success: only a new process, which reads the disk, can tell.
fn work(
    mut connection: Connection,
    operations: &Receiver<Operation>,
    time: &Time,
    mut ballast: Ballast,
) -> ControlFlow<Error> {
    let mut upkeep = Upkeep::default();
    while let Some(group) = next(operations, &upkeep) {
        ballast.look();
        let wrote = !group.is_empty();
        let due = upkeep.is_due(wrote);
        let landed = land(&mut connection, group, time, due.then_some(&mut upkeep), &mut ballast)?;
        if !due {
            continue;
        }
        if !landed {
            upkeep.put_off();
        }
        // On a full disk too: after a checkpoint the log can be reused from its start.
        if let Err(error) = upkeep.checkpoint(&connection) {
            survive(error)?;
        }
    }
    ControlFlow::Continue(())
}

/// The queued writes, without waiting for more. Empty if only upkeep is due; `None` at the end.
fn next(operations: &Receiver<Operation>, upkeep: &Upkeep) -> Option<Vec<Operation>> {
    let first = match upkeep.pause() {
        Some(pause) => match operations.recv_timeout(pause) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => return None,
        },
        None => operations.recv().ok()?,
    };
    let mut group = vec![first];
    while group.len() < GROUP {
        match operations.try_recv() {
            Ok(operation) => group.push(operation),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
    }
    Some(group)
}

/// Applies a group and answers each of its callers. Returns `false` if it was not committed.
fn land(
    connection: &mut Connection,
    group: Vec<Operation>,
    time: &Time,
    upkeep: Option<&mut Upkeep>,
    ballast: &mut Ballast,
) -> ControlFlow<Error, bool> {
    let (mut group, mut stepped) = (group.into_iter(), Vec::new());
    let applied = apply(connection, &mut group, &mut stepped, time, upkeep);
    // Before any caller of the group learns that it failed.
    if stepped.iter().any(|one| one.full) || applied.as_ref().is_err_and(is_full) {
        ballast.give_up();
    }
    match applied {
        Ok(true) => {
            for one in stepped {
                (one.answer)();
            }
            ControlFlow::Continue(true)
        }
        Ok(false) => {
            tracing::warn!("SQLite rolled a group of writes back");
            ControlFlow::Continue(false)
        }
        Err(error) => {
            survive(error)?;
            ControlFlow::Continue(false)
        }
    }
}

/// Returns `false` if SQLite rolled the transaction back itself, as it may when the disk is full.
fn apply(
    connection: &mut Connection,
    group: &mut impl Iterator<Item = Operation>,
    stepped: &mut Vec<Stepped>,
    time: &Time,
    upkeep: Option<&mut Upkeep>,
) -> rusqlite::Result<bool> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for operation in group {
        let savepoint = transaction.savepoint()?;
        let one = operation(&savepoint, time.millis());
        let keep = one.keep;
        stepped.push(one);
        if keep {
            savepoint.commit()?;
        } else {
            drop(savepoint);
        }
        if transaction.is_autocommit() {
            return Ok(false);
        }
    }
    if let Some(upkeep) = upkeep {
        upkeep.trim(&transaction, time.millis())?;
    }
    transaction.commit()?;
    Ok(true)
}

/// Continues after temporary errors.
fn survive(error: Error) -> ControlFlow<Error> {
    if passes(&error) {
        tracing::warn!(%error, "the store cannot write");
        ControlFlow::Continue(())
    } else {
        tracing::error!(%error, "the store's disk failed, giving up");
        ControlFlow::Break(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, store::background::Background};

    #[tokio::test]
    async fn a_full_disk_refuses_and_recovers() {
        let directory = tempfile::tempdir().unwrap();
        let connection = Connection::open(directory.path().join("database")).unwrap();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        connection.pragma_update(None, "max_page_count", 64).unwrap();
        let running = Background::default().running("writer");
        let ballast = Ballast::open(directory.path());
        let writer = Writer::start(connection, Arc::new(Time::new(Clock::default())), ballast, running).unwrap();
        let insert = |key: i64| {
            writer.run(move |connection, _| {
                let value = "x".repeat(10_000);
                Ok(connection
                    .execute("INSERT INTO meta (key, value) VALUES (?1, ?2)", rusqlite::params![key, value])?)
            })
        };
        let mut key = 0;
        while insert(key).await.is_ok() {
            key += 1;
        }
        assert!(matches!(insert(key).await, Err(StoreError::Full)));
        writer.run(|connection, _| Ok(connection.pragma_update(None, "max_page_count", 1000)?)).await.unwrap();
        insert(key).await.unwrap();
    }
}
