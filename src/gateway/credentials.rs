//! Reading a gateway's table: which secrets are good enough, and for what.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use url::form_urlencoded;

use super::{scheme::Scheme, simulator};
use crate::{
    config::weakness,
    domain::sending::Channel,
    reader::{self, not_one_of},
};

/// Why an instance is weak whose numbers are proved by SMS.
pub(super) const SMS_VERIFIES: &str = "an SMS verifies its sender, which can be forged";

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

/// The value of an `authorization` header.
pub(super) fn basic(user: &str, password: &SecretString) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose_secret())))
}

/// Reads a gateway's table, with the rules for secrets.
pub(super) struct Reader<'a> {
    pub(super) table: reader::Reader<'a>,
    pub(super) purpose: Purpose,
    /// Where this instance's webhooks arrive.
    pub(super) webhook_url: &'a str,
}

impl Reader<'_> {
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.table.text(name)
    }

    /// The URL that the gateway signs: as it is configured there.
    pub(super) fn webhook_url(&mut self) -> String {
        self.text("webhook_url").unwrap_or_else(|| self.webhook_url.to_owned())
    }

    /// Whether an SMS verifies: its sender can be forged, so only where the operator says so.
    pub(super) fn sms_verifies(&mut self, channel: Channel) -> bool {
        let verifies = self.table.flag("sms_verifies", false);
        if verifies && channel != Channel::Sms {
            self.table.fault("sms_verifies", "needs channel = \"sms\": an SMS proves no identity of WhatsApp");
        }
        verifies && channel == Channel::Sms
    }

    /// A base URL without its trailing slash.
    pub(super) fn base_url(&mut self, default: Option<&str>) -> String {
        let url = self.table.url("url").map(String::from).or(default.map(str::to_owned));
        if url.is_none() && self.purpose != Purpose::Inspect && !self.table.has("url") {
            self.table.fault("url", "is missing: where the gateway's API is");
        }
        url.unwrap_or_default().trim_end_matches('/').to_owned()
    }

    /// What we need to send; a fault when it is absent, except for inspection.
    pub(super) fn sending(&mut self, name: &str, hint: &str) -> SecretString {
        let secret = self.table.secret(name);
        if secret.is_none() && self.purpose != Purpose::Inspect {
            self.table.fault(name, format!("is missing: {hint}"));
        }
        if secret.as_ref().is_some_and(|secret| secret.expose_secret().contains(char::is_control)) {
            self.table.fault(name, "holds control characters, which no header can carry");
        }
        secret.unwrap_or_default()
    }

    /// An identifier that becomes a part of a URL's path; a fault when it is absent, except for inspection.
    pub(super) fn identifier(&mut self, name: &str, hint: &str) -> String {
        let id = self.text(name).unwrap_or_default();
        if id.is_empty() && self.purpose != Purpose::Inspect {
            self.table.fault(name, format!("is missing: {hint}"));
        } else if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            self.table.fault(name, "expected letters, digits, - and _");
        }
        id
    }

    /// The way webhooks are proved where a gateway knows several: `webhook_auth` names one of `choices`, the
    /// first is the default. `webhook_header` and `webhook_param` rename what carries a secret.
    pub(super) fn scheme(&mut self, choices: &[(&str, Scheme)]) -> Scheme {
        let (header, param) = (self.text("webhook_header"), self.text("webhook_param"));
        let chosen = match self.text("webhook_auth") {
            None => choices.first(),
            Some(word) => {
                let found = choices.iter().find(|(name, _)| *name == word);
                if found.is_none() {
                    let words: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                    self.table.fault("webhook_auth", not_one_of(&word, &words));
                }
                found.or(choices.first())
            }
        };
        let mut scheme = chosen.map(|(_, scheme)| scheme.clone()).expect("every gateway offers a scheme");
        match (&mut scheme, header, param) {
            (Scheme::StaticHeader { header } | Scheme::BodyHmac { header, .. }, Some(name), _) => {
                *header = name.to_ascii_lowercase();
            }
            (Scheme::UrlSecret { param }, _, Some(name)) => *param = name,
            _ => {}
        }
        scheme
    }

    /// What proves a webhook, newest first. Nothing configured is a fault: it would mean no check.
    pub(super) fn webhook_secrets(&mut self) -> Vec<SecretString> {
        let secrets = self.table.secrets("webhook_secret");
        if secrets.is_empty() {
            let problem =
                "is missing: without it anybody could verify any number; make one with `openssl rand -hex 32`";
            self.table.fault("webhook_secret", problem);
            return secrets;
        }
        for secret in &secrets {
            match weakness(secret.expose_secret()) {
                Some(why) if self.purpose == Purpose::Inspect => {
                    tracing::warn!(key = self.table.key("webhook_secret"), "the secret {why}; serve would refuse it");
                }
                Some(why) => {
                    self.table.fault("webhook_secret", format!("{why}; make one with `openssl rand -hex 32`"));
                }
                None => {}
            }
        }
        secrets
    }
}

/// A name as one segment of a path.
pub(super) fn segment(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}
