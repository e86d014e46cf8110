//! Authentication of API requests by bearer token. Wrong tokens are counted per address.

use std::sync::Arc;

use actix_web::{HttpRequest, http::header};

use super::{
    PublicState,
    address_limit::{CountResult, RequestKind},
    problem::{Code, Problem},
};
use crate::{
    domain::{
        InstanceId,
        scope::{Scope, Scopes},
        token::Token,
    },
    service::{AccessDenied, Grant, Instance, RequestContext},
    trace_context,
};

/// An authenticated caller and the instance it may use.
pub(super) struct Caller {
    pub(super) instance: Arc<Instance>,
    /// The token as presented; rate limits are counted per token.
    pub(super) token: String,
    scopes: Scopes,
}

impl Caller {
    /// Whether responses may contain codes and links that are still usable.
    pub(super) fn may_read_secrets(&self) -> bool {
        self.scopes.contains(Scope::ReadSecrets)
    }
}

/// Authenticates the bearer token for the instance in the path and checks that it has `scope`.
///
/// # Errors
/// `not_found` for an unknown instance, `unauthenticated` (or `rate_limited`, after too many) for a wrong token,
/// `insufficient_scope`.
pub(super) async fn authenticate(
    state: &PublicState,
    cx: &RequestContext,
    request: &HttpRequest,
    instance: &str,
    scope: Scope,
) -> Result<Caller, Problem> {
    let token = bearer(request).unwrap_or_default();
    authenticate_token(state, cx, request, state.services.env.instances.named(instance), token, scope).await
}

/// As [`authenticate`], with credentials that are not in the `Authorization` header. Without an instance, it is
/// determined by the token.
pub(super) async fn authenticate_token(
    state: &PublicState,
    cx: &RequestContext,
    request: &HttpRequest,
    instance: Option<InstanceId>,
    token: &str,
    scope: Scope,
) -> Result<Caller, Problem> {
    let (instance, Grant { actor: by, scopes }) =
        match state.services.env.instances.authorize(instance, token, state.services.env.store.now()) {
            Ok(opened) => opened,
            Err(AccessDenied::NotFound) => return Err(Problem::not_found()),
            Err(AccessDenied::Unauthorized) => return Err(count_wrong_token(state, cx, request).await),
            Err(AccessDenied::Expired { id }) => {
                tracing::warn!(token = id, "an expired API token was used");
                return Err(Problem::new(Code::Unauthenticated, format!("the token {id:?} has reached its end date")));
            }
        };
    cx.set_actor(by, Some(instance.config.id));
    trace_context::accept_parent();
    if !scopes.contains(scope) {
        return Err(Problem::insufficient_scope(scope, scopes));
    }
    Ok(Caller { instance, token: token.to_owned(), scopes })
}

pub(super) fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The bearer token, if it has the form of a poll token, which reads the state of one verification.
pub(super) fn poll_token(request: &HttpRequest) -> Option<Token> {
    bearer(request)?.parse().ok()
}

/// The problem for a wrong token. Counts it for the client's address; after too many the answer is `rate_limited`.
pub(super) async fn count_wrong_token(state: &PublicState, cx: &RequestContext, request: &HttpRequest) -> Problem {
    let CountResult { retry_after: wait, limit_statuses } =
        state.address_limiter.count(state, cx, request, None, RequestKind::WrongToken).await;
    let problem = match wait {
        Some(_) => Problem::new(Code::RateLimited, "too many wrong tokens from this address"),
        None => Problem::unauthenticated(),
    };
    Problem { retry_after: wait, limit_statuses, ..problem }
}
