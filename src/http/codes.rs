//! `parse-code`, `validate-code` and `resend`.

use actix_web::{
    HttpRequest,
    web::{Data, Path, Payload},
};
use serde_json::Value;

use super::{
    PublicState,
    api::{ApiResult, authenticate_for_request, idempotency_key},
    auth, body,
    context::Cx,
    problem, view,
};
use crate::{
    api::verification::Validated,
    domain::{chat_state::LockoutPolicy, scope::Scope},
    service::{
        Idempotency,
        code_request::{self, CodeSelector},
    },
};

/// `POST …/parse-code`
pub(super) async fn request(
    state: Data<PublicState>,
    cx: Cx,
    instance: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> ApiResult {
    let caller = auth::authenticate(&state, &cx, &request, &instance, Scope::Send).await?;
    let idempotency_key = idempotency_key(&request)?;
    let body = body::fields(&request, payload).await?;
    let input = code_request::parse(&body, &caller.instance)?;
    // The prefix distinguishes this request from one for a link with the same key and body.
    let idempotency = idempotency_key.map(|key| Idempotency { key, body: format!("code {}", Value::Object(body)) });
    let warnings = input.warnings.clone();
    let requested = state.services.codes.request(&cx, &caller.instance, &caller.token, input, idempotency).await;
    problem::respond_limited(requested, |record| {
        let data = view::code(&state.services, &caller.instance, &record, &warnings);
        view::success("OTP code generated and message queued successfully", &data)
    })
}

/// `POST …/validate-code`
pub(super) async fn validate(
    state: Data<PublicState>,
    cx: Cx,
    instance: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> ApiResult {
    let caller = auth::authenticate(&state, &cx, &request, &instance, Scope::Validate).await?;
    let idempotency_key = idempotency_key(&request)?;
    let body = body::fields(&request, payload).await?;
    let typed = code_request::parse_validation(&body)?;
    let policy = LockoutPolicy {
        max_per_window: caller.instance.config.limits.wrong_codes,
        full_window: false,
        lockout: caller.instance.config.codes.locked_for,
    };
    let idempotency = idempotency_key.map(|key| Idempotency { key, body: Value::Object(body).to_string() });
    let validated =
        state.services.codes.validate(&cx, &caller.instance, &caller.token, &typed, policy, idempotency).await;
    problem::respond_limited(validated, |record| {
        let data = Validated {
            uuid: record.id,
            chat_id: match &typed.selector {
                CodeSelector::Chat(chat) => chat.as_given().to_owned(),
                // An erased request has no chat, and none of its codes is valid.
                CodeSelector::Request(_) => record.chat_id().unwrap_or_default(),
            },
            status: record.status(state.services.env.store.now()),
            validated_at: record.ended_at().unwrap_or_else(|| state.services.env.store.now()).into(),
            test: record.request.test.then_some(true),
        };
        view::success("OTP code validated successfully", &data)
    })
}

/// `POST …/requests/{uuid}/resend`
pub(super) async fn resend(
    state: Data<PublicState>,
    cx: Cx,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> ApiResult {
    let (caller, id) = authenticate_for_request(&state, &cx, &request, &path, Scope::Send).await?;
    problem::respond_limited(state.services.codes.resend(&cx, &caller.instance, id).await, |record| {
        view::success("OTP code queued again", &view::code(&state.services, &caller.instance, &record, &[]))
    })
}
