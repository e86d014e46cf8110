//! One problem as an answer: status, headers and body.

use std::time::Duration;

use super::{limits, view::written};
pub use crate::api::problem::Code;
use crate::{
    api::problem::{FieldFault, ProblemBody},
    domain::{
        Reason,
        scope::{Scope, Scopes},
    },
    reader::{Fault, Faults},
    service::ServiceError,
    store::StoreError,
};
use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
};

/// One problem, ready to be sent.
#[derive(Clone, Debug)]
pub struct Problem {
    pub code: Code,
    pub detail: String,
    pub errors: Vec<FieldFault>,
    pub retry_after: Option<Duration>,
    /// Of a code that was wrong: how many more tries it has.
    pub attempts_remaining: Option<u32>,
    /// What the token lacks.
    pub lacks: Option<Scope>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            attempts_remaining: None,
            lacks: None,
        }
    }

    /// One faulty field.
    pub(super) fn field(name: &str, detail: &str) -> Self {
        Faults::of(name, detail).into()
    }

    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "no such path, instance or request for this token")
    }

    /// What is sent.
    pub(super) fn body(&self) -> ProblemBody {
        ProblemBody::new(self.code, self.detail.clone(), self.errors.clone(), self.attempts_remaining)
    }

    /// Why a code that was typed did not count, or cannot be sent again.
    fn of_code(reason: Reason) -> Self {
        match reason {
            Reason::AttemptsExhausted => Self::new(Code::AttemptsExhausted, "ask for a new one"),
            Reason::CodeExpired => Self::new(Code::CodeExpired, "ask for a new one"),
            Reason::CodeUsed => Self::new(Code::CodeUsed, "each code works once; ask for a new one"),
            _ => Self::new(Code::CodeNotActive, "none was asked for, it was canceled, or it was replaced by another"),
        }
    }

    /// The same words whether a token is missing, malformed or wrong.
    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "send `Authorization: Bearer <API token>` with a token of this instance")
    }
}

impl Problem {
    pub fn out_of_scope(lacks: Scope, held: Scopes) -> Self {
        let detail = format!("the token has the scopes {held}; this needs {}", lacks.as_str());
        Self { lacks: Some(lacks), ..Self::new(Code::InsufficientScope, detail) }
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
            response.insert_header((header::RETRY_AFTER, limits::seconds(retry_after).to_string()));
        }
        if self.code == Code::Unauthenticated {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(scope) = self.lacks {
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scope.as_str());
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        response.body(written(&self.body()))
    }
}

/// Every faulty field at once.
impl From<Faults> for Problem {
    fn from(faults: Faults) -> Self {
        let named: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        let detail = format!("mend {}", named.join(", "));
        let error = |fault: &Fault| FieldFault { field: fault.key.clone(), detail: fault.problem.clone() };
        Self { errors: faults.iter().map(error).collect(), ..Self::new(Code::InvalidRequest, detail) }
    }
}

/// The only place where the service's errors become problems. Causes are logged, never shown.
impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::NotFound => Self::not_found(),
            ServiceError::Invalid(faults) => faults.into(),
            ServiceError::KeyReused => {
                Self::new(Code::IdempotencyKeyReused, "send a new Idempotency-Key, or the body it was first used with")
            }
            ServiceError::RateLimited { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(Code::RateLimited, "wait as long as Retry-After says")
            },
            ServiceError::RoomUsed { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(
                    Code::InstanceFull,
                    "what is pending goes on; room comes back as old requests are forgotten",
                )
            },
            ServiceError::Disabled => Self::new(Code::InstanceDisabled, "disabled = true in its configuration"),
            ServiceError::Code(reason) => Self::of_code(reason),
            ServiceError::CodeWrong { attempts_remaining } => Self {
                attempts_remaining: Some(attempts_remaining),
                ..Self::new(Code::CodeWrong, "it is not the one that was sent last to this chat")
            },
            ServiceError::CodeLocked { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(
                    Code::CodeLocked,
                    "wait as long as Retry-After says, or let the chat prove itself by a link",
                )
            },
            ServiceError::NothingToSend => {
                Self::new(Code::NothingToSend, "only codes are sent; hand the link out again yourself")
            }
            ServiceError::Spent => Self::new(Code::TokenSpent, "it was used, revoked, or is too old"),
            ServiceError::Refused => Self::new(Code::TokenRefused, "it is unknown here, or the verifier is wrong"),
            ServiceError::Crowded => Self {
                retry_after: Some(Duration::from_secs(5)),
                ..Self::new(Code::TemporaryReducedCapacity, "too many wait for news; ask for the state instead")
            },
            ServiceError::NotIdentified => Self {
                retry_after: Some(Duration::from_secs(5)),
                ..Self::new(
                    Code::TemporaryReducedCapacity,
                    "the gateway does not say whose LID this is; deliver it again",
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
                tracing::warn!(%error, "the store did not do it");
                Self { retry_after, ..Self::new(Code::StoreUnavailable, "nothing was lost; try again") }
            }
            StoreError::Full => {
                tracing::error!(%error, "the store takes no new work");
                Self { retry_after, ..Self::new(Code::TemporaryReducedCapacity, "what is pending goes on; try again") }
            }
            StoreError::Sealed(_) => {
                tracing::error!(%error, "a record that nobody here can read is not found");
                Self::not_found()
            }
            StoreError::Corrupt(_) | StoreError::Misconfigured(_) => {
                tracing::error!(%error, "the store cannot be used");
                Self::new(Code::InternalError, "see the daemon's log")
            }
        }
    }
}
