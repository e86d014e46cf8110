//! One budget of memory and sockets for all unauthenticated requests and all waiting event streams of a listener.
//!
//! Whatever holds memory reserves it as a [`Reservation`], which is returned on drop. When the budget is used up, the oldest
//! share whose client keeps the daemon waiting (an unfinished head or body, an unread response, an idle connection) is
//! evicted to make room for the new one. A genuine request is finished within milliseconds, so it is never the oldest.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures_util::task::AtomicWaker;

use crate::metrics::{Metrics, label::ByCause};

/// Bytes of a connection: its buffers, its task and the kernel's socket buffers.
pub const CONNECTION_BYTES: usize = 20 * 1024;
/// Bytes of an idle event stream, with the kernel's socket buffers.
pub const STREAM_BYTES: usize = 8 * 1024;
/// Bytes of a response that the client does not read: what is buffered here and in the kernel.
pub const UNREAD_RESPONSE_BYTES: usize = 64 * 1024;

/// Why a share may be evicted, in the order of eviction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stall {
    /// The client has not finished sending or receiving something.
    Incomplete,
    /// The connection has no request under way.
    Idle,
}

/// What a share is used for; decides its limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// A connection or body whose sender is not yet authenticated.
    Unauthenticated,
    /// A waiting stream or long poll: together at most half of the budget.
    Stream,
    /// An authenticated body may also use the reserve.
    Authenticated,
}

/// The budget of one listener.
pub struct Budget {
    max_bytes: usize,
    authenticated_reserve: usize,
    max_sockets: usize,
    state: Mutex<State>,
    metrics: Option<Arc<Metrics>>,
}

#[derive(Default)]
struct State {
    max_bytes: usize,
    streams: usize,
    max_sockets: usize,
    /// Bytes of evicted shares that are not dropped yet; not included in `bytes`.
    evicted_bytes: usize,
    /// Tasks that wait for evicted shares to be dropped.
    eviction_waiters: Vec<Waker>,
    next_id: u64,
    /// Candidates for eviction, the first to be evicted first.
    candidates: BTreeMap<(Stall, u64), EvictionCandidate>,
}

struct EvictionCandidate {
    max_bytes: usize,
    max_sockets: usize,
    signal: Arc<EvictionSignal>,
}

#[derive(Default)]
struct EvictionSignal {
    evicted: AtomicBool,
    waker: AtomicWaker,
}

/// A part of the budget, given back when it is dropped.
pub struct Reservation {
    budget: Arc<Budget>,
    id: u64,
    purpose: Purpose,
    max_bytes: usize,
    max_sockets: usize,
    stalled: Option<Stall>,
    signal: Arc<EvictionSignal>,
}

/// The budget is used up, or this share was evicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exhausted;

impl Budget {
    /// A budget of `bytes` and `max_sockets`. Authenticated bodies may use a quarter more bytes.
    pub fn new(bytes: usize, sockets: usize, metrics: Option<Arc<Metrics>>) -> Arc<Self> {
        if let Some(metrics) = &metrics {
            metrics.unauthenticated_limit_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        Arc::new(Self {
            max_bytes: bytes,
            authenticated_reserve: bytes / 4,
            max_sockets: sockets,
            state: Mutex::default(),
            metrics,
        })
    }

    /// Reserves for a new connection that has sent nothing yet.
    pub fn reserve_connection(self: &Arc<Self>) -> Result<Reservation, Exhausted> {
        self.reserve(Purpose::Unauthenticated, CONNECTION_BYTES, 1, Some(Stall::Incomplete))
    }

    /// Reserves for the body of an unauthenticated request; grows with [`Reservation::raise`].
    pub fn reserve_body(self: &Arc<Self>) -> Result<Reservation, Exhausted> {
        self.reserve(Purpose::Unauthenticated, 0, 0, Some(Stall::Incomplete))
    }

    /// Reserves for the body of an authenticated request; grows with [`Reservation::raise`].
    pub fn reserve_authenticated_body(self: &Arc<Self>) -> Result<Reservation, Exhausted> {
        self.reserve(Purpose::Authenticated, 0, 0, None)
    }

    /// Reserves for an event stream that has taken over its socket.
    pub fn reserve_stream(self: &Arc<Self>) -> Result<Reservation, Exhausted> {
        self.reserve(Purpose::Stream, STREAM_BYTES, 1, None)
    }

    /// Reserves for a long poll; its connection has its own share.
    pub fn reserve_long_poll(self: &Arc<Self>) -> Result<Reservation, Exhausted> {
        self.reserve(Purpose::Stream, CONNECTION_BYTES, 0, None)
    }

    fn reserve(
        self: &Arc<Self>,
        purpose: Purpose,
        bytes: usize,
        sockets: usize,
        stalled: Option<Stall>,
    ) -> Result<Reservation, Exhausted> {
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        self.add(&mut state, purpose, bytes, sockets, id)?;
        let mut share = Reservation {
            budget: Arc::clone(self),
            id,
            purpose,
            bytes,
            sockets,
            stalled: None,
            signal: Arc::default(),
        };
        share.update_candidate(&mut state, stalled);
        Ok(share)
    }

    /// Adds to the sums, after evicting other shares if there is no room.
    fn add(&self, state: &mut State, purpose: Purpose, bytes: usize, sockets: usize, id: u64) -> Result<(), Exhausted> {
        let limit = if purpose == Purpose::Authenticated {
            self.max_bytes + self.authenticated_reserve
        } else {
            self.max_bytes
        };
        if purpose == Purpose::Stream && state.streams + bytes > self.max_bytes / 2 {
            return Err(self.count_refusal("refused"));
        }
        while state.bytes + bytes > limit || state.sockets + sockets > self.max_sockets {
            let mut others = state.candidates.keys().filter(|(_, other)| *other != id);
            let Some(oldest) = others.next().copied() else { return Err(self.count_refusal("refused")) };
            let Some(holder) = state.candidates.remove(&oldest) else { continue };
            state.bytes -= holder.bytes;
            state.evicted_bytes += holder.bytes;
            state.sockets -= holder.sockets;
            holder.signal.evicted.store(true, Ordering::Release);
            holder.signal.waker.wake();
            self.count_refusal("evicted");
        }
        state.bytes += bytes;
        state.sockets += sockets;
        if purpose == Purpose::Stream {
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

    fn update_metric(&self, state: &State) {
        if let Some(metrics) = &self.metrics {
            metrics.unauthenticated_bytes.set(i64::try_from(state.bytes).unwrap_or(i64::MAX));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Raises the share to at least `bytes`.
    ///
    /// # Errors
    /// [`Exhausted`] when this share was evicted, or no other share can be evicted for it.
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

    /// As [`Reservation::raise`]; pending while evicted shares still hold more than an eighth of the budget.
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

    /// Lowers the share to `bytes`.
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

    /// Makes the share a candidate for eviction, or protects it with `None`.
    pub fn set_stalled(&mut self, stalled: Option<Stall>) {
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

    /// Ready once the share is evicted; its holder must then close and drop it.
    pub fn poll_evicted(&self, cx: &Context<'_>) -> Poll<()> {
        self.signal.waker.register(cx.waker());
        if self.is_evicted() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn is_evicted(&self) -> bool {
        self.signal.evicted.load(Ordering::Acquire)
    }

    /// Updates the share's entry among the candidates. The caller holds the lock and has checked that the share is not
    /// evicted: eviction happens under the same lock.
    fn update_candidate(&mut self, state: &mut State, stalled: Option<Stall>) {
        if let Some(before) = self.stalled {
            state.candidates.remove(&(before, self.id));
        }
        self.stalled = stalled;
        if let Some(now) = stalled {
            let holder =
                EvictionCandidate { bytes: self.bytes, sockets: self.sockets, signal: Arc::clone(&self.signal) };
            state.candidates.insert((now, self.id), holder);
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
        if self.purpose == Purpose::Stream {
            state.streams -= self.bytes;
        }
        budget.update_metric(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evicted(share: &Reservation) -> bool {
        share.poll_evicted(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_oldest_stalled_share_is_evicted_first() {
        let budget = Budget::new(4 * CONNECTION_BYTES, 100, None);
        let mut shares: Vec<Reservation> = (0..4).map(|_| budget.reserve_connection().unwrap()).collect();
        shares[0].set_stalled(None);
        shares[1].set_stalled(Some(Stall::Idle));
        let fifth = budget.reserve_connection().unwrap();
        let gone = |shares: &[Reservation]| shares.iter().map(evicted).collect::<Vec<_>>();
        assert_eq!(gone(&shares), [false, false, true, false], "the oldest unfinished one");
        let mut body = budget.reserve_body().unwrap();
        body.grow_to(2 * CONNECTION_BYTES).unwrap();
        assert_eq!(gone(&shares), [false, false, true, true]);
        assert!(evicted(&fifth) && !evicted(&body));
        body.grow_to(3 * CONNECTION_BYTES).unwrap();
        assert_eq!(gone(&shares), [false, true, true, true], "then idle ones");
        assert_eq!(body.grow_to(4 * CONNECTION_BYTES), Err(Exhausted), "never one that is served, nor itself");
        assert_eq!(budget.lock().evicted_bytes, 4 * CONNECTION_BYTES);
        let mut other = budget.reserve_body().unwrap();
        let cx = Context::from_waker(Waker::noop());
        assert!(other.poll_grow_to(&cx, CONNECTION_BYTES).is_pending(), "the evicted shares are not dropped yet");
        assert!(evicted(&body));
        drop((shares, fifth, body));
        assert_eq!(other.poll_grow_to(&cx, CONNECTION_BYTES), Poll::Ready(Ok(())));
        drop(other);
        let state = budget.lock();
        assert_eq!((state.bytes, state.evicted_bytes, state.sockets, state.candidates.len()), (0, 0, 0, 0));
    }

    #[test]
    fn streams_get_half_and_authenticated_bodies_a_reserve() {
        let budget = Budget::new(8 * STREAM_BYTES, 100, None);
        let streams: Vec<Reservation> = std::iter::from_fn(|| budget.reserve_stream().ok()).collect();
        assert_eq!(streams.len(), 4);
        let mut stranger = budget.reserve_body().unwrap();
        stranger.grow_to(4 * STREAM_BYTES).unwrap();
        let mut genuine = budget.reserve_authenticated_body().unwrap();
        genuine.grow_to(2 * STREAM_BYTES).unwrap();
        assert!(!evicted(&stranger), "it fits into the reserve");
        genuine.grow_to(3 * STREAM_BYTES).unwrap();
        assert!(evicted(&stranger));
        assert!(budget.reserve_stream().is_err());
        drop(streams);
        assert!(budget.reserve_stream().is_ok());
    }

    #[test]
    fn sockets_are_counted_too() {
        let budget = Budget::new(usize::MAX / 2, 3, None);
        let first = budget.reserve_connection().unwrap();
        let streams = [budget.reserve_stream().unwrap(), budget.reserve_stream().unwrap()];
        let second = budget.reserve_connection().unwrap();
        assert!(evicted(&first) && !evicted(&second));
        assert!(budget.reserve_stream().is_ok(), "an unauthenticated connection is evicted for it");
        assert!(evicted(&second));
        drop(streams);
    }
}
