//! `parse-code`, `validate-code` and `resend`.

use actix_web::{
    HttpRequest,
    web::{Data, Path, Payload},
};
use serde_json::Value;

use super::{
    PublicState,
    api::{Answer, idempotency_key, named},
    auth, body,
    context::Cx,
    limits, view,
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
    app: Data<PublicState>,
    cx: Cx,
    instance: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Answer {
    let caller = auth::authenticate(&app, &cx, &request, &instance, Scope::Send).await?;
    let idempotency_key = idempotency_key(&request)?;
    let body = body::json_object(&request, payload).await?;
    let input = code_request::parse(&body, &caller.instance)?;
    // The prefix distinguishes this request from one for a link with the same key and body.
    let idempotency = idempotency_key.map(|key| Idempotency { key, body: format!("code {}", Value::Object(body)) });
    let warnings = input.warnings.clone();
    let requested = app.service.request_code(&cx, &caller.instance, &caller.token, input, idempotency).await;
    limits::answer(requested, |record| {
        let data = view::code(&app.service, &caller.instance, &record, &warnings);
        view::success("OTP code generated and message queued successfully", &data)
    })
}

/// `POST …/validate-code`
pub(super) async fn validate(
    app: Data<PublicState>,
    cx: Cx,
    instance: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Answer {
    let caller = auth::authenticate(&app, &cx, &request, &instance, Scope::Validate).await?;
    let idempotency_key = idempotency_key(&request)?;
    let body = body::json_object(&request, payload).await?;
    let typed = code_request::parse_validation(&body)?;
    let policy = LockoutPolicy {
        max_per_window: caller.instance.config.limits.wrong_codes,
        full_window: false,
        lockout: caller.instance.config.codes.locked_for,
    };
    let idempotency = idempotency_key.map(|key| Idempotency { key, body: Value::Object(body).to_string() });
    let validated = app.service.validate(&cx, &caller.instance, &caller.token, &typed, policy, idempotency).await;
    limits::answer(validated, |record| {
        let data = Validated {
            uuid: record.id,
            chat_id: match &typed.selector {
                CodeSelector::Chat(chat) => chat.as_given().to_owned(),
                // An erased request has no chat, and none of its codes is valid.
                CodeSelector::Request(_) => record.chat_id().unwrap_or_default(),
            },
            status: record.status(app.service.now()),
            validated_at: record.ended_at().unwrap_or_else(|| app.service.now()).into(),
        };
        view::success("OTP code validated successfully", &data)
    })
}

/// `POST …/requests/{uuid}/resend`
pub(super) async fn resend(
    app: Data<PublicState>,
    cx: Cx,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> Answer {
    let (caller, id) = named(&app, &cx, &request, &path, Scope::Send).await?;
    limits::answer(app.service.resend(&cx, &caller.instance, id).await, |record| {
        view::success("OTP code queued again", &view::code(&app.service, &caller.instance, &record, &[]))
    })
}
