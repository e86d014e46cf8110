//! What makes a webhook of one instance genuine.

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Unauthenticated, Webhook,
    scheme::{Carrier, Draft, Scheme},
};

/// A scheme with the secrets it is used with, newest first.
#[derive(Clone, Copy)]
pub struct Proof<'a> {
    pub(super) scheme: &'a Scheme,
    pub(super) secrets: &'a [SecretString],
}

impl<'a> Proof<'a> {
    /// In words, for the banner at start.
    pub fn describe(&self) -> &'static str {
        self.scheme.describe()
    }

    /// Whether it would also hold for another body; said at start.
    pub fn is_weak(&self) -> bool {
        self.scheme.is_weak()
    }

    /// Whether the body is part of the proof.
    pub fn covers_body(&self) -> bool {
        self.scheme.covers_body()
    }

    pub(super) fn verify(&self, webhook: &Webhook<'_>) -> Result<(), Unauthenticated> {
        self.scheme.verify(webhook, self.secrets)
    }

    /// All that are tried, newest first.
    pub fn secrets(&self) -> &'a [SecretString] {
        self.secrets
    }

    /// Signs a draft as the gateway would at `at`, with the newest secret.
    pub fn sign(&self, draft: &mut Draft, at: Timestamp) {
        let secret = self.secrets.first().map_or("", |secret| secret.expose_secret());
        self.scheme.sign(secret, draft, at);
    }

    /// Signs a draft as somebody would who believes in `secret`.
    pub fn sign_as(&self, secret: &str, draft: &mut Draft, at: Timestamp) {
        self.scheme.sign(secret, draft, at);
    }

    /// Where in a request the proof stands.
    pub fn carrier(&self) -> Carrier {
        self.scheme.carrier()
    }

    /// What stands before the proof itself, such as `sha256=`.
    pub fn prefix(&self) -> &'a str {
        self.scheme.prefix()
    }

    /// Whether the carrier holds a list, in which one genuine proof is enough.
    pub fn is_list(&self) -> bool {
        matches!(self.scheme, Scheme::StandardWebhooks)
    }

    /// The header that holds the signed time.
    pub fn time_header(&self) -> Option<&'a str> {
        self.scheme.time_header()
    }

    /// How old a signature may be and how far ahead of our clock; `None`: it holds for ever.
    pub fn lifetime(&self) -> Option<(SignedDuration, Option<SignedDuration>)> {
        self.scheme.lifetime()
    }

    /// Whether the URL is signed too.
    pub fn signs_query(&self) -> bool {
        self.scheme.signs_query()
    }
}
