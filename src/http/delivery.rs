//! The delivery log under `…/callbacks`.

use actix_web::{
    HttpRequest,
    web::{Data, Path, Payload},
};
use serde_json::{Map, Value};
use url::Url;

use super::{PublicState, api::ApiResult, auth, body, context::Cx, problem, query, view};
use crate::{
    api::{
        callback::{CallbackDetails, CallbackPage, CallbackStatus, Header, LastAnswer, Replayed},
        limits::CALLBACKS_DEFAULT,
    },
    domain::{redirect, scope::Scope},
    reader::{Faults, Format, Reader},
    service::{Instance, callback_log::CallbackCursor},
};

/// `GET …/callbacks`: pending, delivered and dead callbacks, in pages.
pub(super) async fn list(state: Data<PublicState>, cx: Cx, instance: Path<String>, request: HttpRequest) -> ApiResult {
    let caller = auth::authenticate(&state, &cx, &request, &instance, Scope::Read).await?;
    let query = query::parse_query(&request);
    let mut f = query::reader(&query);
    let status = f.read("status", |text| CallbackStatus::parse(text).ok_or("expected pending, delivered or dead"));
    let limit = query::page_size(&mut f, CALLBACKS_DEFAULT);
    let cursor = f.read("cursor", |text| CallbackCursor::parse(text).ok_or("expected next_cursor of the page before"));
    let id = f.parsed("uuid", "the uuid of a request");
    f.finish(Some(()))?;
    let (callbacks, next) = match id {
        Some(id) => {
            let record = state.services.shared.verifications.get(&cx, &caller.instance, id).await?;
            let mut callbacks = state.services.callbacks.of_record(&cx, &caller.instance, &record).await?;
            callbacks.retain(|callback| status.is_none_or(|status| callback.status == status));
            callbacks.truncate(limit);
            (callbacks, None)
        }
        None => state.services.callbacks.list(&cx, &caller.instance, status, cursor.as_ref(), limit).await?,
    };
    let next_cursor = next.map(|next| next.to_string());
    Ok(view::success("Callbacks", &CallbackPage { callbacks, next_cursor }))
}

/// `GET …/callbacks/{id}`: one callback, with the body as it is sent.
pub(super) async fn get(
    state: Data<PublicState>,
    cx: Cx,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> ApiResult {
    let caller = auth::authenticate(&state, &cx, &request, &path.0, Scope::Read).await?;
    let (entry, body, answer) = state.services.callbacks.get(&cx, &caller.instance, &path.1).await?;
    let last_answer = answer.map(|(at, answer)| LastAnswer {
        at: at.into(),
        status: answer.status,
        headers: answer.headers.into_iter().map(|(name, value)| Header { name, value }).collect(),
        body: answer.body,
    });
    let data = CallbackDetails { entry, body, last_answer };
    Ok(view::success("Callback", &data))
}

/// `POST …/callbacks/{id}/replay`
pub(super) async fn replay(
    state: Data<PublicState>,
    cx: Cx,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> ApiResult {
    let caller = auth::authenticate(&state, &cx, &request, &path.0, Scope::Admin).await?;
    state.services.callbacks.replay(&cx, &caller.instance, &path.1).await?;
    Ok(view::success("Callback queued again", &Replayed { id: path.into_inner().1 }))
}

/// `POST …/callbacks/test`: a signed test event, which is attempted once.
pub(super) async fn test(
    state: Data<PublicState>,
    cx: Cx,
    instance: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> ApiResult {
    let caller = auth::authenticate(&state, &cx, &request, &instance, Scope::Admin).await?;
    let idempotency_key = super::api::idempotency_key(&request)?;
    let body = if request.headers().contains_key("content-type") {
        body::fields(&request, payload).await?
    } else {
        Map::new()
    };
    let url = test_url(&caller.instance, &body)?;
    let queued = state.services.callbacks.send_test(&cx, &caller.instance, &url, idempotency_key.as_deref()).await;
    problem::respond_limited(queued, |callback| view::success("Test callback queued", &callback))
}

/// The URL that receives the test: the one in the body, under the same rules as for a mint, otherwise the instance's
/// `callback_url`.
fn test_url(instance: &Instance, body: &Map<String, Value>) -> Result<String, Faults> {
    const EXPECTED: &str = "expected an https:// URL; without it the instance needs a callback_url";
    let mut f = Reader::new(Format::Json, "", body);
    let config = &instance.config;
    let url = if f.has("url") {
        f.read("url", |text| redirect::parse(text).ok_or(EXPECTED))
    } else {
        config.callback_url.clone()
    };
    let is_allowed = |url: &Url| url.fragment().is_none() && (url.scheme() == "https" || config.allow_http_callbacks);
    let url = url.filter(is_allowed);
    if url.is_none() && f.faults().is_empty() {
        f.fault("url", EXPECTED);
    }
    f.finish(url.map(String::from))
}
