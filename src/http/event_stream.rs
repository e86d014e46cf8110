//! Server-sent event streams that cost little while they wait.
//!
//! An HTTP connection holds buffers and a state machine of more than 10 KiB. A stream that only waits needs none of
//! them: once the head and the first event are written, a separate task takes over the socket and writes the further
//! events as chunks, and the HTTP connection ends.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    body::{BodySize, MessageBody},
    rt,
    web::Bytes,
};
use futures_util::future::{Either, select};
use tokio::{
    io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::{
    budget::Reservation,
    connection::{ClientConnection, ClientStream, OnTakeover},
    problem::Problem,
};
use crate::service::ServiceError;

/// How long the client may take to read one event.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes that a client may send on a stream before it is closed. Clients have nothing to send.
const MAX_CLIENT_BYTES: usize = 4096;

/// A source of events; `None` ends the stream.
pub(super) trait EventSource: 'static {
    fn next(&mut self) -> impl Future<Output = Option<Bytes>>;
}

/// Responds with a stream of events. The first event is written with the head; without one the response has no body.
///
/// # Errors
/// `temporary_reduced_capacity` when the budget for streams is used up.
pub(super) async fn respond(
    request: &HttpRequest,
    tracker: &TaskTracker,
    mut response: HttpResponseBuilder,
    mut events: impl EventSource,
) -> Result<HttpResponse, Problem> {
    let Some(first) = events.next().await else { return Ok(response.finish()) };
    let Some(connection) = request.conn_data::<ClientConnection>().cloned() else {
        return Err(Problem::new(super::problem::Code::InternalError, "this listener has no streams"));
    };
    let reservation = connection.budget().reserve_stream().map_err(|_| ServiceError::TooManyWatchers)?;
    let tracker = tracker.clone();
    let on_takeover = move |stream: Box<dyn ClientStream>| {
        drop(rt::spawn(tracker.track_future(write_events(stream, events, reservation))));
    };
    // One stream for each connection.
    response.force_close();
    Ok(response.body(StreamHandover { first: Some(first), connection, on_takeover: Some(Box::new(on_takeover)) }))
}

/// The response body up to the handover: the first event, then pending until the stream is taken.
struct StreamHandover {
    first: Option<Bytes>,
    connection: ClientConnection,
    on_takeover: Option<OnTakeover>,
}

impl MessageBody for StreamHandover {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if let Some(carry) = self.on_takeover.take() {
            self.connection.take_over(carry);
        }
        // The takeover wakes the connection.
        if self.connection.is_taken_over() { Poll::Ready(None) } else { Poll::Pending }
    }
}

/// Writes events as HTTP chunks until the source ends, the client closes, or a write takes too long.
async fn write_events(mut stream: Box<dyn ClientStream>, mut events: impl EventSource, _reservation: Reservation) {
    loop {
        let event = match select(pin!(events.next()), pin!(client_closed(&mut stream))).await {
            Either::Left((event, _)) => event,
            Either::Right(((), _)) => return,
        };
        let is_last = event.is_none();
        let event = event.unwrap_or_default();
        let mut chunk = format!("{:x}\r\n", event.len()).into_bytes();
        chunk.extend_from_slice(&event);
        chunk.extend_from_slice(b"\r\n");
        let written = timeout(WRITE_TIMEOUT, stream.write_all(&chunk)).await;
        if is_last || !matches!(written, Ok(Ok(()))) {
            break;
        }
    }
    let _ = timeout(WRITE_TIMEOUT, stream.shutdown()).await;
}

/// Completes when the client closes its side or has sent too much. What it sends is discarded.
async fn client_closed(stream: &mut Box<dyn ClientStream>) {
    let mut received = 0;
    std::future::poll_fn(|cx| {
        while received < MAX_CLIENT_BYTES {
            let mut bytes = [0; 512];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok::<(), io::Error>(())) if !buffer.filled().is_empty() => {
                    received += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    })
    .await;
}
