//! Server-Sent Events about one verification: the response headers, the format of an event, and the end of a stream.

use std::time::Duration;

use actix_web::{HttpResponseBuilder, http::header, web::Bytes};
use tokio::time::timeout;

use super::event_stream::EventSource;
use crate::{domain::Kind, service::VerificationWatch};

/// Interval of heartbeats: proxies close a stream that stays silent, some of them after 15 seconds.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a client that lost the stream waits before it reconnects.
const RECONNECT_MS: u32 = 2_000;

/// One event, as its source provides it.
pub(super) struct Event {
    pub(super) id: Option<u32>,
    pub(super) name: &'static str,
    /// JSON, on one line.
    pub(super) data: Vec<u8>,
    /// The first event also carries the reconnection delay.
    pub(super) is_first: bool,
}

impl Event {
    fn encode(self) -> Bytes {
        let retry = if self.is_first { format!("retry: {RECONNECT_MS}\n") } else { String::new() };
        let id = self.id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        let head = format!("{retry}{id}event: {}\ndata: ", self.name);
        Bytes::from([head.as_bytes(), &self.data, b"\n\n"].concat())
    }
}

/// Provides the events of a stream.
pub(super) trait WatchSource: 'static {
    type Kind: Kind;

    fn watched(&mut self) -> &mut VerificationWatch<Self::Kind>;

    /// The next event, if there is one that the reader has not seen.
    fn next_event(&mut self) -> Option<Event>;

    /// Whether nothing more will come on this stream.
    fn has_ended(&self) -> bool;
}

/// Sets the headers of a stream.
pub(super) fn set_headers(response: &mut HttpResponseBuilder) {
    response.content_type("text/event-stream").insert_header((header::CACHE_CONTROL, "no-store"));
    // nginx would otherwise hold events back until its buffer is full.
    response.insert_header(("x-accel-buffering", "no"));
}

/// A source as a stream.
pub(super) struct Sse<S>(pub(super) S);

impl<S: WatchSource> EventSource for Sse<S> {
    /// Returns `None` if nothing more will come, the record is gone, or the process stops. Clients then reconnect,
    /// possibly to another replica.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.0.next_event() {
                return Some(event.encode());
            }
            if self.0.has_ended() {
                return None;
            }
            match timeout(HEARTBEAT, self.0.watched().changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(Bytes::from_static(b": still waiting\n\n")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_as_the_standard_says() {
        let event = |id, is_first| Event { id, name: "state", data: b"{}".to_vec(), is_first }.encode();
        assert_eq!(event(None, true), "retry: 2000\nevent: state\ndata: {}\n\n");
        assert_eq!(event(Some(2), false), "id: 2\nevent: state\ndata: {}\n\n");
    }
}
