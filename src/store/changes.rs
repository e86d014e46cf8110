//! Waiting for a record to change.
//!
//! A store notifies waiters when a record was written by this process, and soon after a write by another replica.
//! Notifications carry no payload: waiters read the record again. They must also poll, because notifications can be
//! lost.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::RecordId;

/// Most waiters in one process.
pub const MAX_WAITERS: usize = 10_000;
/// Most waiters for one record in one process: several pages of one person.
pub const MAX_WAITERS_PER_RECORD: usize = 32;

/// The waiters of one process.
#[derive(Default)]
pub struct ChangeNotifier(Mutex<WaiterTable>);

#[derive(Default)]
struct WaiterTable {
    senders: HashMap<RecordId, watch::Sender<()>>,
    count: usize,
    closed: bool,
}

/// A registered waiter; dropping it unregisters it.
pub struct Watcher {
    id: RecordId,
    /// `None` only during `drop`.
    receiver: Option<watch::Receiver<()>>,
    changes: Arc<ChangeNotifier>,
}

/// Why a waiter was not registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchError {
    /// The process is shutting down.
    Closed,
    /// Too many waiters, in all or for this record.
    Full,
}

impl ChangeNotifier {
    /// Registers a waiter. Read the record only after this, so that no change is missed.
    pub fn watch(self: &Arc<Self>, id: RecordId) -> Result<Watcher, WatchError> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(WatchError::Closed);
        }
        if waiting.count >= MAX_WAITERS {
            return Err(WatchError::Full);
        }
        let bell = waiting.senders.entry(id).or_insert_with(|| watch::Sender::new(()));
        if bell.receiver_count() >= MAX_WAITERS_PER_RECORD {
            return Err(WatchError::Full);
        }
        let bell = Some(bell.subscribe());
        waiting.count += 1;
        Ok(Watcher { id, receiver: bell, changes: Arc::clone(self) })
    }

    /// Notifies the waiters for this record.
    pub fn notify(&self, id: RecordId) {
        if let Some(bell) = self.lock().senders.get(&id) {
            bell.send_replace(());
        }
    }

    /// Notifies all waiters, after notifications may have been lost.
    pub fn notify_all(&self) {
        self.lock().senders.values().for_each(|bell| {
            bell.send_replace(());
        });
    }

    /// Ends all waiting, and refuses new waiters.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.senders.clear();
    }

    /// The number of waiters.
    pub fn waiting(&self) -> usize {
        self.lock().count
    }

    fn lock(&self) -> MutexGuard<'_, WaiterTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    /// Returns after the first notification since the last call. `false`: the process is shutting down.
    pub async fn changed(&mut self) -> bool {
        match &mut self.receiver {
            Some(bell) => bell.changed().await.is_ok(),
            None => false,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut waiting = self.changes.lock();
        waiting.count -= 1;
        drop(self.receiver.take());
        if waiting.senders.get(&self.id).is_some_and(|bell| bell.receiver_count() == 0) {
            waiting.senders.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn id() -> RecordId {
        RecordId::new(random::bytes())
    }

    #[test]
    fn places_are_bounded_and_come_back() {
        let changes = Arc::new(ChangeNotifier::default());
        let one = id();
        let held: Vec<Watcher> = std::iter::from_fn(|| changes.watch(one).ok()).collect();
        assert_eq!(held.len(), MAX_WAITERS_PER_RECORD);
        let others: Vec<Watcher> = std::iter::from_fn(|| changes.watch(id()).ok()).collect();
        assert_eq!(held.len() + others.len(), MAX_WAITERS);
        drop(others);
        assert_eq!(changes.watch(one).err(), Some(WatchError::Full));
        drop(held);
        assert_eq!(changes.waiting(), 0);
        assert!(changes.lock().senders.is_empty());
    }

    #[tokio::test]
    async fn the_end_wakes_and_refuses() {
        let changes = Arc::new(ChangeNotifier::default());
        let mut watch = changes.watch(id()).unwrap();
        changes.close();
        assert!(!watch.changed().await);
        assert_eq!(changes.watch(id()).err(), Some(WatchError::Closed));
    }
}
