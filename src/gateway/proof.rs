//! What makes a webhook of one instance genuine.

use secrecy::SecretString;

use super::{Unauthenticated, Webhook, scheme::Scheme};

/// A scheme with the secrets it is used with, newest first.
#[derive(Clone, Copy)]
pub struct Proof<'a> {
    pub(super) scheme: &'a Scheme,
    pub(super) secrets: &'a [SecretString],
}

impl Proof<'_> {
    /// In words, for the banner at start.
    pub fn describe(&self) -> &'static str {
        self.scheme.describe()
    }

    /// Whether it would also hold for another body; said at start.
    pub fn is_weak(&self) -> bool {
        self.scheme.is_weak()
    }

    pub(super) fn verify(&self, webhook: &Webhook<'_>) -> Result<(), Unauthenticated> {
        self.scheme.verify(webhook, self.secrets)
    }
}
