//! State of a client connection that the HTTP server does not keep: how many of its requests are being served, its
//! share of the budget, and a handler's wish to take over the stream.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite};

use super::budget::{Budget, CONNECTION, Exhausted, Share, Stalled, UNREAD};

/// The byte stream of a client, plain or TLS.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Called with the stream once it is handed over.
pub type Take = Box<dyn FnOnce(Box<dyn Stream>)>;

/// Shared by a connection's stream and by the requests on it, which all run on one thread.
#[derive(Clone)]
pub struct Connection(Rc<Inner>);

struct Inner {
    begun: Cell<u64>,
    ended: Cell<u64>,
    share: RefCell<Share>,
    takeover: RefCell<Takeover>,
    paused: Cell<bool>,
}

enum Takeover {
    None,
    /// The stream is handed over once everything before is written.
    Asked(Take),
    Done,
}

impl Connection {
    pub fn new(share: Share) -> Self {
        let takeover = RefCell::new(Takeover::None);
        let (begun, ended, paused) = Default::default();
        Self(Rc::new(Inner { begun, ended, share: RefCell::new(share), takeover, paused }))
    }

    pub fn budget(&self) -> Arc<Budget> {
        Arc::clone(self.0.share.borrow().budget())
    }

    /// Marks a request as being served until the returned guard is dropped.
    pub fn begin(&self) -> Request {
        self.0.begun.set(self.0.begun.get() + 1);
        self.stall(None);
        Request(self.clone())
    }

    pub fn is_busy(&self) -> bool {
        self.0.begun.get() > self.0.ended.get()
    }

    /// The number of the next request, from 1.
    pub fn next(&self) -> u64 {
        self.0.begun.get() + 1
    }

    /// Accounts for an incomplete head of which `bytes` have been read.
    ///
    /// # Errors
    /// [`Exhausted`]: the connection must be closed.
    pub fn head(&self, bytes: usize) -> Result<(), Exhausted> {
        self.stall(Some(Stalled::Unfinished));
        // The HTTP parser's buffer grows by doubling.
        self.0.share.borrow_mut().raise(CONNECTION + bytes.saturating_sub(4096) * 2)
    }

    /// Accounts for a response that the client does not read.
    ///
    /// # Errors
    /// [`Exhausted`]: the connection must be closed.
    pub fn unread(&self) -> Result<(), Exhausted> {
        self.stall(Some(Stalled::Unfinished));
        self.0.share.borrow_mut().raise(CONNECTION + UNREAD)
    }

    /// The client has read its response; the connection costs its base share again.
    pub fn read(&self) {
        self.stall((!self.is_busy()).then_some(Stalled::Idle));
        self.0.share.borrow_mut().lower(CONNECTION);
    }

    /// While paused, nothing is read from the client: the HTTP parser would buffer it.
    pub fn is_paused(&self) -> bool {
        self.0.paused.get()
    }

    pub(super) fn pause(&self, paused: bool) {
        self.0.paused.set(paused);
    }

    /// Ready once the connection is evicted from the budget and must close.
    pub fn poll_evicted(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.share.borrow().poll_evicted(cx)
    }

    /// Hands the stream to `take` once everything before is written. The HTTP server then sees a closed connection.
    pub(super) fn take_over(&self, take: Take) {
        self.0.takeover.replace(Takeover::Asked(take));
    }

    /// The handler that asked for the stream. Returned once; the takeover then counts as done.
    pub fn taker(&self) -> Option<Take> {
        if !matches!(*self.0.takeover.borrow(), Takeover::Asked(_)) {
            return None;
        }
        match self.0.takeover.replace(Takeover::Done) {
            Takeover::Asked(take) => Some(take),
            Takeover::None | Takeover::Done => None,
        }
    }

    pub(super) fn is_taken(&self) -> bool {
        matches!(*self.0.takeover.borrow(), Takeover::Done)
    }

    fn stall(&self, stalled: Option<Stalled>) {
        self.0.share.borrow_mut().set_stalled(stalled);
    }
}

/// A request that is being served; dropping it ends it.
pub struct Request(Connection);

impl Drop for Request {
    fn drop(&mut self) {
        let inner = &self.0.0;
        inner.ended.set(inner.ended.get() + 1);
        if !self.0.is_busy() {
            self.0.stall(Some(Stalled::Idle));
        }
    }
}
