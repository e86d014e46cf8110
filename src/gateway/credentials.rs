//! Reading a gateway's table: which secrets are good enough, and for what.

use secrecy::{ExposeSecret as _, SecretString};

use super::simulator;
use crate::config::{Faults, Section};

/// Shorter secrets can be guessed, or were made up by hand.
const SHORTEST: usize = 24;
/// Published defaults of gateways.
const KNOWN_DEFAULTS: &[&str] = &["secret", "changeme", "password", "admin", "test"];

/// What the gateway is built for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Real logins.
    Serve,
    /// The fake phone is allowed.
    Develop,
    /// Looks at recorded requests: short secrets warn, and nothing is sent.
    Inspect,
}

impl Purpose {
    pub(super) fn allows(self, kind: &str) -> bool {
        self != Self::Serve || kind != simulator::KIND
    }
}

/// A section with the rules for secrets.
pub(super) struct Reader<'a> {
    pub(super) section: &'a mut Section,
    pub(super) purpose: Purpose,
    pub(super) faults: &'a mut Faults,
}

impl Reader<'_> {
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.section.text(name, self.faults)
    }

    /// A base URL without its trailing slash.
    pub(super) fn base_url(&mut self, default: Option<&str>) -> String {
        let url = self.section.url("url", self.faults).map(String::from).or(default.map(str::to_owned));
        if url.is_none() && self.purpose != Purpose::Inspect && !self.section.has("url") {
            self.faults.add(self.section.key("url"), "is missing: where the gateway's API is");
        }
        url.unwrap_or_default().trim_end_matches('/').to_owned()
    }

    /// What we need to send; a fault when it is absent, except for inspection.
    pub(super) fn sending(&mut self, name: &str, hint: &str) -> SecretString {
        let secret = self.section.secret(name, self.faults);
        if secret.is_none() && self.purpose != Purpose::Inspect {
            self.faults.add(self.section.key(name), format!("is missing: {hint}"));
        }
        secret.unwrap_or_default()
    }

    /// What proves a webhook, newest first. Nothing configured is a fault: it would mean no check.
    pub(super) fn webhook_secrets(&mut self) -> Vec<SecretString> {
        let key = self.section.key("webhook_secret");
        let secrets = self.section.secrets("webhook_secret", self.faults);
        if secrets.is_empty() {
            let problem =
                "is missing: without it anybody could verify any number; make one with `openssl rand -hex 32`";
            self.faults.add(key, problem);
            return secrets;
        }
        for secret in &secrets {
            let value = secret.expose_secret();
            let weak = value.len() < SHORTEST || KNOWN_DEFAULTS.contains(&value);
            if weak && self.purpose == Purpose::Inspect {
                tracing::warn!(key, "the secret has under {SHORTEST} bytes; serve would refuse it");
            } else if weak {
                self.faults
                    .add(&key, format!("has under {SHORTEST} bytes or is a published default; use a random one"));
            }
        }
        secrets
    }
}
