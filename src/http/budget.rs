//! One budget of memory and sockets for all unauthenticated requests and all waiting event streams of a listener.
//!
//! Code that holds memory for a client reserves it as a [`Reservation`], which is returned on drop. When the budget is
//! used up, the oldest reservation that waits for its client (an unfinished head or body, an unread response, an idle
//! connection) is evicted to make room for the new one. The request of a well-behaved client finishes within
//! milliseconds, so it is never the oldest.

mod reservation;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use futures_util::task::AtomicWaker;

pub use self::reservation::Reservation;
use super::blocks::BlockPool;
use crate::metrics::{Metrics, label::ByCause};

/// Bytes of a connection: its buffers, its task and the kernel's socket buffers.
pub const CONNECTION_BYTES: usize = 20 * 1024;
/// Bytes of an idle event stream, with the kernel's socket buffers.
pub const STREAM_BYTES: usize = 8 * 1024;
/// Bytes of a response that the client does not read: what is buffered here and in the kernel.
pub const UNREAD_RESPONSE_BYTES: usize = 64 * 1024;

/// Why a reservation waits for its client and may be evicted, in the order of eviction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StallReason {
    /// The client has not finished sending or receiving something.
    Incomplete,
    /// The connection has no request in progress.
    Idle,
}

/// What a reservation is used for, which determines its limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ReservationPurpose {
    /// A connection or body whose sender is not yet authenticated.
    Unauthenticated,
    /// A waiting stream or long poll: together at most half of the budget.
    Stream,
    /// The body of an authenticated request, which may also use the reserve.
    Authenticated,
}

/// The budget of one listener.
pub struct Budget {
    max_bytes: usize,
    authenticated_reserve: usize,
    max_sockets: usize,
    state: Mutex<BudgetState>,
    /// For bodies. Unused blocks are not included in `BudgetState::bytes`, like evicted reservations.
    block_pool: Arc<BlockPool>,
    metrics: Option<Arc<Metrics>>,
}

#[derive(Default)]
struct BudgetState {
    bytes: usize,
    streams: usize,
    sockets: usize,
    /// Bytes of evicted reservations that are not dropped yet; not included in `bytes`.
    evicted_bytes: usize,
    /// Tasks that wait for evicted reservations to be dropped.
    eviction_waiters: Vec<Waker>,
    next_id: u64,
    /// Candidates for eviction, the first to be evicted first.
    candidates: BTreeMap<(StallReason, u64), EvictionCandidate>,
}

struct EvictionCandidate {
    bytes: usize,
    sockets: usize,
    signal: Arc<EvictionSignal>,
}

#[derive(Default)]
struct EvictionSignal {
    evicted: AtomicBool,
    waker: AtomicWaker,
}

/// The budget is used up, or this reservation was evicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exhausted;

impl Budget {
    /// A budget of `bytes` and `sockets`. Authenticated bodies may use a quarter more bytes.
    pub fn new(bytes: usize, sockets: usize, metrics: Option<Arc<Metrics>>) -> Arc<Self> {
        if let Some(metrics) = &metrics {
            metrics.unauthenticated_limit_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        Arc::new(Self {
            max_bytes: bytes,
            authenticated_reserve: bytes / 4,
            max_sockets: sockets,
            state: Mutex::default(),
            block_pool: BlockPool::with_capacity(bytes / 8),
            metrics,
        })
    }

    /// Blocks for bodies.
    pub(super) fn block_pool(&self) -> Arc<BlockPool> {
        Arc::clone(&self.block_pool)
    }

    /// Reserves for a new connection that has sent nothing yet.
    pub fn reserve_connection(self: &Arc<Self>) -> Result<Reservation, Exhausted> {
        self.reserve(ReservationPurpose::Unauthenticated, CONNECTION_BYTES, 1, Some(StallReason::Incomplete))
    }

    /// Reserves for the body of an unauthenticated request; grows with [`Reservation::grow_to`].
    pub fn reserve_body(self: &Arc<Self>) -> Result<Reservation, Exhausted> {
        self.reserve(ReservationPurpose::Unauthenticated, 0, 0, Some(StallReason::Incomplete))
    }

    /// Reserves for the body of an authenticated request; grows with [`Reservation::grow_to`].
    pub fn reserve_authenticated_body(self: &Arc<Self>) -> Result<Reservation, Exhausted> {
        self.reserve(ReservationPurpose::Authenticated, 0, 0, None)
    }

    /// Reserves for an event stream that has taken over its socket.
    pub fn reserve_stream(self: &Arc<Self>) -> Result<Reservation, Exhausted> {
        self.reserve(ReservationPurpose::Stream, STREAM_BYTES, 1, None)
    }

    /// Reserves for a long poll; its connection has its own reservation.
    pub fn reserve_long_poll(self: &Arc<Self>) -> Result<Reservation, Exhausted> {
        self.reserve(ReservationPurpose::Stream, CONNECTION_BYTES, 0, None)
    }

    fn reserve(
        self: &Arc<Self>,
        purpose: ReservationPurpose,
        bytes: usize,
        sockets: usize,
        stalled: Option<StallReason>,
    ) -> Result<Reservation, Exhausted> {
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        self.add(&mut state, purpose, bytes, sockets, id)?;
        let mut reservation = Reservation {
            budget: Arc::clone(self),
            id,
            purpose,
            bytes,
            sockets,
            stalled: None,
            signal: Arc::default(),
        };
        reservation.update_candidate(&mut state, stalled);
        Ok(reservation)
    }

    /// Adds to the sums, after evicting other reservations if there is no room.
    fn add(
        &self,
        state: &mut BudgetState,
        purpose: ReservationPurpose,
        bytes: usize,
        sockets: usize,
        id: u64,
    ) -> Result<(), Exhausted> {
        let limit = if purpose == ReservationPurpose::Authenticated {
            self.max_bytes + self.authenticated_reserve
        } else {
            self.max_bytes
        };
        if purpose == ReservationPurpose::Stream && state.streams + bytes > self.max_bytes / 2 {
            return Err(self.count_refusal("refused"));
        }
        while state.bytes + bytes > limit || state.sockets + sockets > self.max_sockets {
            let mut others = state.candidates.keys().filter(|(_, other)| *other != id);
            let Some(oldest) = others.next().copied() else { return Err(self.count_refusal("refused")) };
            let Some(candidate) = state.candidates.remove(&oldest) else { continue };
            state.bytes -= candidate.bytes;
            state.evicted_bytes += candidate.bytes;
            state.sockets -= candidate.sockets;
            candidate.signal.evicted.store(true, Ordering::Release);
            candidate.signal.waker.wake();
            self.count_refusal("evicted");
        }
        state.bytes += bytes;
        state.sockets += sockets;
        if purpose == ReservationPurpose::Stream {
            state.streams += bytes;
        }
        self.update_metric(state);
        Ok(())
    }

    fn count_refusal(&self, cause: &'static str) -> Exhausted {
        if let Some(metrics) = &self.metrics {
            metrics.unauthenticated_refused.get_or_create(&ByCause { cause }).inc();
        }
        Exhausted
    }

    fn update_metric(&self, state: &BudgetState) {
        if let Some(metrics) = &self.metrics {
            metrics.unauthenticated_bytes.set(i64::try_from(state.bytes).unwrap_or(i64::MAX));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BudgetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
