//! Forgeries: changes to a genuine webhook that an attacker without the secret can make. The daemon must refuse all of
//! them.

mod content;
mod credential;

use std::collections::HashSet;

use jiff::Timestamp;
use url::form_urlencoded;

use crate::gateway::{CredentialLocation, WebhookAuth, WebhookRequest};

/// One forged request.
pub(super) struct Forgery {
    pub(super) name: String,
    pub(super) webhook: WebhookRequest,
}

/// All forgeries that apply to this authentication scheme, without duplicates. `sender` is the phone in the genuine
/// request, `others` are other instances' secrets.
pub(super) fn forgeries(
    auth: &WebhookAuth<'_>,
    unsigned: &WebhookRequest,
    sender: &str,
    others: &[String],
    now: Timestamp,
) -> Vec<Forgery> {
    let mut genuine = unsigned.clone();
    auth.sign(&mut genuine, now);
    let mut forge = ForgeryBuilder { auth, unsigned, sender, genuine, now, forgeries: Vec::new() };
    forge.altered_credentials();
    forge.misplaced_credentials();
    forge.other_secrets(others);
    if !auth.is_weak() {
        forge.other_bodies();
    }
    forge.other_times();
    if auth.signs_url() {
        forge.other_urls();
    }
    forge.altered_tokens();
    let mut seen = HashSet::from([request_key(&forge.genuine)]);
    forge.forgeries.retain(|forgery| seen.insert(request_key(&forgery.webhook)));
    forge.forgeries
}

/// Equal for equal requests: headers of different names have no order.
fn request_key(webhook: &WebhookRequest) -> (String, Vec<(String, String)>, Vec<u8>) {
    let mut headers = webhook.headers.clone();
    headers.sort_by(|one, other| one.0.cmp(&other.0));
    (webhook.query.clone(), headers, webhook.body.clone())
}

struct ForgeryBuilder<'a> {
    auth: &'a WebhookAuth<'a>,
    unsigned: &'a WebhookRequest,
    sender: &'a str,
    genuine: WebhookRequest,
    now: Timestamp,
    forgeries: Vec<Forgery>,
}

impl ForgeryBuilder<'_> {
    fn add(&mut self, name: impl Into<String>, webhook: WebhookRequest) {
        self.forgeries.push(Forgery { name: name.into(), webhook });
    }

    /// The genuine credential, with its prefix.
    fn credential(&self) -> String {
        match self.auth.credential_location() {
            CredentialLocation::Header(name) => header_value(&self.genuine, &name).unwrap_or_default(),
            CredentialLocation::Query(name) => {
                let mut pairs = form_urlencoded::parse(self.genuine.query.as_bytes());
                pairs.find(|(key, _)| *key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
            }
        }
    }

    /// The genuine request with other credentials.
    fn with_credentials(&self, values: &[&str]) -> WebhookRequest {
        let mut webhook = self.genuine.clone();
        match self.auth.credential_location() {
            CredentialLocation::Header(name) => {
                webhook.headers.retain(|(known, _)| *known != name);
                webhook.headers.extend(values.iter().map(|value| (name.clone(), (*value).to_owned())));
            }
            CredentialLocation::Query(name) => {
                let pairs = values.iter().map(|value| (name.as_str(), *value));
                webhook.query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            }
        }
        webhook
    }
}

fn header_value(webhook: &WebhookRequest, name: &str) -> Option<String> {
    webhook.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

/// Replaces the character at `place` by another of the same class.
fn with_changed_char(text: &str, place: usize) -> String {
    let other = |c: char| match c {
        '0' => '1',
        'a' => 'b',
        'A' => 'B',
        c if c.is_ascii_digit() => '0',
        c if c.is_ascii_uppercase() => 'A',
        _ => 'a',
    };
    text.chars().enumerate().map(|(index, c)| if index == place { other(c) } else { c }).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
