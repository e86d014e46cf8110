//! The closed list of problems, and the body that reports one: RFC 9457 members inside the envelope of the old API.

use serde_json::{Value, json};

use super::schema::{constant, one_of};

macro_rules! problems {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $title:literal, $remedy:literal;)*) => {
        /// A problem's stable code. Each entry has the code, the HTTP status, a title and a remedy.
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

            /// What the caller or the operator can do about it, as Markdown.
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
    /// The code was typed after its expiry.
    CodeExpired = "code_expired", 410, "The code has expired",
        "Ask for a new code.";
    /// The token has been used, revoked or has expired.
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
    /// Proving the chat through a link unlocks it earlier.
    CodeLocked = "code_locked", 429, "Too many wrong codes in a row for this chat",
        "Retry after the time given in `Retry-After`, or let the person prove the chat by a link.";
    RateLimited = "rate_limited", 429, "Too many requests",
        "Retry after the time given in `Retry-After`. `RateLimit` names the limit; the guide to limits lists its configuration key.";
    /// Protects the other instances that share the store. Pending requests continue.
    InstanceFull = "instance_full", 429, "The instance has used its share of the store",
        "Space is freed as old requests are removed. Raise `records` or `store_percent`, or lower `retention`.";
    InternalError = "internal_error", 500, "Something went wrong here",
        "Look for the request id in the daemon's log.";
    StoreUnavailable = "store_unavailable", 503, "The store is unavailable",
        "Nothing was lost: send the same request again. For operators: see StoreUnavailable in the runbook.";
    /// Requests that have already been accepted still complete.
    TemporaryReducedCapacity = "temporary_reduced_capacity", 503, "No new requests are accepted at the moment",
        "Send the same request again after `Retry-After`. Pending requests continue.";
}

fn code() -> Value {
    one_of(Code::ALL, |code| code.as_str())
}

wire! {
    pub struct FieldFault {
        /// The field's name, dotted if nested: `message.success`.
        pub field: String,
        /// What is wrong with the value, and how to fix it.
        pub detail: String,
    }

    pub struct ProblemBody {
        #[schema(constant(false))]
        pub success: bool,
        /// For clients of the old API, which show this member alone: the first of `errors` in words, or else `title`.
        pub message: String,
        #[schema(json!({ "type": "string", "pattern": "^/docs#" }))]
        #[serde(rename = "type")]
        pub uri: String,
        /// The meaning of the code.
        pub title: &'static str,
        pub status: u16,
        /// Details about this occurrence, for people.
        pub detail: String,
        #[schema(code())]
        pub code: &'static str,
        /// All invalid fields.
        pub errors: Vec<FieldFault>,
        /// With `code_wrong`: how many wrong attempts remain before the code ends.
        #[schema(json!({ "type": "integer", "minimum": 1 }))]
        #[serde(skip_serializing_if = "Option::is_none")]
        pub attempts_remaining: Option<u32>,
    } as "Problem"
}

impl FieldFault {
    /// `chatId is missing: …`, `expires: expected a number …`.
    fn sentence(&self) -> String {
        let verb = ["is ", "holds ", "needs ", "has ", "cannot "].iter().any(|verb| self.detail.starts_with(verb));
        format!("{}{}{}", self.field, if verb { " " } else { ": " }, self.detail)
    }
}

impl ProblemBody {
    pub fn new(code: Code, detail: String, errors: Vec<FieldFault>, attempts_remaining: Option<u32>) -> Self {
        Self {
            success: false,
            message: errors.first().map_or_else(|| code.title().to_owned(), FieldFault::sentence),
            // Relative (RFC 9457 allows it), so it is correct whatever the public URL is. The entry there describes the
            // remedy.
            uri: format!("/docs#{}", code.as_str()),
            title: code.title(),
            status: code.status(),
            detail,
            code: code.as_str(),
            errors,
            attempts_remaining,
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
