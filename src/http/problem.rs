//! Problems as HTTP responses: status, headers and body.
//!
//! Errors of the service and the store become problems here and nowhere else. Their causes are logged and never shown.

use std::time::Duration;

use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
};

use super::{rate_limit_headers, view::to_json};
pub use crate::api::problem::Code;
use crate::{
    api::problem::{FieldFault, ProblemBody},
    domain::{
        Reason,
        scope::{Scope, Scopes},
    },
    reader::{Fault, Faults},
    service::{LimitStatus, Limited, ServiceError},
    store::StoreError,
};

/// One problem and the details of this occurrence.
#[derive(Clone, Debug)]
pub struct Problem {
    pub code: Code,
    pub detail: String,
    pub errors: Vec<FieldFault>,
    pub retry_after: Option<Duration>,
    /// With [`Code::CodeWrong`]: attempts that are left.
    pub attempts_remaining: Option<u32>,
    /// With [`Code::InsufficientScope`]: the scope that the token lacks.
    pub missing_scope: Option<Scope>,
    /// State of the rate limits that the request was counted for.
    pub limit_statuses: Vec<LimitStatus>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            attempts_remaining: None,
            missing_scope: None,
            limit_statuses: Vec::new(),
        }
    }

    /// One faulty field.
    pub(super) fn field(name: &str, detail: &str) -> Self {
        Faults::of(name, detail).into()
    }

    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "no such path, instance or request for this token")
    }

    /// The body of the response.
    pub(super) fn body(&self) -> ProblemBody {
        ProblemBody::new(self.code, self.detail.clone(), self.errors.clone(), self.attempts_remaining)
    }

    /// Why a code was not accepted, or cannot be sent again.
    fn from_reason(reason: Reason) -> Self {
        match reason {
            Reason::AttemptsExhausted => Self::new(Code::AttemptsExhausted, "ask for a new one"),
            Reason::CodeExpired => Self::new(Code::CodeExpired, "ask for a new one"),
            Reason::CodeUsed => Self::new(Code::CodeUsed, "each code works once; ask for a new one"),
            _ => Self::new(Code::CodeNotActive, "no code was requested, or it was canceled or replaced"),
        }
    }

    /// The same text for a missing, a malformed and a wrong token.
    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "send `Authorization: Bearer <API token>` with a token of this instance")
    }
}

impl Problem {
    pub fn insufficient_scope(lacks: Scope, held: Scopes) -> Self {
        let detail = format!("the token has the scopes {held}; this needs {}", lacks.as_str());
        Self { missing_scope: Some(lacks), ..Self::new(Code::InsufficientScope, detail) }
    }
}

/// The response of a use case that takes from limits, with both headers, whether it succeeded or failed.
pub(super) fn respond_limited<T>(
    limited: Limited<T>,
    to_response: impl FnOnce(T) -> HttpResponse,
) -> Result<HttpResponse, Problem> {
    let Limited { outcome, mut limit_statuses } = limited;
    match outcome {
        Ok(value) => {
            let mut response = to_response(value);
            rate_limit_headers::add_headers(response.headers_mut(), &limit_statuses);
            Ok(response)
        }
        Err(error) => {
            let problem = Problem::from(error);
            limit_statuses.extend(&problem.limit_statuses);
            Err(Problem { limit_statuses, ..problem })
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code.as_str())
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.status_code());
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        if let Some(retry_after) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, rate_limit_headers::whole_seconds(retry_after).to_string()));
        }
        if self.code == Code::Unauthenticated {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(scope) = self.missing_scope {
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scope.as_str());
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        let mut response = response.body(to_json(&self.body()));
        // For `pages::as_pages`.
        response.extensions_mut().insert(self.code);
        rate_limit_headers::add_headers(response.headers_mut(), &self.limit_statuses);
        response
    }
}

/// Every faulty field at once.
impl From<Faults> for Problem {
    fn from(faults: Faults) -> Self {
        let names: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        let detail = format!("fix {}", names.join(", "));
        let error = |fault: &Fault| FieldFault { field: fault.key.clone(), detail: fault.problem.clone() };
        Self { errors: faults.iter().map(error).collect(), ..Self::new(Code::InvalidRequest, detail) }
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::NotFound => Self::not_found(),
            ServiceError::Invalid(faults) => faults.into(),
            ServiceError::KeyReused => Self::new(
                Code::IdempotencyKeyReused,
                "use a new Idempotency-Key, or send the body that the key was first used with",
            ),
            ServiceError::RateLimited { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(Code::RateLimited, "retry after the time given in Retry-After")
            },
            ServiceError::LimitExhausted(status) => Self {
                retry_after: Some(status.wait()),
                limit_statuses: vec![status],
                ..Self::new(Code::RateLimited, "retry after the time given in Retry-After")
            },
            ServiceError::StorageQuotaExceeded { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(
                    Code::InstanceFull,
                    "pending requests continue; capacity is freed as old requests are removed",
                )
            },
            ServiceError::Disabled => Self::new(Code::InstanceDisabled, "its configuration has disabled = true"),
            ServiceError::Code(reason) => Self::from_reason(reason),
            ServiceError::CodeWrong { attempts_remaining } => Self {
                attempts_remaining: Some(attempts_remaining),
                ..Self::new(Code::CodeWrong, "this is not the code that was last sent to this chat")
            },
            ServiceError::CodeLocked(status) => Self {
                retry_after: Some(status.wait()),
                limit_statuses: vec![status],
                ..Self::new(
                    Code::CodeLocked,
                    "retry after the time given in Retry-After, or let the person prove the chat by a link",
                )
            },
            ServiceError::NothingToSend => {
                Self::new(Code::NothingToSend, "only codes are sent; pass the link on yourself")
            }
            ServiceError::TokenSpent => Self::new(Code::TokenSpent, "it was used or revoked, or it has expired"),
            ServiceError::Refused => Self::new(Code::TokenRefused, "the token is unknown, or the verifier is wrong"),
            ServiceError::TooManyWatchers => Self {
                retry_after: Some(Duration::from_secs(5)),
                ..Self::new(
                    Code::TemporaryReducedCapacity,
                    "too many clients are waiting for events; request the state instead",
                )
            },
            ServiceError::NotIdentified => Self {
                retry_after: Some(Duration::from_secs(5)),
                ..Self::new(
                    Code::TemporaryReducedCapacity,
                    "the gateway did not translate the sender's LID; deliver the webhook again",
                )
            },
            ServiceError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let retry_after = Some(Duration::from_secs(2));
        match error {
            StoreError::Unavailable(_) | StoreError::Refused(_) => {
                tracing::warn!(%error, "a store operation failed; answered 503");
                Self { retry_after, ..Self::new(Code::StoreUnavailable, "nothing was lost; try again") }
            }
            StoreError::Full => {
                tracing::error!(%error, "the store is full and refuses new requests; see StoreFull in the runbook");
                Self {
                    retry_after,
                    ..Self::new(Code::TemporaryReducedCapacity, "pending requests continue; try again")
                }
            }
            StoreError::Sealed(_) => {
                tracing::error!(%error, "no configured key decrypts a record; answered 404");
                Self::not_found()
            }
            StoreError::Corrupt(_) | StoreError::Misconfigured(_) => {
                tracing::error!(%error, "the store returned an unexpected response; answered 500");
                Self::new(Code::InternalError, "see the daemon's log")
            }
        }
    }
}
