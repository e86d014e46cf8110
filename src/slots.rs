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
    used: Mutex<HashMap<Destination, Used>>,
    released: Notify,
    nudged: Notify,
}

/// How a destination's places stand.
#[derive(Default)]
struct Used {
    count: usize,
    /// Work was committed for which there was no place.
    wanted: bool,
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
        Arc::new(Self { total, used: Mutex::default(), released: Notify::new(), nudged: Notify::new() })
    }

    /// For work that is about to be committed. `None` when the destination or the process is busy; as soon as the
    /// destination is free, the worker looks for what had to wait.
    pub fn take(self: &Arc<Self>, destination: &Destination) -> Option<Slot> {
        self.claim(destination, true)
    }

    /// For work that is due: whoever asks looks again by himself.
    pub fn take_for_due(self: &Arc<Self>, destination: &Destination) -> Option<Slot> {
        self.claim(destination, false)
    }

    fn claim(self: &Arc<Self>, destination: &Destination, wanted: bool) -> Option<Slot> {
        let permit = Arc::clone(&self.total).try_acquire_owned().ok()?;
        let mut places = self.used.lock().expect("nobody panics while holding it");
        let used = places.entry(destination.clone()).or_default();
        if used.count >= destination.width() {
            used.wanted |= wanted;
            return None;
        }
        used.count += 1;
        Some(Slot { slots: Arc::clone(self), destination: destination.clone(), _permit: permit })
    }

    /// Waits until some slot has been freed since the last call.
    pub async fn released(&self) {
        self.released.notified().await;
    }

    /// Waits until somebody has nudged since the last call.
    pub async fn nudged(&self) {
        self.nudged.notified().await;
    }

    /// Makes the worker look for due work without waiting for its next round.
    pub fn nudge(&self) {
        self.nudged.notify_one();
    }

    pub fn in_flight(&self) -> usize {
        TOTAL - self.total.available_permits()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut places = self.slots.used.lock().expect("nobody panics while holding it");
        let mut wanted = false;
        if let Some(used) = places.get_mut(&self.destination) {
            used.count -= 1;
            wanted = std::mem::take(&mut used.wanted);
            if used.count == 0 {
                places.remove(&self.destination);
            }
        }
        drop(places);
        self.slots.released.notify_one();
        if wanted {
            self.slots.nudge();
        }
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
    use futures_util::FutureExt as _;

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

    #[test]
    fn what_was_committed_for_a_busy_destination_is_looked_for_when_it_is_free() {
        let slots = Slots::new();
        let busy = Destination("a".to_owned());
        let nudged = || slots.nudged().now_or_never().is_some();
        let held: Vec<Slot> = std::iter::from_fn(|| slots.take_for_due(&busy)).collect();
        drop(held);
        assert!(!nudged(), "a round of the worker causes no other");
        let mut held: Vec<Slot> = std::iter::from_fn(|| slots.take(&busy)).collect();
        assert!(!nudged(), "it is still busy");
        held.pop();
        assert!(nudged());
        held.pop();
        assert!(!nudged(), "once is enough");
    }
}
