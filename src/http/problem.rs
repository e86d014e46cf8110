//! The closed list of problems, and how one is told: RFC 9457 members inside the envelope of the old API.

use std::time::Duration;

use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
};
use serde_json::{Value, json};

use super::limits;
use crate::{
    domain::{
        Reason,
        scope::{Scope, Scopes},
    },
    service::{FieldFault, ServiceError, Standing},
    store::StoreError,
};

macro_rules! problems {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $title:literal, $cure:literal;)*) => {
        /// What can go wrong, one row each: stable code, status, title, what to do about it.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What to do about it, in Markdown.
            pub const fn cure(self) -> &'static str {
                match self { $(Self::$variant => $cure,)* }
            }
        }
    };
}

problems! {
    MalformedBody = "malformed_body", 400, "The body cannot be read",
        "Send one JSON object in UTF-8. `detail` names the line and column.";
    Unauthenticated = "unauthenticated", 401, "The API token is missing or wrong",
        "Send `Authorization: Bearer <API token>` with a token of the instance in the path.";
    WebhookUnauthenticated = "webhook_unauthenticated", 401, "The webhook does not prove where it comes from",
        "Compare the secret at the gateway with `webhook_secret`. `countersign inspect-webhook` says which part of a recorded request does not fit.";
    InsufficientScope = "insufficient_scope", 403, "The API token may not do this",
        "Add the scope to the token's `scopes` in the configuration, or use a token that has it. `WWW-Authenticate` names the scope.";
    InstanceDisabled = "instance_disabled", 403, "The instance takes no new requests",
        "`disabled = true` stands in its configuration: remove it, or use another instance.";
    HandshakeRefused = "handshake_refused", 403, "The verify token does not match",
        "Type the configured `verify_token` at the gateway.";
    CrossSite = "cross_site", 403, "The form was sent from another site",
        "Open the page itself and press its button there.";
    NotFound = "not_found", 404, "There is nothing here",
        "Check the path, the instance and the id. What has ended is removed after `retention`.";
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed here",
        "Use one of the methods in `Allow`.";
    CodeUsed = "code_used", 409, "The code was used already",
        "Each code works once. Ask for a new one.";
    /// None was asked for, it was canceled, or too many tries were wrong.
    CodeNotActive = "code_not_active", 409, "No code is active for this chat",
        "None was asked for, or it was canceled or replaced. Ask for a new one.";
    /// Ask for a new one.
    AttemptsExhausted = "attempts_exhausted", 409, "Too many tries of this code were wrong",
        "Ask for a new code.";
    NothingToSend = "nothing_to_send", 409, "This request has nothing to send",
        "Only codes can be sent again. Hand a link out yourself.";
    BodyTimeout = "body_timeout", 408, "The body came too slowly",
        "Send the body at once; look at the network between client and daemon.";
    /// Its time was over.
    CodeExpired = "code_expired", 410, "The code has expired",
        "Ask for a new code.";
    /// Used, revoked or lapsed.
    TokenSpent = "token_spent", 410, "The token is spent",
        "It was redeemed or revoked, or its 60 seconds are over. Start a new login.";
    BodyTooLarge = "body_too_large", 413, "The body is too large",
        "Send less. `detail` names the limit.";
    UnsupportedMediaType = "unsupported_media_type", 415, "The body must be JSON",
        "Send `Content-Type: application/json`.";
    CodeWrong = "code_wrong", 422, "The code is wrong",
        "Let the person type it again: `attempts_remaining` says how often.";
    InvalidRequest = "invalid_request", 422, "The request has faulty fields",
        "`errors` names each faulty field and what is expected there.";
    IdempotencyKeyReused = "idempotency_key_reused", 422, "The idempotency key was used with another body",
        "Use a new `Idempotency-Key` for a new request, and the same body for a repeat.";
    /// No such token for this instance, or a wrong verifier.
    TokenRefused = "token_refused", 422, "The token is not accepted",
        "Send the token as it came in the redirect, and the verifier whose digest was the `challenge`.";
    /// It opens when the chat proves itself by a link.
    CodeLocked = "code_locked", 429, "Too many codes in a row were wrong for this chat",
        "Wait as long as `Retry-After` says, or let the person prove the chat by a link.";
    RateLimited = "rate_limited", 429, "Too many requests",
        "Wait as long as `Retry-After` says. `RateLimit` names the limit; its key stands in the guide to limits.";
    /// So that others who share the store find room; what is pending goes on.
    InstanceFull = "instance_full", 429, "The instance has used its room in the store",
        "Room comes back as old requests are removed. Raise `records` or `store_percent`, or lower `retention`.";
    InternalError = "internal_error", 500, "Something went wrong here",
        "Look for the request id in the daemon's log.";
    StoreUnavailable = "store_unavailable", 503, "The store is away",
        "Nothing was lost: send the same request again. The operator's runbook says more under StoreUnavailable.";
    /// Old work still comes to its end.
    TemporaryReducedCapacity = "temporary_reduced_capacity", 503, "No new requests are taken at the moment",
        "Send the same request again after `Retry-After`. What has begun goes on.";
}

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
    /// How the limits stand that were taken from.
    pub standings: Vec<Standing>,
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
            standings: Vec::new(),
        }
    }

    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "no such path, instance or request for this token")
    }

    /// What is sent.
    pub(super) fn body(&self) -> Value {
        let mut body = json!({
            "success": false,
            "message": self.code.title(),
            // Relative to the daemon, whatever its public URL is: RFC 9457 allows it, and its entry says what to do.
            "type": format!("/docs#{}", self.code.as_str()),
            "title": self.code.title(),
            "status": self.code.status(),
            "detail": self.detail,
            "code": self.code.as_str(),
            "errors": self.errors,
        });
        if let Some(left) = self.attempts_remaining {
            body["attempts_remaining"] = json!(left);
        }
        body
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
        let mut response = response.body(self.body().to_string());
        limits::headers(response.headers_mut(), &self.standings);
        response
    }
}

/// The only place where the service's errors become problems. Causes are logged, never shown.
impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::NotFound => Self::not_found(),
            ServiceError::Invalid(errors) => {
                let named: Vec<&str> = errors.iter().map(|fault| fault.field.as_str()).collect();
                let detail = format!("mend {}", named.join(", "));
                Self { errors, ..Self::new(Code::InvalidRequest, detail) }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_statuses_are_errors() {
        for (index, code) in Code::ALL.iter().enumerate() {
            assert!((400..600).contains(&code.status()));
            assert!(Code::ALL[..index].iter().all(|other| other.as_str() != code.as_str()));
        }
    }
}
