//! A client's connection, with the deadlines that HTTP/1.1 on actix lacks: for every head but the first, for what
//! follows an answer that came before the end of its request, and for answers that nobody reads.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    web::Bytes,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// From the first byte of a head to its last.
pub(super) const HEAD: Duration = Duration::from_secs(10);
/// How long a client may keep an answer waiting, beyond what [`SLOWEST`] allows for the bytes that it does take.
const UNREAD: Duration = Duration::from_secs(15);
/// Bytes per second.
const SLOWEST: u64 = 4096;

/// The requests of one connection.
#[derive(Clone, Default)]
pub(super) struct Serving(Rc<Counts>);

#[derive(Default)]
struct Counts {
    begun: Cell<u64>,
    ended: Cell<u64>,
}

impl Serving {
    /// A request is served until the returned value is gone.
    pub(super) fn begin(&self) -> Request {
        self.0.begun.set(self.0.begun.get() + 1);
        Request(Rc::clone(&self.0))
    }

    fn is_busy(&self) -> bool {
        self.0.begun.get() > self.0.ended.get()
    }
}

/// One that is being served.
pub(super) struct Request(Rc<Counts>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.ended.set(self.0.ended.get() + 1);
    }
}

/// The body of an answer; the request is served when it is gone.
pub(super) struct Served {
    pub(super) body: BoxBody,
    pub(super) _request: Option<Request>,
}

impl MessageBody for Served {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// The stream under a connection. Its errors end the connection.
pub(super) struct Socket<S> {
    stream: S,
    serving: Serving,
    /// Runs from the first byte that belongs to no request to the beginning of the next request, which has this number.
    head: Option<(u64, Pin<Box<Sleep>>)>,
    unread: Option<Unread>,
}

/// An answer that waits for its reader.
struct Unread {
    since: Instant,
    taken: u64,
    sleep: Pin<Box<Sleep>>,
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, serving: Serving::default(), head: None, unread: None }
    }

    pub(super) fn serving(&self) -> Serving {
        self.serving.clone()
    }

    /// Counts bytes that came. Those of a request that is being served have the deadline of their reader.
    fn arrived(&mut self, count: usize, cx: &mut Context<'_>) -> io::Result<()> {
        let next = self.serving.0.begun.get() + 1;
        if self.serving.is_busy() || self.head.as_ref().is_some_and(|(awaited, _)| *awaited < next) {
            self.head = None;
        }
        if count > 0 && self.head.is_none() && !self.serving.is_busy() {
            self.head = Some((next, Box::pin(sleep_until(Instant::now() + HEAD))));
        }
        let Some((_, sleep)) = &mut self.head else { return Ok(()) };
        if sleep.as_mut().poll(cx).is_ready() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    fn wrote(&mut self, outcome: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Ok(count)) => {
                if let Some(unread) = &mut self.unread {
                    unread.taken += u64::try_from(count).unwrap_or(u64::MAX);
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let unread = self.unread.get_or_insert_with(|| {
                    let since = Instant::now();
                    Unread { since, taken: 0, sleep: Box::pin(sleep_until(since)) }
                });
                let allowed = UNREAD + Duration::from_secs(unread.taken / SLOWEST);
                unread.sleep.as_mut().reset(unread.since + allowed);
                ready!(unread.sleep.as_mut().poll(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, into);
        self.arrived(into.filled().len() - before, cx)?;
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(outcome, cx)
    }

    /// The kernel has everything.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unread = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
