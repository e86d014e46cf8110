//! How much work may be in flight, and the way from a commit to the worker beside it.
//!
//! A job is leased only by somebody who can start it at once: a job that waits in a local queue burns its
//! lease. So a slot is taken first and travels with the job.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::store::{Destination, Leased};

/// In flight in this process.
pub const TOTAL: usize = 256;

/// The free places of this process.
pub struct Slots {
    total: Arc<Semaphore>,
    used: Mutex<HashMap<Destination, usize>>,
    released: Notify,
}

/// A place taken; dropping it frees the place.
pub struct Slot {
    slots: Arc<Slots>,
    destination: Destination,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    pub fn new() -> Arc<Self> {
        let total = Arc::new(Semaphore::new(TOTAL));
        Arc::new(Self { total, used: Mutex::default(), released: Notify::new() })
    }

    /// `None` when the destination or the process is busy.
    pub fn take(self: &Arc<Self>, destination: &Destination) -> Option<Slot> {
        let permit = Arc::clone(&self.total).try_acquire_owned().ok()?;
        let mut used = self.used.lock().expect("nobody panics while holding it");
        let count = used.entry(destination.clone()).or_default();
        if *count >= destination.width() {
            return None;
        }
        *count += 1;
        Some(Slot { slots: Arc::clone(self), destination: destination.clone(), _permit: permit })
    }

    /// Waits until some slot has been freed, or somebody nudged, since the last call.
    pub async fn released(&self) {
        self.released.notified().await;
    }

    /// Makes the worker look for due work without waiting for its next round.
    pub fn nudge(&self) {
        self.released.notify_one();
    }

    pub fn in_flight(&self) -> usize {
        TOTAL - self.total.available_permits()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut used = self.slots.used.lock().expect("nobody panics while holding it");
        if let Some(count) = used.get_mut(&self.destination) {
            *count -= 1;
            if *count == 0 {
                used.remove(&self.destination);
            }
        }
        drop(used);
        self.slots.released.notify_one();
    }
}

/// Gives committed jobs to the worker of this process.
#[derive(Clone)]
pub struct Handoff {
    pub slots: Arc<Slots>,
    sender: mpsc::Sender<(Leased, Slot)>,
}

impl Handoff {
    /// The worker's end comes with it.
    pub fn new(slots: Arc<Slots>) -> (Self, mpsc::Receiver<(Leased, Slot)>) {
        let (sender, receiver) = mpsc::channel(TOTAL);
        (Self { slots, sender }, receiver)
    }

    /// Never waits: every job has a slot, and there are as many places as slots. When the worker is gone the
    /// lease runs out and somebody else takes the job.
    pub fn give(&self, leased: Leased, slot: Slot) {
        let _ = self.sender.try_send((leased, slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_destination_cannot_take_everything() {
        let slots = Slots::new();
        let busy = Destination("a".to_owned());
        let held: Vec<Slot> = std::iter::from_fn(|| slots.take(&busy)).collect();
        assert_eq!(held.len(), busy.width());
        assert!(slots.take(&Destination("b".to_owned())).is_some());
        drop(held);
        assert!(slots.take(&busy).is_some());
        assert_eq!(slots.in_flight(), 0);
    }
}
