//! The errors of the protocol.

use crate::domain::wire::wire_enum;

wire_enum! {
    /// An error code of OpenID Connect Core 1.0, 3.1.2.6, RFC 6749 or RFC 6750.
    ErrorCode {
        /// A parameter is missing, malformed or repeated.
        InvalidRequest = "invalid_request",
        /// The person declined.
        AccessDenied = "access_denied",
        /// Only `code` is supported.
        UnsupportedResponseType = "unsupported_response_type",
        /// `openid` is missing.
        InvalidScope = "invalid_scope",
        /// `prompt=none`, and there are no sessions here.
        LoginRequired = "login_required",
        /// Request objects are not supported.
        RequestNotSupported = "request_not_supported",
        /// Request objects are not supported by reference either.
        RequestUriNotSupported = "request_uri_not_supported",
        /// The client cannot describe itself in the request.
        RegistrationNotSupported = "registration_not_supported",
        /// The client is unknown, or did not authenticate.
        InvalidClient = "invalid_client",
        /// The code is unknown, used or expired, or belongs to another client.
        InvalidGrant = "invalid_grant",
        /// Only `authorization_code` is supported.
        UnsupportedGrantType = "unsupported_grant_type",
        /// The access token is unknown, expired or revoked.
        InvalidToken = "invalid_token",
        /// Another attempt may succeed.
        TemporarilyUnavailable = "temporarily_unavailable",
        /// A fault of this server.
        ServerError = "server_error",
    }
}

/// An error as a client gets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{code}: {description}")]
pub struct ProtocolError {
    pub code: ErrorCode,
    /// For the client's developer: printable ASCII without quotes and backslashes (RFC 6749, 4.1.2.1).
    pub description: &'static str,
}

impl ProtocolError {
    pub const fn new(code: ErrorCode, description: &'static str) -> Self {
        Self { code, description }
    }
}
