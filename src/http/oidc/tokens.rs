//! The token and userinfo endpoints, which clients call.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header, header::HeaderValue},
    web::{Data, Path, Payload},
};
use serde::Serialize;

use super::{allow_any_origin, client_auth, form, issuer};
use crate::{
    api::oidc::ErrorResponse,
    domain::oidc::{AccessTokenRequest, ErrorCode, Parameters, ProtocolError},
    http::{
        PublicState,
        address_limit::RequestKind,
        auth,
        context::Cx,
        problem::{Code, Problem},
    },
    service::{Instance, RequestContext, oidc::TokenError},
};

const UNAVAILABLE: ProtocolError = ProtocolError::new(ErrorCode::TemporarilyUnavailable, "try again in a moment");
const TOO_MANY: ProtocolError =
    ProtocolError::new(ErrorCode::TemporarilyUnavailable, "too many wrong secrets or tokens from this address");
const TOO_LARGE: ProtocolError =
    ProtocolError::new(ErrorCode::InvalidRequest, "the body is too large, too slow or incomplete");
const FAILED: ProtocolError = ProtocolError::new(ErrorCode::ServerError, "see the log of the server");
const NO_TOKEN: ProtocolError =
    ProtocolError::new(ErrorCode::InvalidToken, "send the access token as Authorization: Bearer");

/// `POST …/token`
pub(super) async fn token(
    state: Data<PublicState>,
    cx: Cx,
    instance: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    answer(&state, &cx, &instance, &request, payload, async |instance, fields| {
        let authorization = request.headers().get(header::AUTHORIZATION);
        let authorization = authorization.map(|value| value.to_str().unwrap_or_default());
        let client = client_auth::authenticate(&instance.config.clients, authorization, fields)?;
        state.services.oidc.exchange_code(&cx, instance, client, &AccessTokenRequest::read(fields)?).await
    })
    .await
}

/// `GET` and `POST …/userinfo`. The token is in the header, or in the form (RFC 6750, 2.2); never in the query, which
/// logs hold.
pub(super) async fn user_info(
    state: Data<PublicState>,
    cx: Cx,
    instance: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    answer(&state, &cx, &instance, &request, payload, async |instance, fields| {
        let token = match (auth::bearer(&request), fields.get("access_token")?) {
            (Some(token), None) | (None, Some(token)) => token,
            (None, None) => return Err(NO_TOKEN.into()),
            (Some(_), Some(_)) => {
                return Err(
                    ProtocolError::new(ErrorCode::InvalidRequest, "the access token is sent in two ways").into()
                );
            }
        };
        state.services.oidc.user_info(&cx, instance, token).await
    })
    .await
}

/// Reads the form for `work`, and responds with its answer or its error. An unknown issuer is a wrong URL: not an error
/// of the protocol.
async fn answer<T: Serialize>(
    state: &PublicState,
    cx: &RequestContext,
    instance: &str,
    request: &HttpRequest,
    payload: Payload,
    work: impl AsyncFnOnce(&Arc<Instance>, &Parameters) -> Result<T, TokenError>,
) -> Result<HttpResponse, Problem> {
    let instance = issuer(state, instance)?;
    let result = match form(request, payload).await {
        Ok(fields) => work(&instance, &fields).await,
        Err(problem) => Err(of_problem(&problem).into()),
    };
    Ok(respond(state, cx, request, result).await)
}

/// The answer as JSON, which no cache keeps. Wrong secrets and tokens are counted for the address.
async fn respond<T: Serialize>(
    state: &PublicState,
    cx: &RequestContext,
    request: &HttpRequest,
    result: Result<T, TokenError>,
) -> HttpResponse {
    let mut response = match result {
        Ok(answer) => HttpResponse::Ok().json(answer),
        Err(error) => {
            let mut error = of_error(error);
            let mut retry_after = (error.code == ErrorCode::TemporarilyUnavailable).then_some("2".to_owned());
            if matches!(error.code, ErrorCode::InvalidClient | ErrorCode::InvalidToken) {
                let counted = state.address_limiter.count(state, cx, request, None, RequestKind::WrongToken).await;
                if let Some(wait) = counted.retry_after {
                    error = TOO_MANY;
                    retry_after = Some(wait.as_secs().saturating_add(1).to_string());
                }
            }
            refusal(error, retry_after)
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    allow_any_origin(&mut response);
    response
}

fn refusal(error: ProtocolError, retry_after: Option<String>) -> HttpResponse {
    let ProtocolError { code, description } = error;
    let (status, challenge) = match code {
        ErrorCode::InvalidClient => (StatusCode::UNAUTHORIZED, Some("Basic realm=\"token\"".to_owned())),
        // Without any token, the challenge names no error (RFC 6750, 3.1).
        ErrorCode::InvalidToken if error == NO_TOKEN => (StatusCode::UNAUTHORIZED, Some("Bearer".to_owned())),
        ErrorCode::InvalidToken => {
            let challenge = format!("Bearer error=\"{code}\", error_description=\"{description}\"");
            (StatusCode::UNAUTHORIZED, Some(challenge))
        }
        ErrorCode::TemporarilyUnavailable if error == TOO_MANY => (StatusCode::TOO_MANY_REQUESTS, None),
        ErrorCode::TemporarilyUnavailable => (StatusCode::SERVICE_UNAVAILABLE, None),
        ErrorCode::ServerError => (StatusCode::INTERNAL_SERVER_ERROR, None),
        ErrorCode::InvalidRequest
        | ErrorCode::AccessDenied
        | ErrorCode::UnsupportedResponseType
        | ErrorCode::InvalidScope
        | ErrorCode::LoginRequired
        | ErrorCode::RequestNotSupported
        | ErrorCode::RequestUriNotSupported
        | ErrorCode::RegistrationNotSupported
        | ErrorCode::InvalidGrant
        | ErrorCode::UnsupportedGrantType => (StatusCode::BAD_REQUEST, None),
    };
    let mut response = HttpResponse::build(status);
    if let Some(challenge) = challenge {
        response.insert_header((header::WWW_AUTHENTICATE, challenge));
    }
    if let Some(seconds) = retry_after {
        response.insert_header((header::RETRY_AFTER, seconds));
    }
    response.json(ErrorResponse { error: code, error_description: description })
}

fn of_error(error: TokenError) -> ProtocolError {
    match error {
        TokenError::Protocol(error) => error,
        // As for every other endpoint, the cause is logged and not shown.
        TokenError::Service(error) => of_problem(&error.into()),
    }
}

fn of_problem(problem: &Problem) -> ProtocolError {
    match problem.code {
        Code::BodyTooLarge | Code::BodyTimeout | Code::MalformedBody => TOO_LARGE,
        Code::StoreUnavailable | Code::TemporaryReducedCapacity | Code::RateLimited => UNAVAILABLE,
        Code::Unauthenticated
        | Code::WebhookUnauthenticated
        | Code::InsufficientScope
        | Code::InstanceDisabled
        | Code::HandshakeRefused
        | Code::CrossSite
        | Code::NotFound
        | Code::MethodNotAllowed
        | Code::CodeUsed
        | Code::CodeNotActive
        | Code::AttemptsExhausted
        | Code::NothingToSend
        | Code::CodeExpired
        | Code::TokenSpent
        | Code::UnsupportedMediaType
        | Code::CodeWrong
        | Code::InvalidRequest
        | Code::IdempotencyKeyReused
        | Code::TokenRefused
        | Code::CodeLocked
        | Code::InstanceFull
        | Code::InternalError => FAILED,
    }
}
