//! Ways to prove that a request is genuine, shared by all gateways.
//!
//! All secrets are tried, all comparisons take constant time, and every header must occur exactly once.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, Mac};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq as _};
use url::form_urlencoded;

use super::{Unauthenticated, Webhook};
use crate::domain::keys::sha256;

/// How far a signed time may be from ours, either way.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// How long Vonage repeats a webhook. Nobody documents that a repetition is signed anew, and refusing it would
/// lose what was sent while we were away. What such a token proves is this body alone, whose message has an id
/// that is remembered for longer, and a time of its own.
const REPEATED: SignedDuration = SignedDuration::from_hours(24);

const ABSENT: Unauthenticated = Unauthenticated("no signature");
const MALFORMED: Unauthenticated = Unauthenticated("malformed signature");
const WRONG: Unauthenticated = Unauthenticated("wrong signature");
const STALE: Unauthenticated = Unauthenticated("stale signature");

/// Hash of an HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

/// How a MAC is written in a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    /// Lower-case.
    Hex,
    Base64,
}

/// One way to prove a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Scheme {
    /// A header holds `prefix` and the HMAC of the raw body.
    BodyHmac { header: String, prefix: String, hash: Hash, encoding: Encoding },
    /// As above over `<value of timestamp_header>.<body>`, within five minutes.
    TimedHmac { header: String, timestamp_header: String, prefix: String, hash: Hash, encoding: Encoding },
    /// The Standard Webhooks headers, within five minutes.
    StandardWebhooks,
    /// A header repeats the secret, byte for byte. Proves no body and stops no replay.
    StaticHeader { header: String },
    /// The last path segment or a query parameter repeats the secret. For gateways that have nothing better.
    UrlSecret { param: String },
    /// An HS256 token as bearer, with `exp`.
    ExpiringJwt,
    /// An HS256 token as bearer, with an `iat` of the last day and the body's SHA-256 as `payload_hash`.
    BodyJwt,
    /// Twilio: HMAC-SHA1 of the URL and the sorted form parameters.
    Twilio { url: String },
    /// Bird: HMAC-SHA256 of timestamp, URL and the body's hash.
    Bird { url: String },
}

impl Scheme {
    pub(super) fn hub_sha256() -> Self {
        let (header, prefix) = ("x-hub-signature-256".to_owned(), "sha256=".to_owned());
        Self::BodyHmac { header, prefix, hash: Hash::Sha256, encoding: Encoding::Hex }
    }

    /// What it proves, for the banner at start.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::BodyHmac { hash: Hash::Sha512, .. } => "HMAC-SHA512 of the raw body",
            Self::BodyHmac { hash: Hash::Sha1, .. } => "HMAC-SHA1 of the raw body",
            Self::BodyHmac { .. } => "HMAC-SHA256 of the raw body",
            Self::TimedHmac { .. } => "HMAC of timestamp and raw body",
            Self::StandardWebhooks => "Standard Webhooks signature",
            Self::StaticHeader { .. } => "a secret in a header (weak: proves no body, stops no replay)",
            Self::UrlSecret { .. } => "a secret in the URL (weak: proves no body, stops no replay)",
            Self::ExpiringJwt => "an expiring token (weak: proves no body)",
            Self::BodyJwt => "a signed token with the body's hash",
            Self::Twilio { .. } => "HMAC-SHA1 of URL and parameters",
            Self::Bird { .. } => "HMAC-SHA256 of timestamp, URL and body",
        }
    }

    /// Whether a captured request could be repeated with another body.
    pub(super) fn is_weak(&self) -> bool {
        matches!(self, Self::StaticHeader { .. } | Self::UrlSecret { .. } | Self::ExpiringJwt)
    }

    /// Over the raw bytes, before anything is parsed.
    pub(super) fn verify(&self, webhook: &Webhook<'_>, secrets: &[SecretString]) -> Result<(), Unauthenticated> {
        match self {
            Self::BodyHmac { header, prefix, hash, encoding } => {
                let presented = signature(webhook, header, prefix)?;
                any(secrets, presented, |key| encode(*encoding, &hmac(*hash, key, &[webhook.body])))
            }
            Self::TimedHmac { header, timestamp_header, prefix, hash, encoding } => {
                let presented = signature(webhook, header, prefix)?;
                let stamp = webhook.header(timestamp_header).ok_or(ABSENT)?;
                let parts = [stamp.as_bytes(), b".", webhook.body];
                any(secrets, presented, |key| encode(*encoding, &hmac(*hash, key, &parts)))?;
                recent(stamp, webhook.now)
            }
            Self::StandardWebhooks => standard_webhooks(webhook, secrets),
            Self::StaticHeader { header } => {
                let presented = webhook.header(header).ok_or(Unauthenticated("no secret"))?;
                repeated(presented, secrets)
            }
            Self::UrlSecret { param } => {
                let in_query = query(webhook.query, param);
                let presented = webhook.path_secret.map(str::to_owned).or(in_query);
                repeated(&presented.ok_or(Unauthenticated("no secret"))?, secrets)
            }
            Self::ExpiringJwt => {
                let claims = jwt(webhook, secrets)?;
                let expires = claims.get("exp").and_then(Value::as_i64).ok_or(MALFORMED)?;
                if webhook.now.as_second() < expires { Ok(()) } else { Err(STALE) }
            }
            Self::BodyJwt => {
                let claims = jwt(webhook, secrets)?;
                let hash = claims.get("payload_hash").and_then(Value::as_str).ok_or(MALFORMED)?;
                if !bool::from(hex(&sha256(webhook.body)).as_bytes().ct_eq(hash.to_ascii_lowercase().as_bytes())) {
                    return Err(WRONG);
                }
                let issued = claims.get("iat").and_then(Value::as_i64).ok_or(MALFORMED)?;
                within(issued, webhook.now, REPEATED)
            }
            Self::Twilio { url } => twilio(webhook, url, secrets),
            Self::Bird { url } => {
                let presented = webhook.header("messagebird-signature").ok_or(ABSENT)?;
                let stamp = webhook.header("messagebird-request-timestamp").ok_or(ABSENT)?;
                let hash = sha256(webhook.body);
                let parts = [stamp.as_bytes(), b"\n", url.as_bytes(), b"\n", &hash];
                any(secrets, presented, |key| STANDARD.encode(hmac(Hash::Sha256, key, &parts)))?;
                recent(stamp, webhook.now)
            }
        }
    }
}

/// A secret that the gateway repeats to us.
pub(super) fn same_secret(presented: &str, secret: &SecretString) -> bool {
    repeated(presented, std::slice::from_ref(secret)).is_ok()
}

/// A parameter of a raw query.
pub(super) fn query(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn signature<'a>(webhook: &'a Webhook<'_>, header: &str, prefix: &str) -> Result<&'a str, Unauthenticated> {
    webhook.header(header).ok_or(ABSENT)?.strip_prefix(prefix).ok_or(MALFORMED)
}

/// Whether `presented` is what any of the secrets makes. An empty secret makes nothing.
fn any(secrets: &[SecretString], presented: &str, make: impl Fn(&[u8]) -> String) -> Result<(), Unauthenticated> {
    let matched = secrets.iter().map(|secret| secret.expose_secret().as_bytes()).filter(|key| !key.is_empty());
    let matched = matched.fold(Choice::from(0), |any, key| any | make(key).as_bytes().ct_eq(presented.as_bytes()));
    if matched.into() { Ok(()) } else { Err(WRONG) }
}

fn repeated(presented: &str, secrets: &[SecretString]) -> Result<(), Unauthenticated> {
    let known = secrets.iter().map(|secret| secret.expose_secret().as_bytes()).filter(|secret| !secret.is_empty());
    let matched = known.fold(Choice::from(0), |any, secret| any | presented.as_bytes().ct_eq(secret));
    if matched.into() { Ok(()) } else { Err(Unauthenticated("wrong secret")) }
}

/// Asked only after the signature was right: a forger learns nothing about our clock.
fn recent(stamp: &str, now: Timestamp) -> Result<(), Unauthenticated> {
    let seconds: i64 = stamp.parse().map_err(|_| MALFORMED)?;
    // Some gateways sign milliseconds.
    let seconds = if seconds > 100_000_000_000 { seconds / 1000 } else { seconds };
    within(seconds, now, SignedDuration::ZERO)
}

/// `longer` is what the past gets on top.
fn within(seconds: i64, now: Timestamp, longer: SignedDuration) -> Result<(), Unauthenticated> {
    let age = now.duration_since(Timestamp::from_second(seconds).map_err(|_| MALFORMED)?);
    if age <= TOLERANCE + longer && age >= -TOLERANCE { Ok(()) } else { Err(STALE) }
}

fn standard_webhooks(webhook: &Webhook<'_>, secrets: &[SecretString]) -> Result<(), Unauthenticated> {
    let id = webhook.header("webhook-id").ok_or(ABSENT)?;
    let stamp = webhook.header("webhook-timestamp").ok_or(ABSENT)?;
    let signatures = webhook.header("webhook-signature").ok_or(ABSENT)?;
    let mut matched = Choice::from(0);
    for key in secrets.iter().filter_map(|secret| crate::config::decode_whsec(secret.expose_secret())) {
        let genuine = STANDARD.encode(standard_signature(&key, id, stamp, webhook.body));
        for presented in signatures.split(' ').filter_map(|entry| entry.strip_prefix("v1,")) {
            matched |= genuine.as_bytes().ct_eq(presented.as_bytes());
        }
    }
    if bool::from(matched) { recent(stamp, webhook.now) } else { Err(WRONG) }
}

/// HMAC-SHA256 over `id.timestamp.body`.
pub(super) fn standard_signature(key: &[u8], id: &str, stamp: &str, body: &[u8]) -> Vec<u8> {
    hmac(Hash::Sha256, key, &[id.as_bytes(), b".", stamp.as_bytes(), b".", body])
}

/// The claims of a bearer token whose signature is right. The algorithm is ours to choose, never the token's.
fn jwt(webhook: &Webhook<'_>, secrets: &[SecretString]) -> Result<Value, Unauthenticated> {
    let header = webhook.header("authorization").ok_or(ABSENT)?;
    let token = header.strip_prefix("Bearer ").ok_or(MALFORMED)?;
    let (signed, presented) = token.rsplit_once('.').ok_or(MALFORMED)?;
    let (head, claims) = signed.split_once('.').ok_or(MALFORMED)?;
    any(secrets, presented, |key| URL_SAFE_NO_PAD.encode(hmac(Hash::Sha256, key, &[signed.as_bytes()])))?;
    let decode = |part: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
    let head = decode(head).ok_or(MALFORMED)?;
    if head.get("alg").and_then(Value::as_str) != Some("HS256") {
        return Err(MALFORMED);
    }
    decode(claims).ok_or(MALFORMED)
}

/// Twilio is inconsistent about the standard port, so the URL is tried with and without it.
fn twilio(webhook: &Webhook<'_>, url: &str, secrets: &[SecretString]) -> Result<(), Unauthenticated> {
    let presented = webhook.header("x-twilio-signature").ok_or(ABSENT)?;
    let mut full = url.to_owned();
    if !webhook.query.is_empty() && !url.contains('?') {
        full = format!("{url}?{}", webhook.query);
    }
    if let Some(expected) = query(webhook.query, "bodySHA256") {
        let genuine = hex(&sha256(webhook.body));
        if !bool::from(genuine.as_bytes().ct_eq(expected.to_ascii_lowercase().as_bytes())) {
            return Err(WRONG);
        }
        return twilio_urls(&full, "", presented, secrets);
    }
    let mut parameters: Vec<(String, String)> = form_urlencoded::parse(webhook.body).into_owned().collect();
    parameters.sort();
    parameters.dedup();
    let joined: String = parameters.into_iter().flat_map(|(name, value)| [name, value]).collect();
    twilio_urls(&full, &joined, presented, secrets)
}

fn twilio_urls(url: &str, joined: &str, presented: &str, secrets: &[SecretString]) -> Result<(), Unauthenticated> {
    let mut outcome = Err(WRONG);
    for url in with_and_without_port(url) {
        let make = |key: &[u8]| STANDARD.encode(hmac(Hash::Sha1, key, &[url.as_bytes(), joined.as_bytes()]));
        outcome = outcome.or(any(secrets, presented, make));
    }
    outcome
}

fn with_and_without_port(url: &str) -> Vec<String> {
    let mut spellings = vec![url.to_owned()];
    let Some((scheme, rest)) = url.split_once("://") else { return spellings };
    let port = if scheme == "http" { ":80" } else { ":443" };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    match host.strip_suffix(port) {
        Some(bare) => spellings.push(format!("{scheme}://{bare}{path}")),
        None if !host.contains(':') => spellings.push(format!("{scheme}://{host}{port}{path}")),
        None => {}
    }
    spellings
}

fn hmac(hash: Hash, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    match hash {
        Hash::Sha1 => sign::<Hmac<Sha1>>(key, parts),
        Hash::Sha256 => sign::<Hmac<Sha256>>(key, parts),
        Hash::Sha512 => sign::<Hmac<Sha512>>(key, parts),
    }
}

fn sign<M: Mac + hmac::KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn encode(encoding: Encoding, bytes: &[u8]) -> String {
    match encoding {
        Encoding::Hex => hex(bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    #[test]
    fn the_published_vector_of_waha() {
        let body = br#"{"event":"message","session":"default","engine":"WEBJS"}"#;
        let mac = hex(&hmac(Hash::Sha512, b"my-secret-key", &[body]));
        assert!(mac.starts_with("208f8a55") && mac.ends_with("76153fa89"), "{mac}");
    }

    #[test]
    fn the_published_vector_of_twilio() {
        let body = b"CallSid=CA1234567890ABCDE&Caller=%2B12349013030&Digits=1234&From=%2B12349013030&To=%2B18005551212";
        let mut headers = HeaderMap::new();
        headers.insert("x-twilio-signature", "0/KCTR6DLpKmkAf8muzZqo1nDgQ=".parse().unwrap());
        let webhook = Webhook {
            method: &Method::POST,
            path_secret: None,
            query: "foo=1&bar=2",
            headers: &headers,
            body,
            now: Timestamp::UNIX_EPOCH,
        };
        let verify = |url: &str| {
            Scheme::Twilio { url: url.to_owned() }.verify(&webhook, &[SecretString::from("12345".to_owned())])
        };
        assert_eq!(verify("https://mycompany.com/myapp.php"), Ok(()));
        assert_eq!(verify("https://mycompany.com:443/myapp.php"), Ok(()));
        assert_eq!(verify("https://mycompany.com/other.php"), Err(WRONG));
    }

    #[test]
    fn a_token_may_not_choose_its_algorithm() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", part(r#"{"alg":"none"}"#), part(r#"{"exp":9999999999}"#));
        let mac = URL_SAFE_NO_PAD.encode(hmac(Hash::Sha256, b"key", &[signed.as_bytes()]));
        for token in [format!("{signed}."), format!("{signed}.{mac}")] {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
            let webhook = Webhook {
                method: &Method::POST,
                path_secret: None,
                query: "",
                headers: &headers,
                body: b"",
                now: Timestamp::UNIX_EPOCH,
            };
            assert!(Scheme::ExpiringJwt.verify(&webhook, &[SecretString::from("key".to_owned())]).is_err());
        }
    }
}
