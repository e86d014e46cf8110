//! The authorization endpoint, and the page between the request and the link.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Data, Path, Payload},
};
use url::Url;

use super::{
    MAX_BODY, form, issuer,
    page::{self, ConsentPage},
    query,
};
use crate::{
    domain::{
        Language,
        oidc::{Accepted, Client, ErrorCode, Parameters, ProtocolError, Refused, authorize},
        token::RedeemToken,
    },
    http::{
        PublicState,
        context::Cx,
        pages::{PageResponse, PageResult, PageStyle, Visitor, same_origin_form, see_other},
        problem::{self, Problem},
    },
    service::{Instance, RequestContext, oidc::PageRequest},
};

const UNAVAILABLE: ProtocolError =
    ProtocolError::new(ErrorCode::TemporarilyUnavailable, "this issuer takes no logins at the moment");
const DENIED: ProtocolError = ProtocolError::new(ErrorCode::AccessDenied, "the person declined");
const NO_REQUEST: ProtocolError =
    ProtocolError::new(ErrorCode::InvalidRequest, "the authorization request is missing or too old");

/// `GET …/authorize`: stores nothing; a new browser gets a random cookie.
pub(super) async fn get(state: Data<PublicState>, instance: Path<String>, request: HttpRequest) -> PageResult {
    let instance = issuer(&state, &instance)?;
    let mut visitor = Visitor::new(&state, &request);
    Ok(match accept(&state, &instance, &visitor, &query(&request)) {
        Ok(accepted) => consent_page(&state, &instance, &mut visitor, &accepted),
        Err(refusal) => refusal,
    })
}

/// `POST …/authorize`. Browsers withhold our cookie from a form of another site, and would replace it by a new one, so
/// the request continues as a GET.
pub(super) async fn post(
    state: Data<PublicState>,
    instance: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> PageResult {
    let instance = issuer(&state, &instance)?;
    let visitor = Visitor::new(&state, &request);
    let parameters = form(&request, payload).await?;
    Ok(match accept(&state, &instance, &visitor, &parameters) {
        Ok(accepted) => {
            let sealed = state.services.oidc.seal_request(&instance, &accepted, None);
            see_other(&format!("{}/continue?request={sealed}", state.services.env.public_url.issuer(&instance)))
        }
        Err(refusal) => refusal,
    })
}

/// `GET …/continue`: the page of a request that was posted.
pub(super) async fn page(state: Data<PublicState>, instance: Path<String>, request: HttpRequest) -> PageResult {
    let instance = issuer(&state, &instance)?;
    let mut visitor = Visitor::new(&state, &request);
    let parameters = query(&request);
    let sealed = parameters.advice("request").unwrap_or_default();
    let opened = state.services.oidc.open_request(&instance, sealed, state.services.env.store.now());
    Ok(match opened {
        Ok(request) => consent_page(&state, &instance, &mut visitor, &request),
        Err(_) => page::error_page(&state, &visitor, NO_REQUEST),
    })
}

/// `POST …/continue`: the tap on the page, which creates the link for this browser, or declines.
pub(super) async fn tap(
    state: Data<PublicState>,
    cx: Cx,
    instance: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> PageResult {
    let instance = issuer(&state, &instance)?;
    let visitor = Visitor::new(&state, &request);
    let back = format!("/oidc/{}/continue", instance.config.id);
    let result = try_tap(&state, &cx, &instance, &visitor, &request, payload).await;
    result.or_else(|problem| visitor.error_response(&state, problem, &back))
}

async fn try_tap(
    state: &PublicState,
    cx: &RequestContext,
    instance: &Arc<Instance>,
    visitor: &Visitor,
    request: &HttpRequest,
    payload: Payload,
) -> PageResult {
    let fields = same_origin_form(state, request, payload, MAX_BODY).await?;
    let sealed = fields.get("request").map(String::as_str).unwrap_or_default();
    let services = &state.services;
    if fields.get("do").is_some_and(|action| action == "cancel") {
        let (opened, _) = services.oidc.open_page(cx, instance, sealed, &visitor.cookies)?;
        let response = services.env.public_url.error_response(instance, opened.authorization.to, DENIED);
        return Ok(page::send(state, visitor, &response));
    }
    let begun = services.oidc.begin(cx, instance, sealed, visitor.browser()).await;
    problem::respond_limited(begun, |handle| see_other(&services.env.public_url.absolute(&format!("/l/{handle}"))))
}

/// `GET …/response`: posts the code to a client that requested `form_post`.
pub(super) async fn response(
    state: Data<PublicState>,
    cx: Cx,
    instance: Path<String>,
    request: HttpRequest,
) -> PageResult {
    let instance = issuer(&state, &instance)?;
    let visitor = Visitor::new(&state, &request);
    let parameters = query(&request);
    let code = parameters.advice("code").unwrap_or_default().parse::<RedeemToken>();
    let code = code.map_err(|_| Problem::not_found())?;
    let result = state.services.oidc.form_response(&cx, &instance, &code, &visitor.cookies).await;
    match result {
        Ok(response) => Ok(page::send(&state, &visitor, &response)),
        Err(error) => visitor.error_response(&state, error.into(), "/"),
    }
}

/// The accepted request, or the response that refuses it.
#[expect(clippy::result_large_err, reason = "the response is the answer, not an error that is passed on")]
fn accept(
    state: &PublicState,
    instance: &Instance,
    visitor: &Visitor,
    parameters: &Parameters,
) -> Result<PageRequest, HttpResponse> {
    let clients = &instance.config.clients;
    let (to, error) = match authorize(parameters, clients) {
        Ok(accepted) if is_ready(state, instance, &accepted) => {
            let language = visitor.language_or(instance.config.lang).tag();
            return Ok(PageRequest::new(accepted, language, state.services.env.store.now()));
        }
        Ok(accepted) => (accepted.authorization.to, UNAVAILABLE),
        Err(Refused::Returned(to, error)) => (to, error),
        Err(Refused::Here(error)) => return Err(page::error_page(state, visitor, error)),
    };
    Err(page::send(state, visitor, &state.services.env.public_url.error_response(instance, to, error)))
}

/// Whether a login could be finished: a person should not send a message in vain.
fn is_ready(state: &PublicState, instance: &Instance, accepted: &Accepted) -> bool {
    let client = client(instance, &accepted.authorization.client);
    !instance.config.disabled
        && client.is_some_and(|client| state.services.oidc_keys.signer(client.algorithm).is_some())
}

fn client<'a>(instance: &'a Instance, id: &str) -> Option<&'a Client> {
    instance.config.clients.iter().find(|client| client.id == id)
}

fn consent_page(
    state: &PublicState,
    instance: &Instance,
    visitor: &mut Visitor,
    request: &PageRequest,
) -> HttpResponse {
    let Some(client) = client(instance, &request.authorization.client) else {
        return page::error_page(state, visitor, NO_REQUEST);
    };
    let set_cookie = visitor.ensure_cookie(state);
    let cookie = visitor.cookies.first().map(String::as_str);
    let language = Language::find(&request.lang).unwrap_or(instance.config.lang);
    let style = PageStyle::for_client(state, instance, client, language, visitor);
    let name = client.name.as_ref().unwrap_or(&instance.config.name);
    let page = ConsentPage {
        style: &style,
        title: style.texts.confirm_title.replace("<name>", name),
        purpose: client.purpose.as_deref().unwrap_or_default(),
        claims: page::claims(request.authorization.scopes, style.texts),
        action: format!("{}/continue", state.services.env.public_url.issuer(instance)),
        request: state.services.oidc.seal_request(instance, request, cookie),
    };
    let mut builder = PageResponse::new(&style);
    builder.redirects_to = Url::parse(&request.authorization.to.redirect_uri).ok();
    builder.set_cookie = set_cookie;
    builder.render(StatusCode::OK, &page)
}
