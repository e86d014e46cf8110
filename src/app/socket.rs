//! A client's connection, with the deadlines that actix-web lacks for HTTP/1.1: for every request head after the first,
//! for the rest of a request that was answered early, and for responses that the client does not read.
//!
//! The state of requests and the memory of the connection are in [`ClientConnection`]; a [`Socket`] reports what is
//! read and written, and ends the connection with an I/O error when a deadline passes or the connection is evicted.

use std::{
    io,
    pin::Pin,
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

use crate::http::{
    budget::Reservation,
    connection::{ActiveRequest, ClientConnection},
};

/// From the first byte of a request head to its last.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may leave a response unread, in addition to the time that [`MIN_WRITE_RATE`] allows for the bytes
/// it reads.
const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes per second.
const MIN_WRITE_RATE: u64 = 4096;
/// Bytes that are read before the task yields, so that the connection handles them; actix-web would fill 128 KiB.
const READ_BUDGET: usize = 16 * 1024;
/// Bytes of a response that are added to the connection's buffer at once.
const BODY_CHUNK_LEN: usize = 8 * 1024;

/// A response body in chunks of at most [`BODY_CHUNK_LEN`]. The request counts as served when it is dropped.
pub(super) struct ServedBody {
    pub(super) body: BoxBody,
    pub(super) rest: Bytes,
    pub(super) _request: Option<ActiveRequest>,
}

impl MessageBody for ServedBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_next(cx)) {
                Some(Ok(bytes)) => self.rest = bytes,
                ended => return Poll::Ready(ended),
            }
        }
        let piece = self.rest.len().min(BODY_CHUNK_LEN);
        Poll::Ready(Some(Ok(self.rest.split_to(piece))))
    }
}

/// The stream of a connection, with its deadlines. Any error ends the connection.
pub(super) struct Socket<S> {
    /// `None` after a handler took the stream over.
    stream: Option<S>,
    connection: ClientConnection,
    /// Bytes that were read since the task last yielded.
    read_since_yield: usize,
    /// Runs from the first byte after a request until the next request begins.
    head: Option<HeadDeadline>,
    stalled: Option<StalledWrite>,
}

/// The deadline of a request head.
struct HeadDeadline {
    /// Number of the request within the connection.
    request: u64,
    bytes: usize,
    sleep: Pin<Box<Sleep>>,
}

/// A response that the client does not read.
struct StalledWrite {
    since: Instant,
    /// Bytes that were written since.
    written: u64,
    sleep: Pin<Box<Sleep>>,
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, reservation: Reservation) -> Self {
        Self {
            stream: Some(stream),
            connection: ClientConnection::new(reservation),
            read_since_yield: 0,
            head: None,
            stalled: None,
        }
    }

    pub(super) fn connection(&self) -> ClientConnection {
        self.connection.clone()
    }

    /// Counts bytes that were read, and checks the deadline of the head. Bytes of a request that is being served have
    /// the deadline of its body instead.
    fn on_read(&mut self, count: usize, cx: &mut Context<'_>) -> io::Result<()> {
        let next = self.connection.next_request();
        if self.connection.is_busy() || self.head.as_ref().is_some_and(|head| head.request < next) {
            self.head = None;
        }
        if count > 0 && !self.connection.is_busy() {
            let head = self.head.get_or_insert_with(|| {
                let sleep = Box::pin(sleep_until(Instant::now() + HEAD_TIMEOUT));
                HeadDeadline { request: next, bytes: 0, sleep }
            });
            head.bytes += count;
            self.connection.reserve_incomplete_head(head.bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        }
        let Some(head) = &mut self.head else { return Ok(()) };
        if head.sleep.as_mut().poll(cx).is_ready() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    fn on_write(&mut self, outcome: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Ok(count)) => {
                if let Some(stalled) = &mut self.stalled {
                    stalled.written += u64::try_from(count).unwrap_or(u64::MAX);
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                if self.stalled.is_none() && self.connection.reserve_unread_response().is_err() {
                    return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
                }
                let stalled = self.stalled.get_or_insert_with(|| {
                    let since = Instant::now();
                    StalledWrite { since, written: 0, sleep: Box::pin(sleep_until(since)) }
                });
                let allowed = WRITE_STALL_TIMEOUT + Duration::from_secs(stalled.written / MIN_WRITE_RATE);
                stalled.sleep.as_mut().reset(stalled.since + allowed);
                ready!(stalled.sleep.as_mut().poll(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // The reader that paused the connection wakes this task when it resumes.
        if self.connection.is_paused() {
            return Poll::Pending;
        }
        if self.read_since_yield >= READ_BUDGET {
            self.read_since_yield = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        let before = into.filled().len();
        let outcome = Pin::new(stream).poll_read(cx, into);
        let count = into.filled().len() - before;
        self.read_since_yield = if outcome.is_pending() { 0 } else { self.read_since_yield + count };
        self.on_read(count, cx)?;
        if self.connection.poll_evicted(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        outcome
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // After a take-over the new owner writes the rest of the response.
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(bytes.len())) };
        let outcome = Pin::new(stream).poll_write(cx, bytes);
        self.on_write(outcome, cx)
    }

    /// All buffered bytes were handed to the kernel, so the client is reading again.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stalled.take().is_some() {
            self.connection.release_unread_response();
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        ready!(Pin::new(stream).poll_flush(cx))?;
        if let Some(take) = self.connection.take_handler()
            && let Some(stream) = self.stream.take()
        {
            take(Box::new(stream));
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
