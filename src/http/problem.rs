//! The closed list of problem codes, and the response for a problem: RFC 9457 members inside the envelope of the old
//! API.
//!
//! Errors of the service and the store become problems here and nowhere else. Their causes are logged and never shown.

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
    service::{FieldFault, ServiceError},
    store::StoreError,
};

macro_rules! problems {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $title:literal, $remedy:literal;)*) => {
        /// A problem's stable code. Each row of the list has the code, the HTTP status, a title and a remedy.
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

            /// What the caller or the operator can do about it, in Markdown.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }
        }
    };
}

problems! {
    MalformedBody = "malformed_body", 400, "The body cannot be read",
        "Send one JSON object in UTF-8. `detail` names the line and column.";
    Unauthenticated = "unauthenticated", 401, "The API token is missing or wrong",
        "Send `Authorization: Bearer <API token>` with a token of the instance in the path.";
    WebhookUnauthenticated = "webhook_unauthenticated", 401, "The webhook is not authenticated",
        "Compare the secret at the gateway with `webhook_secret`. `countersign inspect-webhook` shows which part of a recorded request does not match.";
    InsufficientScope = "insufficient_scope", 403, "The API token may not do this",
        "Add the scope to the token's `scopes` in the configuration, or use a token that has it. `WWW-Authenticate` names the scope.";
    InstanceDisabled = "instance_disabled", 403, "The instance takes no new requests",
        "Its configuration has `disabled = true`: remove that, or use another instance.";
    HandshakeRefused = "handshake_refused", 403, "The verify token does not match",
        "Enter the configured `verify_token` at the gateway.";
    CrossSite = "cross_site", 403, "The form was sent from another site",
        "Open the page itself and press its button there.";
    NotFound = "not_found", 404, "There is no such resource",
        "Check the path, the instance and the id. Requests that have ended are removed after `retention`.";
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed here",
        "Use one of the methods in `Allow`.";
    CodeUsed = "code_used", 409, "The code has already been used",
        "Each code works once. Ask for a new one.";
    /// No code was requested, or it was canceled or replaced.
    CodeNotActive = "code_not_active", 409, "No code is active for this chat",
        "None was requested, or it was canceled or replaced. Ask for a new one.";
    /// The code ended after its last attempt.
    AttemptsExhausted = "attempts_exhausted", 409, "Too many wrong attempts for this code",
        "Ask for a new code.";
    NothingToSend = "nothing_to_send", 409, "This request has nothing to send",
        "Only codes can be sent again. Pass a link on yourself.";
    BodyTimeout = "body_timeout", 408, "The body arrived too slowly",
        "Send the whole body at once; check the network between client and daemon.";
    /// It was typed after its expiry.
    CodeExpired = "code_expired", 410, "The code has expired",
        "Ask for a new code.";
    /// Used, revoked or expired.
    TokenSpent = "token_spent", 410, "The token is spent",
        "It was redeemed or revoked, or its 60 seconds have passed. Start a new login.";
    BodyTooLarge = "body_too_large", 413, "The body is too large",
        "Send less. `detail` names the limit.";
    UnsupportedMediaType = "unsupported_media_type", 415, "The body must be JSON",
        "Send `Content-Type: application/json`.";
    CodeWrong = "code_wrong", 422, "The code is wrong",
        "Let the person type it again: `attempts_remaining` says how many attempts are left.";
    InvalidRequest = "invalid_request", 422, "The request has invalid fields",
        "`errors` names each invalid field and what is expected there.";
    IdempotencyKeyReused = "idempotency_key_reused", 422, "The idempotency key was used with another body",
        "Use a new `Idempotency-Key` for a new request, and the same body for a repeat.";
    /// The instance has no such token, or the verifier is wrong.
    TokenRefused = "token_refused", 422, "The token is not accepted",
        "Send the token as it came in the redirect, and the verifier whose digest was the `challenge`.";
    /// Unlocked early when the chat is proved by a link.
    CodeLocked = "code_locked", 429, "Too many wrong codes in a row for this chat",
        "Wait as long as `Retry-After` says, or let the person prove the chat by a link.";
    RateLimited = "rate_limited", 429, "Too many requests",
        "Wait as long as `Retry-After` says. `RateLimit` names the limit; the guide to limits lists its configuration key.";
    /// Protects other instances that share the store; pending requests continue.
    InstanceFull = "instance_full", 429, "The instance has used its share of the store",
        "Space is freed as old requests are removed. Raise `records` or `store_percent`, or lower `retention`.";
    InternalError = "internal_error", 500, "Something went wrong here",
        "Look for the request id in the daemon's log.";
    StoreUnavailable = "store_unavailable", 503, "The store is unavailable",
        "Nothing was lost: send the same request again. For operators: see StoreUnavailable in the runbook.";
    /// Requests that were accepted before still complete.
    TemporaryReducedCapacity = "temporary_reduced_capacity", 503, "No new requests are accepted at the moment",
        "Send the same request again after `Retry-After`. Pending requests continue.";
}

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
        }
    }

    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "no such path, instance or request for this token")
    }

    /// The JSON of the response body.
    pub(super) fn body(&self) -> Value {
        let mut body = json!({
            "success": false,
            "message": self.code.title(),
            // A relative reference, as RFC 9457 allows: it resolves to the code's entry in the documentation.
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
        if let Some(scope) = self.missing_scope {
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scope.as_str());
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        response.body(self.body().to_string())
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::NotFound => Self::not_found(),
            ServiceError::Invalid(errors) => {
                let named: Vec<&str> = errors.iter().map(|fault| fault.field.as_str()).collect();
                let detail = format!("fix {}", named.join(", "));
                Self { errors, ..Self::new(Code::InvalidRequest, detail) }
            }
            ServiceError::KeyReused => Self::new(
                Code::IdempotencyKeyReused,
                "use a new Idempotency-Key, or send the body that the key was first used with",
            ),
            ServiceError::RateLimited { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(Code::RateLimited, "wait as long as Retry-After says")
            },
            ServiceError::RoomUsed { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(Code::InstanceFull, "pending requests continue; space is freed as old requests are removed")
            },
            ServiceError::Disabled => Self::new(Code::InstanceDisabled, "its configuration has disabled = true"),
            ServiceError::Code(reason) => Self::from_reason(reason),
            ServiceError::CodeWrong { attempts_remaining } => Self {
                attempts_remaining: Some(attempts_remaining),
                ..Self::new(Code::CodeWrong, "it is not the code that was last sent to this chat")
            },
            ServiceError::CodeLocked { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(
                    Code::CodeLocked,
                    "wait as long as Retry-After says, or let the person prove the chat by a link",
                )
            },
            ServiceError::NothingToSend => {
                Self::new(Code::NothingToSend, "only codes are sent; pass the link on yourself")
            }
            ServiceError::Spent => Self::new(Code::TokenSpent, "it was used or revoked, or it has expired"),
            ServiceError::Refused => Self::new(Code::TokenRefused, "the token is unknown, or the verifier is wrong"),
            ServiceError::Crowded => Self {
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
                tracing::error!(%error, "no key of this process can open a record; answered 404");
                Self::not_found()
            }
            StoreError::Corrupt(_) | StoreError::Misconfigured(_) => {
                tracing::error!(%error, "the store returned an unexpected answer");
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
