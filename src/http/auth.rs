//! Who calls: the bearer token, and for those who guess, their address.

use std::sync::Arc;

use actix_web::{HttpRequest, http::header};

use super::{
    App,
    gate::Knock,
    problem::{Code, Problem},
};
use crate::{
    domain::{InstanceId, token::Token},
    service::{Denied, Instance},
};

/// A caller and the instance it may use.
pub(super) struct Caller {
    pub(super) instance: Arc<Instance>,
    /// Names its quota.
    pub(super) token: String,
}

/// The instance in the path, for the token in the header.
pub(super) async fn caller(app: &App, request: &HttpRequest, instance: &str) -> Result<Caller, Problem> {
    let token = bearer(request).unwrap_or_default();
    let id: Option<InstanceId> = instance.parse().ok();
    match app.service.instances.authorize(id, token) {
        Ok(instance) => Ok(Caller { instance, token: token.to_owned() }),
        Err(Denied::NotFound) => Err(Problem::not_found()),
        Err(Denied::Unauthorized) => Err(refuse(app, request).await),
    }
}

pub(super) fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The bearer, when it has the form of a token that reads the state of one verification.
pub(super) fn poll_token(request: &HttpRequest) -> Option<Token> {
    bearer(request)?.parse().ok()
}

/// Counts a wrong token of an address; after too many it hears nothing about them for a while.
pub(super) async fn refuse(app: &App, request: &HttpRequest) -> Problem {
    match app.gate.knock(app, request, None, Knock::WrongToken).await {
        Some(wait) => Problem {
            retry_after: Some(wait),
            ..Problem::new(Code::RateLimited, "too many wrong tokens from this address")
        },
        None => Problem::unauthenticated(),
    }
}
