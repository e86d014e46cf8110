//! Webhook authentication of one instance: the scheme and its secrets.

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Unauthenticated, Webhook,
    auth_scheme::{AuthScheme, CredentialLocation, WebhookRequest},
};

/// An authentication scheme with the configured secrets, newest first.
#[derive(Clone, Copy)]
pub struct WebhookAuth<'a> {
    pub(super) scheme: &'a AuthScheme,
    pub(super) secrets: &'a [SecretString],
}

impl<'a> WebhookAuth<'a> {
    /// A description for the log at start.
    pub fn describe(&self) -> &'static str {
        self.scheme.describe()
    }

    /// Whether a captured credential can be reused with another body; logged at start.
    pub fn is_weak(&self) -> bool {
        self.scheme.is_weak()
    }

    /// Whether authentication depends on the body.
    pub fn covers_body(&self) -> bool {
        self.scheme.covers_body()
    }

    pub(super) fn verify(&self, webhook: &Webhook<'_>) -> Result<(), Unauthenticated> {
        self.scheme.verify(webhook, self.secrets)
    }

    /// The accepted secrets, newest first.
    pub fn secrets(&self) -> &'a [SecretString] {
        self.secrets
    }

    /// Signs a request with the newest secret, as the gateway would at `at`.
    pub fn sign(&self, request: &mut WebhookRequest, at: Timestamp) {
        let secret = self.secrets.first().map_or("", |secret| secret.expose_secret());
        self.scheme.sign(secret, request, at);
    }

    /// Signs a request with `secret`, which need not be a configured one.
    pub fn sign_with(&self, secret: &str, request: &mut WebhookRequest, at: Timestamp) {
        self.scheme.sign(secret, request, at);
    }

    /// Where a request carries the signature, secret or token.
    pub fn credential_location(&self) -> CredentialLocation {
        self.scheme.credential_location()
    }

    /// The constant text before the credential, such as `sha256=`.
    pub fn credential_prefix(&self) -> &'a str {
        self.scheme.credential_prefix()
    }

    /// Whether the header holds a list of signatures, of which one valid signature is enough.
    pub fn has_signature_list(&self) -> bool {
        matches!(self.scheme, AuthScheme::StandardWebhooks)
    }

    /// The header that holds the signed timestamp.
    pub fn timestamp_header(&self) -> Option<&'a str> {
        self.scheme.timestamp_header()
    }

    /// The maximum age of a signature, and how far in the future its timestamp may be. `None`: it never expires.
    pub fn validity(&self) -> Option<(SignedDuration, Option<SignedDuration>)> {
        self.scheme.validity()
    }

    /// Whether the URL is signed as it is configured at the gateway, query included.
    pub fn signs_url(&self) -> bool {
        self.scheme.signs_url()
    }

    /// The URL that is signed, if one is.
    pub fn signed_url(&self) -> Option<&'a str> {
        match self.scheme {
            AuthScheme::Twilio { url } | AuthScheme::Bird { url } => Some(url),
            _ => None,
        }
    }
}
