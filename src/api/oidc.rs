//! What the OpenID provider says: metadata, tokens, claims, errors.

use serde::Serialize;

use crate::domain::oidc::ErrorCode;

/// The provider's metadata (OpenID Connect Discovery 1.0, 3; RFC 8414; RFC 9207).
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the specification names them")]
pub struct Metadata {
    pub issuer: String,
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    pub userinfo_endpoint: String,
    pub jwks_uri: String,
    pub scopes_supported: &'static [&'static str],
    pub response_types_supported: &'static [&'static str],
    pub response_modes_supported: &'static [&'static str],
    pub grant_types_supported: &'static [&'static str],
    pub subject_types_supported: &'static [&'static str],
    pub id_token_signing_alg_values_supported: Vec<&'static str>,
    pub token_endpoint_auth_methods_supported: &'static [&'static str],
    pub claim_types_supported: &'static [&'static str],
    pub claims_supported: &'static [&'static str],
    pub code_challenge_methods_supported: &'static [&'static str],
    pub prompt_values_supported: &'static [&'static str],
    pub ui_locales_supported: Vec<&'static str>,
    pub claims_parameter_supported: bool,
    pub request_parameter_supported: bool,
    /// True unless it says otherwise.
    pub request_uri_parameter_supported: bool,
    pub authorization_response_iss_parameter_supported: bool,
}

/// The claims of an ID token (OpenID Connect Core 1.0, 2). Times are seconds since 1970.
#[derive(Clone, Debug, Serialize)]
pub struct IdToken<'a> {
    pub iss: &'a str,
    pub sub: &'a str,
    pub aud: &'a str,
    pub exp: i64,
    pub iat: i64,
    /// When the message arrived that proved the chat.
    pub auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<&'a str>,
    pub at_hash: &'a str,
    /// RFC 8176: `mca`, a communication over another channel.
    pub amr: &'static [&'static str],
}

/// The answer to a token request (RFC 6749, 5.1).
#[derive(Clone, Debug, Serialize)]
pub struct TokenResponse {
    pub access_token: String,
    pub token_type: &'static str,
    /// In seconds.
    pub expires_in: i64,
    pub id_token: String,
    pub scope: String,
}

/// The claims about a person (OpenID Connect Core 1.0, 5.1).
#[derive(Clone, Debug, Serialize)]
pub struct UserInfo {
    pub sub: String,
    /// The name that the person shows on WhatsApp. They can change it at any time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// E.164.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number_verified: Option<bool>,
}

/// An error of the token or userinfo endpoint (RFC 6749, 5.2).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ErrorResponse {
    pub error: ErrorCode,
    pub error_description: &'static str,
}
