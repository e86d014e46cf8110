//! Lets only operators with a session pass, and writes what they did to the audit log.

use actix_web::{
    Error, HttpMessage as _, HttpResponse, ResponseError as _,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::Next,
    web::Data,
};

use super::{OperatorState, layout::ProblemPage, login, session};
use crate::{
    http::{audit_entry, context},
    service::{Actor, RequestContext},
};

/// Middleware of all paths below `/requests`. Without configured operators everything is 404; without a session only
/// the login is reachable.
pub(super) async fn require_session(
    state: Data<OperatorState>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let access = state.access.load_full();
    if access.operators.is_empty() {
        return Ok(request.into_response(HttpResponse::NotFound().finish()).map_into_right_body());
    }
    let cx = context::attach(&request, RequestContext::background(&state.services.env.store));
    if request.path() == login::LOGIN_PATH {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let session = match session::active_session(&state, &cx, &access, request.headers()).await {
        Ok(session) => session,
        Err(problem) => {
            let page = ProblemPage::from(problem).error_response();
            return Ok(request.into_response(page).map_into_right_body());
        }
    };
    let Some(session) = session else {
        let page = login::login_page(StatusCode::UNAUTHORIZED, &access, "", "");
        return Ok(request.into_response(page).map_into_right_body());
    };
    cx.set_actor(Actor::Operator { name: session.name().to_owned() }, None);
    request.extensions_mut().insert(session);
    let action = format!("{} {}", request.method(), request.match_pattern().unwrap_or_default());
    let response = next.call(request).await?;
    audit_entry::write_entry(
        &state.services,
        &state.edge.load(),
        response.request(),
        &cx.action(),
        &action,
        response.status().as_u16(),
    );
    Ok(response.map_into_left_body())
}
