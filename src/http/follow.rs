//! Event streams that wait cheaply.
//!
//! An HTTP connection holds buffers and a state machine of more than ten KiB for as long as it lives. A stream that
//! only waits needs none of them: once the head and the first event are written, it gets the socket, and the HTTP
//! connection ends.

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
    budget::Share,
    connection::{Connection, Stream, Take},
    problem::Problem,
};
use crate::service::ServiceError;

/// How long a client may leave an event unread.
const UNREAD: Duration = Duration::from_secs(15);
/// A client of a stream has nothing more to say.
const CHATTER: usize = 4096;

/// What happens, until nothing more will.
pub(super) trait Events: 'static {
    fn next(&mut self) -> impl Future<Output = Option<Bytes>>;
}

/// Answers with a stream of events. The first one is there at once.
pub(super) async fn answer(
    request: &HttpRequest,
    tracker: &TaskTracker,
    mut response: HttpResponseBuilder,
    mut events: impl Events,
) -> Result<HttpResponse, Problem> {
    let Some(first) = events.next().await else { return Ok(response.finish()) };
    let Some(connection) = request.conn_data::<Connection>().cloned() else {
        return Err(Problem::new(super::problem::Code::InternalError, "this listener has no streams"));
    };
    let share = connection.budget().stream().map_err(|_| ServiceError::Crowded)?;
    let tracker = tracker.clone();
    let carry = move |stream: Box<dyn Stream>| drop(rt::spawn(tracker.track_future(carry(stream, events, share))));
    // One stream for each connection.
    response.force_close();
    Ok(response.body(Handover { first: Some(first), connection, carry: Some(Box::new(carry)) }))
}

/// The body of the answer until the stream is handed over.
struct Handover {
    first: Option<Bytes>,
    connection: Connection,
    carry: Option<Take>,
}

impl MessageBody for Handover {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if let Some(carry) = self.carry.take() {
            self.connection.take_over(carry);
        }
        // What takes the stream wakes the connection.
        if self.connection.is_taken() { Poll::Ready(None) } else { Poll::Pending }
    }
}

/// Writes events as chunks, until the last one, or until the client goes.
async fn carry(mut stream: Box<dyn Stream>, mut events: impl Events, _share: Share) {
    loop {
        let event = match select(pin!(events.next()), pin!(gone(&mut stream))).await {
            Either::Left((event, _)) => event,
            Either::Right(((), _)) => return,
        };
        let is_last = event.is_none();
        let event = event.unwrap_or_default();
        let mut chunk = format!("{:x}\r\n", event.len()).into_bytes();
        chunk.extend_from_slice(&event);
        chunk.extend_from_slice(b"\r\n");
        let written = timeout(UNREAD, stream.write_all(&chunk)).await;
        if is_last || !matches!(written, Ok(Ok(()))) {
            break;
        }
    }
    let _ = timeout(UNREAD, stream.shutdown()).await;
}

/// Waits until the client has closed its side. What it still says is thrown away.
async fn gone(stream: &mut Box<dyn Stream>) {
    let mut heard = 0;
    std::future::poll_fn(|cx| {
        while heard < CHATTER {
            let mut bytes = [0; 512];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok::<(), io::Error>(())) if !buffer.filled().is_empty() => heard += buffer.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    })
    .await;
}
