//! Who waits for a record to change, and how they are woken.
//!
//! A store rings whenever a record was written: by this process, or by a replica it hears of. A ring carries no
//! news, so the woken read the record again; whoever waits must also look by himself now and then, because the
//! ring of a process that died, or a word lost on the way, never comes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::RecordId;

/// Waiters in one process.
pub const WAITERS: usize = 10_000;
/// Waiters for one record in one process: several pages of one person, not a crowd.
pub const WAITERS_EACH: usize = 32;

/// The waiters of one process.
#[derive(Default)]
pub struct Changes(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    bells: HashMap<RecordId, watch::Sender<()>>,
    count: usize,
    closed: bool,
}

/// One place in the queue for news of one record; dropping it frees the place.
pub struct Watch {
    id: RecordId,
    /// Only taken by `drop`.
    bell: Option<watch::Receiver<()>>,
    changes: Arc<Changes>,
}

/// Why there is no place to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Busy {
    /// The process is ending.
    Closed,
    /// Too many wait, in all or for this record.
    Full,
}

impl Changes {
    /// Waits from now on: read the record only after this.
    pub fn watch(self: &Arc<Self>, id: RecordId) -> Result<Watch, Busy> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Busy::Closed);
        }
        if waiting.count >= WAITERS {
            return Err(Busy::Full);
        }
        let bell = waiting.bells.entry(id).or_insert_with(|| watch::Sender::new(()));
        if bell.receiver_count() >= WAITERS_EACH {
            return Err(Busy::Full);
        }
        let bell = Some(bell.subscribe());
        waiting.count += 1;
        Ok(Watch { id, bell, changes: Arc::clone(self) })
    }

    /// Wakes whoever waits for this record.
    pub fn ring(&self, id: RecordId) {
        if let Some(bell) = self.lock().bells.get(&id) {
            bell.send_replace(());
        }
    }

    /// Wakes everybody: some news may have been missed.
    pub fn ring_all(&self) {
        self.lock().bells.values().for_each(|bell| {
            bell.send_replace(());
        });
    }

    /// Sends everybody away, for good.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.bells.clear();
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().count
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Returns when somebody has rung since the last call. `false`: the process is ending.
    pub async fn rung(&mut self) -> bool {
        match &mut self.bell {
            Some(bell) => bell.changed().await.is_ok(),
            None => false,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waiting = self.changes.lock();
        waiting.count -= 1;
        drop(self.bell.take());
        if waiting.bells.get(&self.id).is_some_and(|bell| bell.receiver_count() == 0) {
            waiting.bells.remove(&self.id);
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
        let changes = Arc::new(Changes::default());
        let one = id();
        let held: Vec<Watch> = std::iter::from_fn(|| changes.watch(one).ok()).collect();
        assert_eq!(held.len(), WAITERS_EACH);
        let others: Vec<Watch> = std::iter::from_fn(|| changes.watch(id()).ok()).collect();
        assert_eq!(held.len() + others.len(), WAITERS);
        drop(others);
        assert_eq!(changes.watch(one).err(), Some(Busy::Full));
        drop(held);
        assert_eq!(changes.waiting(), 0);
        assert!(changes.lock().bells.is_empty());
    }

    #[tokio::test]
    async fn the_end_wakes_and_refuses() {
        let changes = Arc::new(Changes::default());
        let mut watch = changes.watch(id()).unwrap();
        changes.close();
        assert!(!watch.rung().await);
        assert_eq!(changes.watch(id()).err(), Some(Busy::Closed));
    }
}
