//! A received webhook request, and the reasons to reject it.

use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;

/// A received webhook request, not yet authenticated.
pub struct Webhook<'a> {
    pub method: &'a Method,
    /// The path segments after the instance id.
    pub path_suffix: Option<&'a str>,
    /// The raw query, without `?`.
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    /// The wall clock, to check signed timestamps against.
    pub now: Timestamp,
}

impl Webhook<'_> {
    /// The same head with this body, read at `now`.
    pub fn with_body<'b>(&'b self, body: &'b [u8], now: Timestamp) -> Webhook<'b> {
        Webhook { body, now, ..*self }
    }

    /// The value of a header that occurs exactly once and is visible ASCII. A duplicated header counts as absent, because
    /// proxies and servers disagree about which value is used.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }
}

/// A webhook failed authentication. The text is the reason, a label value in logs and metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unauthenticated(pub &'static str);

/// A webhook is authenticated, but its body is not what this gateway is documented to send.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// The response to a webhook subscription handshake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handshake {
    pub status: StatusCode,
    pub body: String,
}
