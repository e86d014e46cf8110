//! One budget of memory and sockets for all unauthenticated requests and all waiting event streams of a listener.
//!
//! Whatever holds memory reserves it as a [`Share`], which is returned on drop. When the budget is used up, the oldest
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
pub const CONNECTION: usize = 20 * 1024;
/// Bytes of an idle event stream, with the kernel's socket buffers.
pub const STREAM: usize = 8 * 1024;
/// Bytes of a response that the client does not read: what is buffered here and in the kernel.
pub const UNREAD: usize = 64 * 1024;

/// Why a share may be evicted, in the order of eviction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stalled {
    /// The client has not finished sending or receiving something.
    Unfinished,
    /// The connection has no request under way.
    Idle,
}

/// What a share is used for; decides its limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// A connection or body whose sender is not yet authenticated.
    Stranger,
    /// A waiting stream or long poll: together at most half of the budget.
    Stream,
    /// An authenticated body may also use the reserve.
    Authenticated,
}

/// The budget of one listener.
pub struct Budget {
    bytes: usize,
    reserve: usize,
    sockets: usize,
    state: Mutex<State>,
    metrics: Option<Arc<Metrics>>,
}

#[derive(Default)]
struct State {
    bytes: usize,
    streams: usize,
    sockets: usize,
    /// Bytes of evicted shares that are not dropped yet; not included in `bytes`.
    leaving: usize,
    /// Tasks that wait for evicted shares to be dropped.
    waiting: Vec<Waker>,
    next: u64,
    /// Candidates for eviction, the first to be evicted first.
    stalled: BTreeMap<(Stalled, u64), Holder>,
}

struct Holder {
    bytes: usize,
    sockets: usize,
    victim: Arc<Victim>,
}

#[derive(Default)]
struct Victim {
    evicted: AtomicBool,
    waker: AtomicWaker,
}

/// A part of the budget, given back when it is dropped.
pub struct Share {
    budget: Arc<Budget>,
    id: u64,
    purpose: Purpose,
    bytes: usize,
    sockets: usize,
    stalled: Option<Stalled>,
    victim: Arc<Victim>,
}

/// The budget is used up, or this share was evicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exhausted;

impl Budget {
    /// A budget of `bytes` and `sockets`. Authenticated bodies may use a quarter more bytes.
    pub fn new(bytes: usize, sockets: usize, metrics: Option<Arc<Metrics>>) -> Arc<Self> {
        if let Some(metrics) = &metrics {
            metrics.unauthenticated_limit_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        Arc::new(Self { bytes, reserve: bytes / 4, sockets, state: Mutex::default(), metrics })
    }

    /// Reserves for a new connection that has sent nothing yet.
    pub fn connection(self: &Arc<Self>) -> Result<Share, Exhausted> {
        self.share(Purpose::Stranger, CONNECTION, 1, Some(Stalled::Unfinished))
    }

    /// Reserves for the body of an unauthenticated request; grows with [`Share::raise`].
    pub fn body(self: &Arc<Self>) -> Result<Share, Exhausted> {
        self.share(Purpose::Stranger, 0, 0, Some(Stalled::Unfinished))
    }

    /// Reserves for the body of an authenticated request; grows with [`Share::raise`].
    pub fn authenticated_body(self: &Arc<Self>) -> Result<Share, Exhausted> {
        self.share(Purpose::Authenticated, 0, 0, None)
    }

    /// Reserves for an event stream that has taken over its socket.
    pub fn stream(self: &Arc<Self>) -> Result<Share, Exhausted> {
        self.share(Purpose::Stream, STREAM, 1, None)
    }

    /// Reserves for a long poll; its connection has its own share.
    pub fn long_poll(self: &Arc<Self>) -> Result<Share, Exhausted> {
        self.share(Purpose::Stream, CONNECTION, 0, None)
    }

    fn share(
        self: &Arc<Self>,
        purpose: Purpose,
        bytes: usize,
        sockets: usize,
        stalled: Option<Stalled>,
    ) -> Result<Share, Exhausted> {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        self.take(&mut state, purpose, bytes, sockets, id)?;
        let mut share =
            Share { budget: Arc::clone(self), id, purpose, bytes, sockets, stalled: None, victim: Arc::default() };
        share.place(&mut state, stalled);
        Ok(share)
    }

    /// Adds to the sums, after evicting other shares if there is no room.
    fn take(
        &self,
        state: &mut State,
        purpose: Purpose,
        bytes: usize,
        sockets: usize,
        id: u64,
    ) -> Result<(), Exhausted> {
        let limit = if purpose == Purpose::Authenticated { self.bytes + self.reserve } else { self.bytes };
        if purpose == Purpose::Stream && state.streams + bytes > self.bytes / 2 {
            return Err(self.refuse("refused"));
        }
        while state.bytes + bytes > limit || state.sockets + sockets > self.sockets {
            let mut others = state.stalled.keys().filter(|(_, other)| *other != id);
            let Some(oldest) = others.next().copied() else { return Err(self.refuse("refused")) };
            let Some(holder) = state.stalled.remove(&oldest) else { continue };
            state.bytes -= holder.bytes;
            state.leaving += holder.bytes;
            state.sockets -= holder.sockets;
            holder.victim.evicted.store(true, Ordering::Release);
            holder.victim.waker.wake();
            self.refuse("evicted");
        }
        state.bytes += bytes;
        state.sockets += sockets;
        if purpose == Purpose::Stream {
            state.streams += bytes;
        }
        self.measure(state);
        Ok(())
    }

    fn refuse(&self, cause: &'static str) -> Exhausted {
        if let Some(metrics) = &self.metrics {
            metrics.unauthenticated_refused.get_or_create(&ByCause { cause }).inc();
        }
        Exhausted
    }

    fn measure(&self, state: &State) {
        if let Some(metrics) = &self.metrics {
            metrics.unauthenticated_bytes.set(i64::try_from(state.bytes).unwrap_or(i64::MAX));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Raises the share to at least `bytes`.
    ///
    /// # Errors
    /// [`Exhausted`] when this share was evicted, or no other share can be evicted for it.
    pub fn raise(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let budget = Arc::clone(&self.budget);
        let mut state = budget.lock();
        let stalled = self.stalled;
        if self.is_evicted() {
            return Err(Exhausted);
        }
        if bytes <= self.bytes {
            return Ok(());
        }
        budget.take(&mut state, self.purpose, bytes - self.bytes, 0, self.id)?;
        self.bytes = bytes;
        self.place(&mut state, stalled);
        Ok(())
    }

    /// As [`Share::raise`]; pending while evicted shares still hold more than an eighth of the budget.
    pub fn poll_raise(&mut self, cx: &Context<'_>, bytes: usize) -> Poll<Result<(), Exhausted>> {
        self.victim.waker.register(cx.waker());
        if let Err(exhausted) = self.raise(bytes) {
            return Poll::Ready(Err(exhausted));
        }
        let mut state = self.budget.lock();
        if state.leaving <= self.budget.bytes / 8 {
            return Poll::Ready(Ok(()));
        }
        state.waiting.push(cx.waker().clone());
        Poll::Pending
    }

    /// Lowers the share to `bytes`.
    pub fn lower(&mut self, bytes: usize) {
        let budget = Arc::clone(&self.budget);
        let mut state = budget.lock();
        if bytes < self.bytes && !self.is_evicted() {
            state.bytes -= self.bytes - bytes;
            self.bytes = bytes;
            let stalled = self.stalled;
            self.place(&mut state, stalled);
            budget.measure(&state);
        }
    }

    /// Makes the share a candidate for eviction, or protects it with `None`.
    pub fn set_stalled(&mut self, stalled: Option<Stalled>) {
        if stalled != self.stalled {
            let budget = Arc::clone(&self.budget);
            let mut state = budget.lock();
            if !self.is_evicted() {
                self.place(&mut state, stalled);
            }
        }
    }

    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Ready once the share is evicted; its holder must then close and drop it.
    pub fn poll_evicted(&self, cx: &Context<'_>) -> Poll<()> {
        self.victim.waker.register(cx.waker());
        if self.is_evicted() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn is_evicted(&self) -> bool {
        self.victim.evicted.load(Ordering::Acquire)
    }

    /// Updates the share's entry among the candidates. The caller holds the lock and has checked that the share is not
    /// evicted: eviction happens under the same lock.
    fn place(&mut self, state: &mut State, stalled: Option<Stalled>) {
        if let Some(before) = self.stalled {
            state.stalled.remove(&(before, self.id));
        }
        self.stalled = stalled;
        if let Some(now) = stalled {
            let holder = Holder { bytes: self.bytes, sockets: self.sockets, victim: Arc::clone(&self.victim) };
            state.stalled.insert((now, self.id), holder);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let budget = Arc::clone(&self.budget);
        let mut state = budget.lock();
        if self.is_evicted() {
            state.leaving -= self.bytes;
            state.waiting.drain(..).for_each(Waker::wake);
            return;
        }
        self.place(&mut state, None);
        state.bytes -= self.bytes;
        state.sockets -= self.sockets;
        if self.purpose == Purpose::Stream {
            state.streams -= self.bytes;
        }
        budget.measure(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evicted(share: &Share) -> bool {
        share.poll_evicted(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_oldest_stalled_share_is_evicted_first() {
        let budget = Budget::new(4 * CONNECTION, 100, None);
        let mut shares: Vec<Share> = (0..4).map(|_| budget.connection().unwrap()).collect();
        shares[0].set_stalled(None);
        shares[1].set_stalled(Some(Stalled::Idle));
        let fifth = budget.connection().unwrap();
        let gone = |shares: &[Share]| shares.iter().map(evicted).collect::<Vec<_>>();
        assert_eq!(gone(&shares), [false, false, true, false], "the oldest unfinished one");
        let mut body = budget.body().unwrap();
        body.raise(2 * CONNECTION).unwrap();
        assert_eq!(gone(&shares), [false, false, true, true]);
        assert!(evicted(&fifth) && !evicted(&body));
        body.raise(3 * CONNECTION).unwrap();
        assert_eq!(gone(&shares), [false, true, true, true], "then idle ones");
        assert_eq!(body.raise(4 * CONNECTION), Err(Exhausted), "never one that is served, nor itself");
        assert_eq!(budget.lock().leaving, 4 * CONNECTION);
        let mut other = budget.body().unwrap();
        let cx = Context::from_waker(Waker::noop());
        assert!(other.poll_raise(&cx, CONNECTION).is_pending(), "the evicted shares are not dropped yet");
        assert!(evicted(&body));
        drop((shares, fifth, body));
        assert_eq!(other.poll_raise(&cx, CONNECTION), Poll::Ready(Ok(())));
        drop(other);
        let state = budget.lock();
        assert_eq!((state.bytes, state.leaving, state.sockets, state.stalled.len()), (0, 0, 0, 0));
    }

    #[test]
    fn streams_get_half_and_authenticated_bodies_a_reserve() {
        let budget = Budget::new(8 * STREAM, 100, None);
        let streams: Vec<Share> = std::iter::from_fn(|| budget.stream().ok()).collect();
        assert_eq!(streams.len(), 4);
        let mut stranger = budget.body().unwrap();
        stranger.raise(4 * STREAM).unwrap();
        let mut genuine = budget.authenticated_body().unwrap();
        genuine.raise(2 * STREAM).unwrap();
        assert!(!evicted(&stranger), "it fits into the reserve");
        genuine.raise(3 * STREAM).unwrap();
        assert!(evicted(&stranger));
        assert!(budget.stream().is_err());
        drop(streams);
        assert!(budget.stream().is_ok());
    }

    #[test]
    fn sockets_are_counted_too() {
        let budget = Budget::new(usize::MAX / 2, 3, None);
        let first = budget.connection().unwrap();
        let streams = [budget.stream().unwrap(), budget.stream().unwrap()];
        let second = budget.connection().unwrap();
        assert!(evicted(&first) && !evicted(&second));
        assert!(budget.stream().is_ok(), "an unauthenticated connection is evicted for it");
        assert!(evicted(&second));
        drop(streams);
    }
}
