//! How much work may be in flight, and the way from a commit to the worker beside it.
//!
//! A job is leased only by somebody who can start it at once: a job that waits in a local queue burns its
//! lease. So a slot is taken first and travels with the job.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::{Notify, mpsc};

use crate::store::{Destination, Leased};

/// In flight in this process.
pub const TOTAL: usize = 256;

/// The free places of this process.
#[derive(Default)]
pub struct Slots {
    places: Mutex<Places>,
    released: Notify,
    nudged: Notify,
}

/// How the places stand, of the process and of each destination that has any.
#[derive(Default)]
struct Places {
    all: Used,
    each: HashMap<Destination, Used>,
}

#[derive(Default)]
struct Used {
    count: usize,
    /// Work waits in the store that found no place here.
    wanted: bool,
}

impl Used {
    /// Whether somebody waits for what is freed.
    fn free(&mut self) -> bool {
        self.count -= 1;
        std::mem::take(&mut self.wanted)
    }
}

/// A place taken; dropping it frees the place.
pub struct Slot {
    slots: Arc<Slots>,
    destination: Destination,
}

impl Slots {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// `None` when the destination or the process is busy.
    pub fn take(self: &Arc<Self>, destination: &Destination) -> Option<Slot> {
        let mut places = self.places();
        let Places { all, each } = &mut *places;
        let used = each.get(destination).map_or(0, |used| used.count);
        if all.count >= TOTAL || used >= destination.width() {
            return None;
        }
        all.count += 1;
        each.entry(destination.clone()).or_default().count += 1;
        Some(Slot { slots: Arc::clone(self), destination: destination.clone() })
    }

    /// Work lies in the store now that found no place before. As soon as there is one the worker looks for it: at
    /// once, if it was freed while the work was committed.
    pub fn missed(&self, destination: &Destination) {
        let mut places = self.places();
        let Places { all, each } = &mut *places;
        match each.get_mut(destination) {
            Some(used) if used.count >= destination.width() => used.wanted = true,
            _ if all.count >= TOTAL => all.wanted = true,
            _ => self.nudge(),
        }
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
        self.places().all.count
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().expect("nobody panics while holding it")
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut places = self.slots.places();
        let Places { all, each } = &mut *places;
        let mut wanted = all.free();
        if let Some(used) = each.get_mut(&self.destination) {
            wanted |= used.free();
            if used.count == 0 {
                each.remove(&self.destination);
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
        let mut held: Vec<Slot> = std::iter::from_fn(|| slots.take(&busy)).collect();
        held.truncate(1);
        assert!(!nudged(), "nobody waits");
        held.extend(std::iter::from_fn(|| slots.take(&busy)));
        slots.missed(&busy);
        drop(slots.take(&Destination("b".to_owned())));
        assert!(!nudged(), "it is still busy");
        held.pop();
        assert!(nudged());
        held.pop();
        assert!(!nudged(), "once is enough");
    }

    #[test]
    fn a_place_that_was_freed_during_the_commit_is_used_at_once() {
        let slots = Slots::new();
        let busy = Destination("a".to_owned());
        let nudged = || slots.nudged().now_or_never().is_some();
        let held: Vec<Slot> = std::iter::from_fn(|| slots.take(&busy)).collect();
        assert!(slots.take(&busy).is_none());
        drop(held);
        slots.missed(&busy);
        assert!(nudged());
    }

    #[test]
    fn what_was_committed_in_a_busy_process_is_looked_for_when_any_place_is_free() {
        let slots = Slots::new();
        let nudged = || slots.nudged().now_or_never().is_some();
        let mut held: Vec<Slot> =
            (0..TOTAL).map(|index| slots.take(&Destination(format!("d{index}"))).unwrap()).collect();
        let late = Destination("late".to_owned());
        assert!(slots.take(&late).is_none());
        assert_eq!(slots.in_flight(), TOTAL);
        slots.missed(&late);
        assert!(!nudged());
        held.pop();
        assert!(nudged());
        assert!(slots.take(&late).is_some());
        drop(held);
        assert!(slots.places().each.is_empty(), "nothing is kept of destinations that are idle");
    }
}
