//! State of a client connection that the HTTP server does not keep: how many of its requests are being served, its
//! share of the budget, and a handler's wish to take over the stream.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite};

use super::budget::{Budget, CONNECTION_BYTES, Exhausted, Reservation, StallReason, UNREAD_RESPONSE_BYTES};

/// The byte stream of a client, plain or TLS.
pub trait ClientStream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientStream for S {}

/// Called with the stream once it is handed over.
pub type OnTakeover = Box<dyn FnOnce(Box<dyn ClientStream>)>;

/// Shared by a connection's stream and by the requests on it, which all run on one thread.
#[derive(Clone)]
pub struct ClientConnection(Rc<ConnectionState>);

struct ConnectionState {
    started_requests: Cell<u64>,
    finished_requests: Cell<u64>,
    reservation: RefCell<Reservation>,
    takeover: RefCell<Takeover>,
    paused: Cell<bool>,
}

enum Takeover {
    None,
    /// The stream is handed over once everything before is written.
    Requested(OnTakeover),
    Done,
}

impl ClientConnection {
    pub fn new(reservation: Reservation) -> Self {
        Self(Rc::new(ConnectionState {
            started_requests: Cell::default(),
            finished_requests: Cell::default(),
            reservation: RefCell::new(reservation),
            takeover: RefCell::new(Takeover::None),
            paused: Cell::default(),
        }))
    }

    pub fn budget(&self) -> Arc<Budget> {
        Arc::clone(self.0.reservation.borrow().budget())
    }

    /// Marks a request as being served until the returned guard is dropped.
    pub fn start_request(&self) -> ActiveRequest {
        self.0.started_requests.set(self.0.started_requests.get() + 1);
        self.set_stalled(None);
        ActiveRequest(self.clone())
    }

    pub fn is_busy(&self) -> bool {
        self.0.started_requests.get() > self.0.finished_requests.get()
    }

    /// The number of the next request, from 1.
    pub fn next_request(&self) -> u64 {
        self.0.started_requests.get() + 1
    }

    /// Accounts for an incomplete head of which `bytes` have been read.
    ///
    /// # Errors
    /// [`Exhausted`]: the connection must be closed.
    pub fn reserve_incomplete_head(&self, bytes: usize) -> Result<(), Exhausted> {
        self.set_stalled(Some(StallReason::Incomplete));
        // The HTTP parser's buffer grows by doubling.
        self.0.reservation.borrow_mut().grow_to(CONNECTION_BYTES + bytes.saturating_sub(4096) * 2)
    }

    /// Accounts for a response that the client does not read.
    ///
    /// # Errors
    /// [`Exhausted`]: the connection must be closed.
    pub fn reserve_unread_response(&self) -> Result<(), Exhausted> {
        self.set_stalled(Some(StallReason::Incomplete));
        self.0.reservation.borrow_mut().grow_to(CONNECTION_BYTES + UNREAD_RESPONSE_BYTES)
    }

    /// The client has read its response; only the base cost of the connection remains.
    pub fn release_unread_response(&self) {
        self.set_stalled((!self.is_busy()).then_some(StallReason::Idle));
        self.0.reservation.borrow_mut().shrink_to(CONNECTION_BYTES);
    }

    /// While paused, nothing is read from the client: the HTTP parser would buffer it.
    pub fn is_paused(&self) -> bool {
        self.0.paused.get()
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.0.paused.set(paused);
    }

    /// Ready once the connection is evicted from the budget and must close.
    pub fn poll_evicted(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.reservation.borrow().poll_evicted(cx)
    }

    /// Hands the stream to `take` once everything before is written. The HTTP server then sees a closed connection.
    pub(super) fn take_over(&self, take: OnTakeover) {
        self.0.takeover.replace(Takeover::Requested(take));
    }

    /// The handler that asked for the stream. Returned once; the takeover then counts as done.
    pub fn take_handler(&self) -> Option<OnTakeover> {
        if !matches!(*self.0.takeover.borrow(), Takeover::Requested(_)) {
            return None;
        }
        match self.0.takeover.replace(Takeover::Done) {
            Takeover::Requested(take) => Some(take),
            Takeover::None | Takeover::Done => None,
        }
    }

    pub(super) fn is_taken_over(&self) -> bool {
        matches!(*self.0.takeover.borrow(), Takeover::Done)
    }

    fn set_stalled(&self, stalled: Option<StallReason>) {
        self.0.reservation.borrow_mut().set_stalled(stalled);
    }
}

/// A request that is being served; dropping it ends it.
pub struct ActiveRequest(ClientConnection);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let inner = &self.0.0;
        inner.finished_requests.set(inner.finished_requests.get() + 1);
        if !self.0.is_busy() {
            self.0.set_stalled(Some(StallReason::Idle));
        }
    }
}
