//! What is known of a connection beside HTTP: which of its requests are served, its share of the budget, and that a
//! handler may take the stream over.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite};

use super::budget::{Budget, CONNECTION, Exhausted, Share, Stalled, UNREAD};

/// A client's stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// What a stream is handed to.
pub type Take = Box<dyn FnOnce(Box<dyn Stream>)>;

/// Shared by a connection's stream and the requests on it.
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
    /// The stream is handed on when everything before is written.
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

    /// A request is served until the returned value is gone.
    pub fn begin(&self) -> Request {
        self.0.begun.set(self.0.begun.get() + 1);
        self.stall(None);
        Request(self.clone())
    }

    pub fn is_busy(&self) -> bool {
        self.0.begun.get() > self.0.ended.get()
    }

    /// The number of the next request.
    pub fn next(&self) -> u64 {
        self.0.begun.get() + 1
    }

    /// So many bytes of a head are there, and not all.
    pub fn head(&self, bytes: usize) -> Result<(), Exhausted> {
        self.stall(Some(Stalled::Unfinished));
        // Its buffer grows by doubling.
        self.0.share.borrow_mut().raise(CONNECTION + bytes.saturating_sub(4096) * 2)
    }

    /// An answer is not read.
    pub fn unread(&self) -> Result<(), Exhausted> {
        self.stall(Some(Stalled::Unfinished));
        self.0.share.borrow_mut().raise(CONNECTION + UNREAD)
    }

    /// It is read again.
    pub fn read(&self) {
        self.stall((!self.is_busy()).then_some(Stalled::Idle));
        self.0.share.borrow_mut().lower(CONNECTION);
    }

    /// While it is paused nothing is read from the client; HTTP would buffer it.
    pub fn is_paused(&self) -> bool {
        self.0.paused.get()
    }

    pub(super) fn pause(&self, paused: bool) {
        self.0.paused.set(paused);
    }

    /// Ready when the connection has to make room.
    pub fn poll_evicted(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.share.borrow().poll_evicted(cx)
    }

    /// Hands the stream to `take` when everything before is written. HTTP then sees a closed connection.
    pub(super) fn take_over(&self, take: Take) {
        self.0.takeover.replace(Takeover::Asked(take));
    }

    /// What wants the stream, once.
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

/// One that is being served.
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
