//! Reading an `[instance.gateway]` table: the checks that URLs, identifiers and secrets of all gateways share.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use url::{Url, form_urlencoded};

use super::auth_scheme::AuthScheme;
use crate::{
    config::weakness,
    domain::Channel,
    reader::{Reader, not_one_of},
};

/// The warning at start for an instance with `sms_verifies`.
pub(super) const SMS_WARNING: &str = "an SMS verifies its sender, which can be forged (sms_verifies)";

/// What a gateway is built for; decides which settings are required.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// `serve`: real logins.
    Serve,
    /// `dev`: the simulator is allowed.
    Develop,
    /// Reading webhooks without sending: weak secrets are warnings, and settings for sending are optional.
    Inspect,
}

/// The `authorization` header of HTTP Basic authentication.
pub(super) fn basic_auth(user: &str, password: &SecretString) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose_secret())))
}

/// Reads the values of a gateway's table and collects its faults.
pub(super) struct ConfigReader<'a> {
    pub(super) table: Reader<'a>,
    pub(super) purpose: Purpose,
    /// Where this instance's webhooks arrive, by `public_url`.
    pub(super) webhook_url: &'a str,
}

impl ConfigReader<'_> {
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.table.text(name)
    }

    /// The URL that the gateway signs: `webhook_url` if the table has one, else the one by `public_url`. Gateways sign it
    /// as it is spelled, but without a fragment, which they may use for settings of their own.
    pub(super) fn webhook_url(&mut self) -> String {
        let Some(url) = self.text("webhook_url") else { return self.webhook_url.to_owned() };
        let is_web = |parsed: Url| matches!(parsed.scheme(), "http" | "https") && parsed.has_host();
        if url.contains(char::is_whitespace) || !Url::parse(&url).is_ok_and(is_web) {
            self.table
                .fault("webhook_url", "expected the whole URL as at the gateway, with https:// and without spaces");
        }
        url.split('#').next().unwrap_or_default().to_owned()
    }

    /// `sms_verifies`: whether a received SMS may verify its sender. The sender of an SMS can be forged.
    pub(super) fn sms_verifies(&mut self, channel: Channel) -> bool {
        let verifies = self.table.flag("sms_verifies", false);
        if verifies && channel != Channel::Sms {
            self.table.fault("sms_verifies", "needs channel = \"sms\": an SMS does not verify a WhatsApp identity");
        }
        verifies && channel == Channel::Sms
    }

    /// `button`: whether replies with a link have a button.
    pub(super) fn button(&mut self) -> bool {
        self.table.flag("button", true)
    }

    /// `request_contact_info`: whether people whose number is hidden are asked to share it.
    pub(super) fn request_contact_info(&mut self) -> bool {
        self.table.flag("request_contact_info", true)
    }

    /// The base URL of the gateway's API, without a trailing slash.
    pub(super) fn base_url(&mut self, default: Option<&str>) -> String {
        let url = self.table.url("url").map(String::from).or(default.map(str::to_owned));
        if url.is_none() && self.purpose != Purpose::Inspect && !self.table.has("url") {
            self.table.fault("url", "is missing: the URL of the gateway's API");
        }
        url.unwrap_or_default().trim_end_matches('/').to_owned()
    }

    /// A secret that sending needs; a fault if absent, except for [`Purpose::Inspect`].
    pub(super) fn sending_secret(&mut self, name: &str, hint: &str) -> SecretString {
        let secret = self.table.secret(name);
        if secret.is_none() && self.purpose != Purpose::Inspect {
            self.table.fault(name, format!("is missing: {hint}"));
        }
        if secret.as_ref().is_some_and(|secret| secret.expose_secret().contains(char::is_control)) {
            self.table.fault(name, "holds control characters, which no header can carry");
        }
        secret.unwrap_or_default()
    }

    /// An identifier for use as a URL path segment; a fault if absent, except for [`Purpose::Inspect`].
    pub(super) fn identifier(&mut self, name: &str, hint: &str) -> String {
        let id = self.text(name).unwrap_or_default();
        if id.is_empty() && self.purpose != Purpose::Inspect {
            self.table.fault(name, format!("is missing: {hint}"));
        } else if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            self.table.fault(name, "expected letters, digits, - and _");
        }
        id
    }

    /// The authentication scheme, for gateways with several: `webhook_auth` names one of `choices`, whose first is the
    /// default. `webhook_header` and `webhook_param` change the header or parameter that carries the credential.
    pub(super) fn scheme(&mut self, choices: &[(&str, AuthScheme)]) -> AuthScheme {
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
            (AuthScheme::StaticHeader { header } | AuthScheme::BodyHmac { header, .. }, Some(name), _) => {
                *header = name.to_ascii_lowercase();
            }
            (AuthScheme::UrlSecret { param }, _, Some(name)) => *param = name,
            _ => {}
        }
        scheme
    }

    /// The secrets that authenticate webhooks, newest first. At least one is required.
    pub(super) fn webhook_secrets(&mut self) -> Vec<SecretString> {
        let secrets = self.table.secrets("webhook_secret");
        if secrets.is_empty() {
            let problem = "is missing: without it, forged webhooks could verify any number; generate one with `openssl rand -hex 32`";
            self.table.fault("webhook_secret", problem);
            return secrets;
        }
        for secret in &secrets {
            match weakness(secret.expose_secret()) {
                Some(why) if self.purpose == Purpose::Inspect => {
                    tracing::warn!(key = self.table.key("webhook_secret"), "the secret {why}; `serve` would refuse it");
                }
                Some(why) => {
                    self.table.fault("webhook_secret", format!("{why}; generate one with `openssl rand -hex 32`"));
                }
                None => {}
            }
        }
        secrets
    }
}

/// Percent-encodes a name as one URL path segment.
pub(super) fn path_segment(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}
