//! Permit for one job in hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{PermitState, Permits};
use crate::{jobs::in_hand::Pace, store::Lane};

/// Permission to have one job in hand and, once it has begun, to attempt it. Dropping the permit gives it back.
pub struct Permit {
    permits: Arc<Permits>,
    pub(super) lane: Lane,
    pub(super) group: Option<String>,
    taken: Instant,
    pub(super) begun: Option<Instant>,
    /// Holds a send token that has not been used.
    paced: AtomicBool,
    spent: AtomicBool,
    release_settlement: bool,
}

impl Permit {
    /// Not begun, and in no group.
    pub(super) fn new(permits: &Arc<Permits>, lane: &Lane, taken: Instant, paced: bool) -> Self {
        Self {
            permits: Arc::clone(permits),
            lane: lane.clone(),
            group: None,
            taken,
            begun: None,
            paced: AtomicBool::new(paced),
            spent: AtomicBool::default(),
            release_settlement: false,
        }
    }

    /// Marks the send token as used: a message is being sent.
    pub fn spend(&self) {
        self.paced.store(false, Ordering::Relaxed);
        self.spent.store(true, Ordering::Relaxed);
    }

    /// Whether a message may have been sent under this permit.
    pub fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    pub fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Time since the attempt began. For a job committed here, this includes waiting for the store and for a processor.
    pub fn age(&self) -> Duration {
        self.begun.map_or(Duration::ZERO, |begun| begun.elapsed())
    }

    /// Time since the permit was taken; its job cannot have been leased earlier.
    pub fn in_hand(&self) -> Duration {
        self.taken.elapsed()
    }

    /// Gives the permit back. The caller must start the jobs that wait for it.
    pub fn end(mut self) {
        self.give_back();
    }

    /// Returns whether jobs in hand may wait for it.
    fn give_back(&mut self) -> bool {
        if std::mem::replace(&mut self.release_settlement, true) {
            return false;
        }
        let now = Instant::now();
        let mut guard = self.permits.state();
        let state = &mut *guard;
        if self.begun.is_some() {
            state.pace(&self.lane, now);
        }
        let mut waits = false;
        if let Some(hand) = state.in_hand.get_mut(&self.lane) {
            hand.remove(self.group.as_deref(), self.begun);
            state.usage.remove(hand.owner, hand.confidence, 1);
            waits = hand.waiting() > 0;
            if hand.jobs() == 0 {
                state.in_hand.remove(&self.lane);
            }
        }
        if *self.paced.get_mut() {
            state.send_tokens.put_back(&self.lane);
        }
        if self.group.is_some() {
            state.backlog.unblock(&self.lane);
        }
        let more = state.starved || (state.backlog.oldest(&self.lane).is_some() && state.is_low(&self.lane, now));
        drop(guard);
        if more {
            self.permits.changed.notify_one();
        }
        waits
    }
}

impl PermitState {
    /// Records that an attempt of the lane has ended.
    fn pace(&mut self, lane: &Lane, now: Instant) {
        match self.paces.get_mut(lane) {
            Some(pace) => pace.record(now),
            None => {
                let mut pace = Pace::new(now);
                pace.record(now);
                self.paces.insert(lane.clone(), pace);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.give_back() {
            self.permits.changed.notify_one();
        }
    }
}
