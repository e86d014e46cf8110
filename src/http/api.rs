//! The JSON API under `/api/otp/v2/{instance}`.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Payload, Query},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    App, auth, body,
    problem::{Code, Problem},
    view,
};
use crate::{
    api::{
        limits::PHONE_ENDING,
        problem::FieldFault,
        verification::{Redeemed, Requests, STATUSES, TYPES},
    },
    domain::{Chat, VerificationId, scope::Scope, token::RedeemToken},
    service::{Filter, Idempotency, Mint, ServiceError, decode_cursor, input},
};

pub(super) type Answer = Result<HttpResponse, Problem>;

/// `POST …/generate-link`
pub(super) async fn generate_link(
    app: Data<App>,
    instance: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Answer {
    let caller = auth::caller(&app, &request, &instance, Scope::Mint).await?;
    let idempotency_key = idempotency_key(&request)?;
    let body = body::object(&request, payload).await?;
    let mint: Mint = input::mint(&body, &caller.instance).map_err(ServiceError::Invalid)?;
    let idempotency = idempotency_key.map(|key| Idempotency { key, body: Value::Object(body).to_string() });
    let warnings = mint.warnings.clone();
    let record = app.service.mint(&caller.instance, &caller.token, mint, idempotency).await?;
    let data = view::link(&app.service, &caller.instance, &record, &warnings);
    Ok(view::success("OTP link request created successfully", &data))
}

/// Quoted, as the draft writes it, or bare, as everybody does.
pub(super) fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if (1..=255).contains(&bare.len()) && !bare.contains('"') {
        return Ok(Some(bare.to_owned()));
    }
    Err(invalid("Idempotency-Key", "expected 1 to 255 visible ASCII characters"))
}

fn invalid(field: &str, detail: &str) -> Problem {
    ServiceError::Invalid(vec![FieldFault { field: field.to_owned(), detail: detail.to_owned() }]).into()
}

/// What a list can be asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    status: Option<String>,
    otp_type: Option<String>,
    chat_id: Option<String>,
    client_ref: Option<String>,
    phone_last: Option<String>,
    created_after: Option<String>,
    created_before: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

/// Enough digits to narrow a list, too few to be a number.
pub(super) fn is_ending(text: &str) -> bool {
    PHONE_ENDING.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `GET …/requests`
pub(super) async fn list(app: Data<App>, instance: Path<String>, request: HttpRequest) -> Answer {
    let caller = auth::caller(&app, &request, &instance, Scope::Read).await?;
    let query = Query::<ListQuery>::from_query(request.query_string())
        .map_err(|_| Problem::new(Code::InvalidRequest, "a query parameter occurs twice or cannot be decoded"))?;
    let mut faults = Vec::new();
    let mut fault = |field: &str, detail: &str| {
        faults.push(FieldFault { field: field.to_owned(), detail: detail.to_owned() });
    };
    let query = query.into_inner();
    if query.status.as_deref().is_some_and(|status| !STATUSES.contains(&status)) {
        fault("status", &format!("expected one of {}", STATUSES.join(", ")));
    }
    if query.otp_type.as_deref().is_some_and(|kind| !TYPES.contains(&kind)) {
        fault("otp_type", "expected link or code");
    }
    if query.phone_last.as_deref().is_some_and(|text| !is_ending(text)) {
        fault("phone_last", "expected the last 4 to 8 digits of a phone number");
    }
    let mut time = |field: &str, text: Option<&String>| {
        let parsed = text.map(|text| text.parse::<jiff::Timestamp>());
        if matches!(parsed, Some(Err(_))) {
            fault(field, "expected an RFC 3339 time such as 2026-11-20T10:00:00Z");
        }
        parsed.and_then(Result::ok)
    };
    let created_after = time("created_after", query.created_after.as_ref());
    let created_before = time("created_before", query.created_before.as_ref());
    let chat = query.chat_id.as_ref().map(|text| text.parse::<Chat>());
    if let Some(Err(why)) = &chat {
        fault("chat_id", &why.to_string());
    }
    let cursor = query.cursor.as_deref().map(decode_cursor);
    if matches!(cursor, Some(None)) {
        fault("cursor", "expected a next_cursor of an earlier page");
    }
    let limit = query.limit.as_deref().map_or(Some(50), |text| text.parse().ok());
    if limit.is_none_or(|limit: usize| !(1..=200).contains(&limit)) {
        fault("limit", "expected a whole number from 1 to 200");
    }
    if !faults.is_empty() {
        return Err(ServiceError::Invalid(faults).into());
    }
    let filter = Filter {
        status: query.status,
        otp_type: query.otp_type,
        chat: chat.and_then(Result::ok),
        client_ref: query.client_ref,
        phone_last: query.phone_last,
        created_after,
        created_before,
    };
    let found = app.service.list(&caller.instance, &filter, cursor.flatten(), limit.unwrap_or(50)).await?;
    let requests = found.records.iter();
    let requests = requests.map(|record| view::full(&app.service, &caller.instance, record, caller.sees_secrets()));
    Ok(view::success("OTP requests", &Requests { requests: requests.collect(), next_cursor: found.next_cursor }))
}

pub(super) async fn named(
    app: &App,
    request: &HttpRequest,
    path: &(String, String),
    scope: Scope,
) -> Result<(auth::Caller, VerificationId), Problem> {
    let caller = auth::caller(app, request, &path.0, scope).await?;
    let id = path.1.parse().map_err(|_| Problem::not_found())?;
    Ok((caller, id))
}

/// `GET …/requests/{uuid}`
pub(super) async fn get(app: Data<App>, path: Path<(String, String)>, request: HttpRequest) -> Answer {
    let (caller, id) = named(&app, &request, &path, Scope::Read).await?;
    let record = app.service.get(&caller.instance, id).await?;
    Ok(view::success("OTP request", &view::full(&app.service, &caller.instance, &record, caller.sees_secrets())))
}

/// `POST …/requests/{uuid}/cancel`
pub(super) async fn cancel(app: Data<App>, path: Path<(String, String)>, request: HttpRequest) -> Answer {
    let (caller, id) = named(&app, &request, &path, Scope::Admin).await?;
    let record = app.service.cancel(&caller.instance, id).await?;
    let message = if record.status(app.service.now()) == "canceled" {
        "OTP request canceled"
    } else {
        "OTP request had ended before"
    };
    Ok(view::success(message, &view::full(&app.service, &caller.instance, &record, caller.sees_secrets())))
}

/// `POST …/redeem`: `{token, verifier?}`, or `{uuid, code, verifier}` with the reply's code.
pub(super) async fn redeem(app: Data<App>, instance: Path<String>, request: HttpRequest, payload: Payload) -> Answer {
    let caller = auth::caller(&app, &request, &instance, Scope::Redeem).await?;
    let idempotency_key = idempotency_key(&request)?;
    let body = body::object(&request, payload).await?;
    let mut faults = Vec::new();
    let mut text = |name: &'static str| {
        let value = body.get(name).filter(|value| !value.is_null());
        if value.is_some_and(|value| !value.is_string()) {
            faults.push(FieldFault { field: name.to_owned(), detail: "expected a string".to_owned() });
        }
        value.and_then(Value::as_str)
    };
    let (token, uuid, code, verifier) = (text("token"), text("uuid"), text("code"), text("verifier"));
    if !faults.is_empty() {
        return Err(ServiceError::Invalid(faults).into());
    }
    let refused = || Problem::from(ServiceError::Refused);
    let idempotency = idempotency_key.map(|key| Idempotency { key, body: Value::from(body.clone()).to_string() });
    let redeemed = match (token, uuid, code) {
        (Some(token), _, _) => {
            let token: RedeemToken = token.parse().map_err(|_| refused())?;
            app.service.redeem(&caller.instance, &token, verifier, idempotency).await?
        }
        (None, Some(uuid), Some(code)) => {
            let id: VerificationId = uuid.parse().map_err(|_| refused())?;
            app.service.redeem_code(&caller.instance, id, code, verifier, idempotency).await?
        }
        _ => return Err(invalid("token", "is missing: the token of the redirect, or uuid and code of the reply")),
    };
    Ok(view::success("Login confirmed", &Redeemed::of(&redeemed.record)))
}
