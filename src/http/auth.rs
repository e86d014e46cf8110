//! Who calls: the bearer token, and for those who guess, their address.

use std::sync::Arc;

use actix_web::{HttpRequest, http::header};

use super::{
    App,
    gate::Knock,
    problem::{Code, Problem},
};
use crate::{
    domain::{
        InstanceId,
        scope::{Scope, Scopes},
        token::Token,
    },
    service::{self, Denied, Grant, Instance},
    trace_context,
};

/// A caller and the instance it may use.
pub(super) struct Caller {
    pub(super) instance: Arc<Instance>,
    /// Names its quota.
    pub(super) token: String,
    scopes: Scopes,
}

impl Caller {
    /// Whether it may see codes and links that wait for a person.
    pub(super) fn sees_secrets(&self) -> bool {
        self.scopes.hold(Scope::ReadSecrets)
    }
}

/// The instance in the path, for the token in the header, if the token may do this.
pub(super) async fn caller(app: &App, request: &HttpRequest, instance: &str, scope: Scope) -> Result<Caller, Problem> {
    let token = bearer(request).unwrap_or_default();
    admit(app, request, instance.parse().ok(), token, scope).await
}

/// As [`caller`], of credentials that stand elsewhere.
pub(super) async fn admit(
    app: &App,
    request: &HttpRequest,
    instance: Option<InstanceId>,
    token: &str,
    scope: Scope,
) -> Result<Caller, Problem> {
    let (instance, Grant { by, scopes }) = match app.service.instances.authorize(instance, token, app.service.now()) {
        Ok(opened) => opened,
        Err(Denied::NotFound) => return Err(Problem::not_found()),
        Err(Denied::Unauthorized) => return Err(refuse(app, request).await),
        Err(Denied::Ended { id }) => {
            tracing::warn!(token = id, "an API token was used after its end");
            return Err(Problem::new(Code::Unauthenticated, format!("the token {id:?} has reached its end date")));
        }
    };
    service::done_by(by, Some(instance.config.id));
    trace_context::go_on();
    if !scopes.hold(scope) {
        return Err(Problem::out_of_scope(scope, scopes));
    }
    Ok(Caller { instance, token: token.to_owned(), scopes })
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
