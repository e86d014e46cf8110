//! Reads request bodies, bounded in size, in memory and in time.
//!
//! Bodies of requests that are not yet authenticated reserve their memory from the listener's [`Budget`] block by
//! block. While the budget has no room, nothing more is read from the client; an evicted body is answered with 503.
//!
//! [`Budget`]: super::budget::Budget

use std::{
    future::poll_fn,
    io::Read as _,
    ops::Deref,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    HttpRequest,
    http::header,
    web::{Buf as _, Payload},
};
use futures_util::StreamExt as _;
use serde_json::{Map, Value};

use super::{
    blocks::{BLOCK_SIZE, Block, BlockPool},
    budget::{Budget, Exhausted, Reservation},
    connection::ClientConnection,
    content_coding::ContentCoding,
    problem::{Code, Problem},
    query,
};
use crate::gateway::strict_json;

/// Bytes of a request of the API.
pub(super) const MAX_API_BODY: usize = 64 * 1024;
/// Bytes of a webhook: gateways send several events in one.
pub(super) const MAX_WEBHOOK_BODY: usize = 3 * 1024 * 1024;
const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";
/// From the end of the head to the last byte of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How many times larger than its encoding a body may be before its sender is authenticated.
const MAX_EXPANSION: usize = 64;
/// Bytes of a body of several blocks beyond them: the connection's read buffer and the chunk that is being copied.
const IN_TRANSIT: usize = 2 * BLOCK_SIZE;

/// A whole body with its reservation in the budget, which is returned on drop.
#[derive(Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
    _reservation: Option<Reservation>,
}

impl Body {
    /// The largest body that a request may decode to before its sender is authenticated, so that unauthenticated senders
    /// cannot cause much work with little data.
    pub(super) fn unauthenticated_limit(&self) -> usize {
        self.bytes.len().saturating_mul(MAX_EXPANSION).min(MAX_WEBHOOK_BODY)
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Which part of the budget a body is charged to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BodySender {
    /// The sender can only be authenticated with the whole body.
    Unauthenticated,
    /// The head has already authenticated the sender.
    Authenticated,
}

impl BodySender {
    fn reserve(self, budget: &Arc<Budget>) -> Result<Reservation, Exhausted> {
        match self {
            Self::Unauthenticated => budget.reserve_body(),
            Self::Authenticated => budget.reserve_authenticated_body(),
        }
    }
}

/// The whole body of a request that is not yet authenticated.
///
/// # Errors
/// As [`read_from`].
pub(super) async fn read(request: &HttpRequest, payload: Payload, limit: usize) -> Result<Body, Problem> {
    read_from(BodySender::Unauthenticated, request, payload, limit).await
}

/// The whole body, of at most `limit` bytes.
///
/// # Errors
/// `body_too_large`, `body_timeout`, `malformed_body` for a connection that was closed early, and
/// `temporary_reduced_capacity` when the budget is used up.
pub(super) async fn read_from(
    from: BodySender,
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<Body, Problem> {
    let content_length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if content_length.is_some_and(|length: usize| length > limit) {
        return Err(too_large(limit));
    }
    let connection = request.conn_data::<ClientConnection>();
    let reservation = connection.map(ClientConnection::budget).map(|budget| from.reserve(&budget));
    let reservation = reservation.transpose().map_err(|_| budget_exhausted())?;
    let timeout = || Problem::new(Code::BodyTimeout, "the whole body must arrive within 10 seconds");
    tokio::time::timeout(BODY_TIMEOUT, collect(payload, limit, content_length, connection, reservation))
        .await
        .map_err(|_| timeout())?
}

async fn collect(
    mut payload: Payload,
    limit: usize,
    content_length: Option<usize>,
    connection: Option<&ClientConnection>,
    mut reservation: Option<Reservation>,
) -> Result<Body, Problem> {
    let pool: Option<Arc<BlockPool>> = reservation.as_ref().map(|reservation| reservation.budget().block_pool());
    let mut blocks: Vec<Block> = Vec::new();
    let mut length = 0;
    loop {
        let next = poll_fn(|cx| {
            if reservation.as_ref().is_some_and(|reservation| reservation.poll_evicted(cx).is_ready()) {
                return Poll::Ready(Err(budget_exhausted()));
            }
            payload.poll_next_unpin(cx).map(Ok)
        });
        let Some(chunk) = next.await? else { break };
        let mut chunk = chunk
            .map_err(|_| Problem::new(Code::MalformedBody, "the connection was closed before the end of the body"))?;
        length += chunk.len();
        if length > limit {
            return Err(too_large(limit));
        }
        if let Some(reservation) = &mut reservation {
            let in_transit = if length > BLOCK_SIZE { IN_TRANSIT } else { 0 };
            let charged = length.next_multiple_of(BLOCK_SIZE) + in_transit;
            poll_fn(|cx| poll_grow(reservation, connection, charged, cx)).await?;
        }
        while !chunk.is_empty() {
            let filled = blocks.last_mut().map_or(0, |block| block.fill(&chunk));
            chunk.advance(filled);
            if !chunk.is_empty() {
                let small = content_length.filter(|bytes| blocks.is_empty() && *bytes < BLOCK_SIZE);
                blocks.push(small.map_or_else(|| Block::take_from(pool.as_ref()), Block::unpooled));
            }
        }
    }
    let bytes = if blocks.len() == 1 { blocks.remove(0).into_bytes() } else { concat(blocks, length) };
    if let Some(reservation) = &mut reservation {
        // Complete: it is no longer a candidate for eviction.
        reservation.set_stalled(None);
    }
    Ok(Body { bytes, _reservation: reservation })
}

impl Body {
    /// The body as `coding` encodes it, of at most `limit` bytes, or itself if it is not encoded.
    ///
    /// # Errors
    /// As [`read_from`], and `malformed_body` if it cannot be decoded.
    pub(super) async fn decode(
        self,
        coding: ContentCoding,
        from: BodySender,
        request: &HttpRequest,
        limit: usize,
    ) -> Result<Self, Problem> {
        let Some(mut reader) = coding.reader(&self.bytes) else {
            return Ok(self);
        };
        let connection = request.conn_data::<ClientConnection>();
        let reservation = connection.map(ClientConnection::budget).map(|budget| from.reserve(&budget));
        let mut reservation = reservation.transpose().map_err(|_| budget_exhausted())?;
        let mut bytes = Vec::new();
        loop {
            let room = (bytes.len() * 2).max(BLOCK_SIZE).min(limit + 1);
            if let Some(reservation) = &mut reservation {
                poll_fn(|cx| poll_grow(reservation, connection, room, cx)).await?;
            }
            bytes.reserve_exact(room - bytes.len());
            let missing = room - bytes.len();
            let read = reader.by_ref().take(missing as u64).read_to_end(&mut bytes).map_err(|_| {
                Problem::new(
                    Code::MalformedBody,
                    "the body is not encoded as Content-Encoding says, or it is incomplete",
                )
            })?;
            if bytes.len() > limit {
                return Err(too_large(limit));
            }
            if read < missing {
                break;
            }
        }
        drop(reader);
        if let Some(reservation) = &mut reservation {
            reservation.set_stalled(None);
        }
        Ok(Self { bytes, _reservation: reservation })
    }
}

/// Joins the blocks. Each is returned to the pool as soon as it is copied.
fn concat(blocks: Vec<Block>, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    for block in blocks {
        bytes.extend_from_slice(block.as_ref());
    }
    bytes
}

/// Raises the reservation to `bytes`. Pauses reading from the client until there is room.
fn poll_grow(
    reservation: &mut Reservation,
    connection: Option<&ClientConnection>,
    bytes: usize,
    cx: &Context<'_>,
) -> Poll<Result<(), Problem>> {
    let raised = reservation.poll_grow_to(cx, bytes).map_err(|_| budget_exhausted());
    if let Some(connection) = connection
        && connection.is_paused() != raised.is_pending()
    {
        connection.set_paused(raised.is_pending());
        cx.waker().wake_by_ref();
    }
    raised
}

/// The budget for unauthenticated bodies is used up.
fn budget_exhausted() -> Problem {
    Problem {
        retry_after: Some(Duration::from_secs(2)),
        ..Problem::new(Code::TemporaryReducedCapacity, "the memory budget for request bodies is used up; try again")
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("the body must have at most {limit} bytes"))
}

/// The fields in the body of an API request: a JSON object, or a form for clients of the old API. An empty body has no
/// fields. `curl -d` labels JSON as a form, so a body that starts with `{` is JSON there and without a label.
///
/// # Errors
/// As [`read`], `unsupported_media_type`, and `malformed_body` for JSON that is not one object without duplicate keys.
pub(super) async fn fields(request: &HttpRequest, payload: Payload) -> Result<Map<String, Value>, Problem> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = header(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let encoding = header(header::CONTENT_ENCODING).trim();
    let body = read(request, payload, MAX_API_BODY).await?;
    let body = body.strip_prefix(UTF8_BOM).unwrap_or(&body);
    if body.is_empty() {
        return Ok(Map::new());
    }
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
        return Err(Problem::new(Code::UnsupportedMediaType, "send the body without `Content-Encoding`"));
    }
    let is_form = match essence.as_str() {
        "application/x-www-form-urlencoded" | "" => !body.trim_ascii_start().starts_with(b"{"),
        json if json == "application/json" || json.ends_with("+json") => false,
        _ => return Err(Problem::new(Code::UnsupportedMediaType, "send `Content-Type: application/json`")),
    };
    if is_form {
        return Ok(query::form(body));
    }
    match strict_json(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::new(Code::MalformedBody, "expected a JSON object")),
        Err(error) => {
            let fault = if error.is_data() { "a key occurs twice in one object" } else { "not JSON" };
            let detail = format!("{fault} at line {} column {}", error.line(), error.column());
            Err(Problem::new(Code::MalformedBody, detail))
        }
    }
}
