//! Reading a body: bounded in size, and in time to the last byte.

use std::{ops::Deref, time::Duration};

use actix_web::{
    HttpRequest,
    http::header,
    web::{BytesMut, Payload},
};
use futures_util::StreamExt as _;
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::problem::{Code, Problem};
use crate::gateway::strict_json;

/// Own API.
pub(super) const API: usize = 64 * 1024;
/// Gateways batch.
pub(super) const WEBHOOK: usize = 3 * 1024 * 1024;
/// From the head to the last byte.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bodies larger than [`API`] that are in memory at the same time: strangers send them too, and it is only known who
/// sends when all of it is there. Others wait, within their deadline.
static LARGE: Semaphore = Semaphore::const_new(16);

/// A body, and its place among the large ones.
#[derive(Default)]
pub(super) struct Body {
    bytes: BytesMut,
    place: Option<SemaphorePermit<'static>>,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The whole body, or the problem with it.
pub(super) async fn read(request: &HttpRequest, payload: Payload, limit: usize) -> Result<Body, Problem> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > limit) {
        return Err(too_large(limit));
    }
    let timeout = || Problem::new(Code::BodyTimeout, "the whole body must arrive within 10 seconds");
    tokio::time::timeout(DEADLINE, collect(payload, limit, announced)).await.map_err(|_| timeout())?
}

async fn collect(mut payload: Payload, limit: usize, announced: Option<usize>) -> Result<Body, Problem> {
    let mut body = Body::default();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::new(Code::MalformedBody, "the body broke off"))?;
        if body.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        if body.len() + chunk.len() > API && body.place.is_none() {
            body.place = LARGE.acquire().await.ok();
            // All at once: growing by doubling takes twice as much.
            body.bytes.reserve(announced.unwrap_or(limit).saturating_sub(body.len()));
        }
        body.bytes.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("at most {limit} bytes are read here"))
}

/// A JSON object of the own API. An empty body counts as `{}`.
pub(super) async fn object(request: &HttpRequest, payload: Payload) -> Result<Map<String, Value>, Problem> {
    let media = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let body = read(request, payload, API).await?;
    if body.is_empty() {
        return Ok(Map::new());
    }
    if essence != "application/json" && !essence.ends_with("+json") {
        let detail = "send `Content-Type: application/json`";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    match strict_json(&body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::new(Code::MalformedBody, "expected a JSON object")),
        Err(error) => {
            let fault = if error.is_data() { "a key occurs twice in one object" } else { "not JSON" };
            let place = format!("{fault} at line {} column {}", error.line(), error.column());
            Err(Problem::new(Code::MalformedBody, place))
        }
    }
}
