//! Webhook authentication of one instance: the scheme and its secrets.

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Unauthenticated, Webhook,
    scheme::{Carrier, Draft, Scheme},
};

/// An authentication scheme with the configured secrets, newest first.
#[derive(Clone, Copy)]
pub struct Proof<'a> {
    pub(super) scheme: &'a Scheme,
    pub(super) secrets: &'a [SecretString],
}

impl<'a> Proof<'a> {
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
    pub fn sign(&self, draft: &mut Draft, at: Timestamp) {
        let secret = self.secrets.first().map_or("", |secret| secret.expose_secret());
        self.scheme.sign(secret, draft, at);
    }

    /// Signs a request with `secret`, which need not be a configured one.
    pub fn sign_as(&self, secret: &str, draft: &mut Draft, at: Timestamp) {
        self.scheme.sign(secret, draft, at);
    }

    /// Where a request carries the signature, secret or token.
    pub fn carrier(&self) -> Carrier {
        self.scheme.carrier()
    }

    /// The constant text before the credential, such as `sha256=`.
    pub fn prefix(&self) -> &'a str {
        self.scheme.prefix()
    }

    /// Whether the header holds a list of signatures, of which one valid signature is enough.
    pub fn is_list(&self) -> bool {
        matches!(self.scheme, Scheme::StandardWebhooks)
    }

    /// The header that holds the signed timestamp.
    pub fn time_header(&self) -> Option<&'a str> {
        self.scheme.time_header()
    }

    /// The maximum age of a signature, and how far in the future its timestamp may be. `None`: it never expires.
    pub fn lifetime(&self) -> Option<(SignedDuration, Option<SignedDuration>)> {
        self.scheme.lifetime()
    }

    /// Whether the URL is signed.
    pub fn signs_query(&self) -> bool {
        self.scheme.signs_query()
    }
}
