//! The forms of the start page: binding to the browser, renewal, completion, and the code from the reply.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Payload},
};
use serde_json::json;

use super::{
    errors::unavailable_page,
    layout::{PageResult, see_other, set_security_headers},
    visitor::{self, Visitor},
};
use crate::{
    domain::{
        binding::WhatsAppDevice,
        token::{Token, TokenKind},
    },
    http::{
        PublicState,
        context::Cx,
        problem::{self, Problem},
    },
    service::{EnteredCode, RequestContext},
};

/// `POST /l/{handle}`: binds the login to this browser (`do` is absent), renews an expired link (`renew`), or
/// completes the login in the waiting page (`finish`).
pub(crate) async fn submit(
    state: Data<PublicState>,
    cx: Cx,
    handle: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> PageResult {
    let visitor = Visitor::new(&state, &request);
    let result = try_submit(&state, &cx, &handle, &visitor, &request, payload).await;
    result.or_else(|problem| visitor.form_error(&state, problem, &format!("/l/{handle}")))
}

async fn try_submit(
    state: &PublicState,
    cx: &RequestContext,
    handle: &str,
    visitor: &Visitor,
    request: &HttpRequest,
    payload: Payload,
) -> PageResult {
    let form = visitor::same_origin_form(state, request, payload, visitor::MAX_FORM_LEN).await?;
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let handle: Token = handle.parse().map_err(|_| Problem::not_found())?;
    let services = &state.services;
    match field("do") {
        "renew" => {
            let renewed = services.completion.renew(cx, &handle, &visitor.cookies, field("form")).await;
            return problem::respond_limited(renewed, |fresh| {
                see_other(&visitor.path(state, &format!("/l/{fresh}"), ""))
            });
        }
        "finish" => {
            let redirect = services.completion.finish(cx, &handle, visitor.browser(), field("form")).await?;
            let page = || visitor.path(state, &format!("/l/{handle}"), "");
            return Ok(see_other(&redirect.map_or_else(page, String::from)));
        }
        _ => {}
    }
    let place = if field("place") == "qr" { WhatsAppDevice::Other } else { WhatsAppDevice::Same };
    let automatic = field("auto") == "1";
    let start =
        services.completion.bind_browser(cx, &handle, visitor.browser(), field("form"), place, automatic).await?;
    let bound_device = start
        .record
        .details
        .binding
        .as_ref()
        .filter(|_| start.is_bound_browser)
        .map(|binding| binding.whatsapp_device.as_str());
    if visitor.wants_json {
        let mut response = HttpResponse::Ok();
        set_security_headers(&mut response, &[], None, None);
        let body = json!({ "state": start.state.as_str(), "place": bound_device }).to_string();
        return Ok(response.content_type("application/json").body(body));
    }
    Ok(see_other(&visitor.path(state, &format!("/l/{handle}"), bound_device.unwrap_or_default())))
}

/// `GET /l/{handle}/code`: a browser loads the address of the form again, as when it restores a tab after an error.
pub(crate) async fn code_form(state: Data<PublicState>, handle: Path<String>, request: HttpRequest) -> HttpResponse {
    let visitor = Visitor::new(&state, &request);
    let handle = handle.parse().ok().filter(|handle| state.services.env.keys.verify_id_mac(handle, TokenKind::Handle));
    match handle {
        Some(handle) => see_other(&visitor.path(&state, &format!("/l/{handle}"), "")),
        None => unavailable_page(&state, &visitor),
    }
}

/// `POST /l/{handle}/code`
pub(crate) async fn submit_code(
    state: Data<PublicState>,
    cx: Cx,
    handle: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> PageResult {
    let visitor = Visitor::new(&state, &request);
    let result = try_submit_code(&state, &cx, &handle, &visitor, &request, payload).await;
    result.or_else(|problem| visitor.form_error(&state, problem, &format!("/l/{handle}")))
}

async fn try_submit_code(
    state: &PublicState,
    cx: &RequestContext,
    handle: &str,
    visitor: &Visitor,
    request: &HttpRequest,
    payload: Payload,
) -> PageResult {
    let form = visitor::same_origin_form(state, request, payload, visitor::MAX_FORM_LEN).await?;
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let handle: Token = handle.parse().map_err(|_| Problem::not_found())?;
    let services = &state.services;
    let entered = services.completion.enter_code(cx, &handle, visitor.browser(), field("form"), field("code")).await?;
    Ok(match entered {
        EnteredCode::Correct { redirect: Some(url) } => see_other(url.as_str()),
        // The page says whether the code was right, and how many tries are left.
        EnteredCode::Correct { redirect: None } | EnteredCode::Wrong => {
            see_other(&visitor.path(state, &format!("/l/{handle}"), ""))
        }
    })
}
