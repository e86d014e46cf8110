//! The JSON API under `/api/otp/v2/{instance}`.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Payload},
};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    PublicState, auth, body,
    context::Cx,
    problem::{self, Problem},
    query, view,
};
use crate::{
    api::{
        limits::{CLIENT_IP, IDEMPOTENCY_KEY, PHONE_ENDING, REQUESTS_DEFAULT, USER_AGENT},
        verification::{RedeemedView, Requests},
    },
    domain::{Chat, OtpType, Status, VerificationId, scope::Scope, token::RedeemToken},
    reader::{Format, Reader},
    service::{
        Filter, Idempotency, LinkRequest, ReplyCodeRedemption, RequestContext, ServiceError, decode_cursor,
        link_request,
    },
};

pub(super) type ApiResult = Result<HttpResponse, Problem>;

/// `POST …/generate-link`
pub(super) async fn generate_link(
    state: Data<PublicState>,
    cx: Cx,
    instance: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> ApiResult {
    let caller = auth::authenticate(&state, &cx, &request, &instance, Scope::Mint).await?;
    let idempotency_key = idempotency_key(&request)?;
    let body = body::fields(&request, payload).await?;
    let mint: LinkRequest = link_request::parse(&body, &caller.instance)?;
    let idempotency = idempotency_key.map(|key| Idempotency { key, body: Value::Object(body).to_string() });
    let warnings = mint.warnings.clone();
    let minted = state.services.links.create(&cx, &caller.instance, &caller.token, mint, idempotency).await;
    problem::respond_limited(minted, |record| {
        let data = view::link(&state.services, &caller.instance, &record, &warnings);
        view::success("OTP link request created successfully", &data)
    })
}

/// The `Idempotency-Key`: quoted, as in the draft, or bare, as in common use.
pub(super) fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let unquoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if IDEMPOTENCY_KEY.contains(&unquoted.len()) && !unquoted.contains('"') {
        return Ok(Some(unquoted.to_owned()));
    }
    Err(Problem::field("Idempotency-Key", "expected 1 to 255 visible ASCII characters"))
}

/// Whether `text` can be the end of a phone number: enough digits to narrow a list, too few to identify a number.
pub(super) fn is_phone_suffix(text: &str) -> bool {
    PHONE_ENDING.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_time(text: &str) -> Result<Timestamp, &'static str> {
    text.parse().map_err(|_| "expected an RFC 3339 time such as 2026-11-20T10:00:00Z")
}

/// `GET …/requests`
pub(super) async fn list(state: Data<PublicState>, cx: Cx, instance: Path<String>, request: HttpRequest) -> ApiResult {
    let caller = auth::authenticate(&state, &cx, &request, &instance, Scope::Read).await?;
    let query = query::parse_query(&request);
    let mut f = query::reader(&query);
    let statuses: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
    let statuses = format!("expected one of {}", statuses.join(", "));
    let filter = Filter {
        status: f.read("status", |text| Status::parse(text).ok_or_else(|| statuses.clone())),
        otp_type: f.read("otp_type", |text| OtpType::parse(text).ok_or("expected link or code")),
        phone_last: f.read("phone_last", |text| {
            let suffix = is_phone_suffix(text).then(|| text.to_owned());
            suffix.ok_or("expected the last 4 to 8 digits of a phone number")
        }),
        created_after: f.read("created_after", parse_time),
        created_before: f.read("created_before", parse_time),
        chat: f.read("chat_id", str::parse::<Chat>),
        client_ref: f.text("client_ref"),
    };
    let cursor = f.read("cursor", |text| decode_cursor(text).ok_or("expected a next_cursor of an earlier page"));
    let limit = query::page_size(&mut f, REQUESTS_DEFAULT);
    let filter = f.finish(Some(filter))?;
    let page = state.services.shared.verifications.list(&cx, &caller.instance, &filter, cursor, limit).await?;
    let requests = page.records.into_iter();
    let requests =
        requests.map(|record| view::request(&state.services, &caller.instance, record, caller.may_read_secrets()));
    Ok(view::success("OTP requests", &Requests { requests: requests.collect(), next_cursor: page.next_cursor }))
}

pub(super) async fn authenticate_for_request(
    state: &PublicState,
    cx: &RequestContext,
    request: &HttpRequest,
    path: &(String, String),
    scope: Scope,
) -> Result<(auth::Caller, VerificationId), Problem> {
    let caller = auth::authenticate(state, cx, request, &path.0, scope).await?;
    let id = path.1.parse().map_err(|_| Problem::not_found())?;
    Ok((caller, id))
}

/// `GET …/requests/{uuid}`
pub(super) async fn get(
    state: Data<PublicState>,
    cx: Cx,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> ApiResult {
    let (caller, id) = authenticate_for_request(&state, &cx, &request, &path, Scope::Read).await?;
    let record = state.services.shared.verifications.get(&cx, &caller.instance, id).await?;
    Ok(view::success(
        "OTP request",
        &view::request(&state.services, &caller.instance, record, caller.may_read_secrets()),
    ))
}

/// `POST …/requests/{uuid}/cancel`
pub(super) async fn cancel(
    state: Data<PublicState>,
    cx: Cx,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> ApiResult {
    let (caller, id) = authenticate_for_request(&state, &cx, &request, &path, Scope::Admin).await?;
    let record = state.services.shared.verifications.cancel(&cx, &caller.instance, id).await?;
    let message = if record.status(state.services.env.store.now()) == Status::Canceled {
        "OTP request canceled"
    } else {
        "OTP request had ended before"
    };
    Ok(view::success(message, &view::request(&state.services, &caller.instance, record, caller.may_read_secrets())))
}

/// `POST …/redeem`: `{token, verifier?}`, or `{uuid, code, verifier, client_ip?, user_agent?}` with the reply's code.
pub(super) async fn redeem(
    state: Data<PublicState>,
    cx: Cx,
    instance: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> ApiResult {
    let caller = auth::authenticate(&state, &cx, &request, &instance, Scope::Redeem).await?;
    let idempotency_key = idempotency_key(&request)?;
    let body = body::fields(&request, payload).await?;
    let mut f = Reader::new(Format::Json, "", &body);
    let (token, uuid, code) = (f.text("token"), f.text("uuid"), f.text("code"));
    let verifier = f.text("verifier");
    let user_agent = f.short_text("user_agent", USER_AGENT);
    let client_ip = f.read_short("client_ip", CLIENT_IP, |text| {
        text.parse().map_err(|_| "expected an IP address: of the browser in which the code was entered")
    });
    if token.is_none() && (uuid.is_none() || code.is_none()) && f.faults().is_empty() {
        f.fault("token", "is missing: the token of the redirect, or uuid and code of the reply");
    }
    f.finish(Some(()))?;
    let verifier = verifier.as_deref();
    let refused = || Problem::from(ServiceError::Refused);
    let idempotency = idempotency_key.map(|key| Idempotency { key, body: Value::from(body.clone()).to_string() });
    let redeemed = match (token, uuid, code) {
        (Some(token), _, _) => {
            let token: RedeemToken = token.parse().map_err(|_| refused())?;
            state.services.completion.redeem(&cx, &caller.instance, &token, verifier, idempotency).await?
        }
        (None, Some(uuid), Some(code)) => {
            let id: VerificationId = uuid.parse().map_err(|_| refused())?;
            let user_agent = user_agent.as_deref();
            let typed = ReplyCodeRedemption { id, code: &code, verifier, client_ip, user_agent };
            state.services.completion.redeem_code(&cx, &caller.instance, &typed, idempotency).await?
        }
        _ => return Err(refused()),
    };
    Ok(view::success("Login confirmed", &RedeemedView::of(&redeemed.record)))
}
