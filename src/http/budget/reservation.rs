//! The lifetime of a reservation: it grows, shrinks, may be evicted, and is returned on drop.

use std::{
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
};

use super::{Budget, BudgetState, EvictionCandidate, EvictionSignal, Exhausted, ReservationPurpose, StallReason};

/// A part of the budget, returned on drop.
pub struct Reservation {
    pub(super) budget: Arc<Budget>,
    pub(super) id: u64,
    pub(super) purpose: ReservationPurpose,
    pub(super) bytes: usize,
    pub(super) sockets: usize,
    pub(super) stalled: Option<StallReason>,
    pub(super) signal: Arc<EvictionSignal>,
}

impl Reservation {
    /// Raises the reservation to at least `bytes`.
    ///
    /// # Errors
    /// [`Exhausted`] when this reservation was evicted, or no other reservation can be evicted for it.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let budget = Arc::clone(&self.budget);
        let mut state = budget.lock();
        let stalled = self.stalled;
        if self.is_evicted() {
            return Err(Exhausted);
        }
        if bytes <= self.bytes {
            return Ok(());
        }
        budget.add(&mut state, self.purpose, bytes - self.bytes, 0, self.id)?;
        self.bytes = bytes;
        self.update_candidate(&mut state, stalled);
        Ok(())
    }

    /// As [`Reservation::grow_to`]; pending while evicted reservations still hold more than an eighth of the budget.
    pub fn poll_grow_to(&mut self, cx: &Context<'_>, bytes: usize) -> Poll<Result<(), Exhausted>> {
        self.signal.waker.register(cx.waker());
        if let Err(exhausted) = self.grow_to(bytes) {
            return Poll::Ready(Err(exhausted));
        }
        let mut state = self.budget.lock();
        if state.evicted_bytes <= self.budget.max_bytes / 8 {
            return Poll::Ready(Ok(()));
        }
        state.eviction_waiters.push(cx.waker().clone());
        Poll::Pending
    }

    /// Lowers the reservation to `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let budget = Arc::clone(&self.budget);
        let mut state = budget.lock();
        if bytes < self.bytes && !self.is_evicted() {
            state.bytes -= self.bytes - bytes;
            self.bytes = bytes;
            let stalled = self.stalled;
            self.update_candidate(&mut state, stalled);
            budget.update_metric(&state);
        }
    }

    /// Makes the reservation a candidate for eviction, or protects it with `None`.
    pub fn set_stalled(&mut self, stalled: Option<StallReason>) {
        if stalled != self.stalled {
            let budget = Arc::clone(&self.budget);
            let mut state = budget.lock();
            if !self.is_evicted() {
                self.update_candidate(&mut state, stalled);
            }
        }
    }

    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Ready once the reservation is evicted; its holder must then close and drop it.
    pub fn poll_evicted(&self, cx: &Context<'_>) -> Poll<()> {
        self.signal.waker.register(cx.waker());
        if self.is_evicted() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn is_evicted(&self) -> bool {
        self.signal.evicted.load(Ordering::Acquire)
    }

    /// Updates the reservation's entry among the candidates. The caller holds the lock and has checked that the
    /// reservation is not evicted: eviction happens under the same lock.
    pub(super) fn update_candidate(&mut self, state: &mut BudgetState, stalled: Option<StallReason>) {
        if let Some(before) = self.stalled {
            state.candidates.remove(&(before, self.id));
        }
        self.stalled = stalled;
        if let Some(now) = stalled {
            let candidate =
                EvictionCandidate { bytes: self.bytes, sockets: self.sockets, signal: Arc::clone(&self.signal) };
            state.candidates.insert((now, self.id), candidate);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let budget = Arc::clone(&self.budget);
        let mut state = budget.lock();
        if self.is_evicted() {
            state.evicted_bytes -= self.bytes;
            state.eviction_waiters.drain(..).for_each(Waker::wake);
            return;
        }
        self.update_candidate(&mut state, None);
        state.bytes -= self.bytes;
        state.sockets -= self.sockets;
        if self.purpose == ReservationPurpose::Stream {
            state.streams -= self.bytes;
        }
        budget.update_metric(&state);
    }
}
