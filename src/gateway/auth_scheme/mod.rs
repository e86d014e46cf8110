//! Webhook authentication schemes, shared by all gateways.
//!
//! Every configured secret is tried, comparisons take constant time, and each header must occur exactly once.

mod jwt;
mod mac;
mod sign;
mod twilio;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use subtle::{Choice, ConstantTimeEq as _};
use url::form_urlencoded;

use self::mac::{encode, hex, hmac};
pub use self::sign::{CredentialLocation, WebhookRequest};
use super::{Unauthenticated, Webhook};
use crate::{domain::standard_webhooks, hash::sha256};

/// How far a signed timestamp may differ from this host's clock, in either direction.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// How long Vonage retries a webhook. It is not documented that a retry is signed again, so tokens of this age must be
/// accepted, or messages sent during an outage are lost. Replays stay harmless: the token authenticates one body, whose
/// message id is remembered for longer than this.
const RETRY_PERIOD: SignedDuration = SignedDuration::from_hours(24);

const NO_SIGNATURE: Unauthenticated = Unauthenticated("no signature");
const MALFORMED_SIGNATURE: Unauthenticated = Unauthenticated("malformed signature");
const WRONG_SIGNATURE: Unauthenticated = Unauthenticated("wrong signature");
const STALE_SIGNATURE: Unauthenticated = Unauthenticated("stale signature");

/// The hash function of an HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

/// The encoding of an HMAC in a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    /// Lower-case.
    Hex,
    Base64,
}

/// An authentication scheme with its parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum AuthScheme {
    /// A header contains `prefix` and the HMAC of the raw body.
    BodyHmac { header: String, prefix: String, hash: Hash, encoding: Encoding },
    /// Like [`AuthScheme::BodyHmac`], over `<value of timestamp_header>.<body>`; valid for five minutes.
    TimedHmac { header: String, timestamp_header: String, prefix: String, hash: Hash, encoding: Encoding },
    /// The headers of standardwebhooks.com; valid for five minutes.
    StandardWebhooks,
    /// A header contains the secret. Neither authenticates the body nor stops replays.
    StaticHeader { header: String },
    /// The last path segment or a query parameter contains the secret. For gateways that support nothing better.
    UrlSecret { param: String },
    /// A bearer HS256 token with `exp`. Does not authenticate the body.
    ExpiringJwt,
    /// A bearer HS256 token with `iat`, valid for a day, and the body's SHA-256 in `payload_hash`.
    BodyJwt,
    /// Twilio: HMAC-SHA1 of the URL and the sorted form parameters.
    Twilio { url: String },
    /// Bird: HMAC-SHA256 of timestamp, URL and the body's hash.
    Bird { url: String },
}

impl AuthScheme {
    /// `X-Hub-Signature-256: sha256=<hex>`, as Meta signs.
    pub(super) fn hub_sha256() -> Self {
        let (header, prefix) = ("x-hub-signature-256".to_owned(), "sha256=".to_owned());
        Self::BodyHmac { header, prefix, hash: Hash::Sha256, encoding: Encoding::Hex }
    }

    /// A description for the log at start.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::BodyHmac { hash: Hash::Sha512, .. } => "HMAC-SHA512 of the raw body",
            Self::BodyHmac { hash: Hash::Sha1, .. } => "HMAC-SHA1 of the raw body",
            Self::BodyHmac { .. } => "HMAC-SHA256 of the raw body",
            Self::TimedHmac { .. } => "HMAC of timestamp and raw body",
            Self::StandardWebhooks => "Standard Webhooks signature",
            Self::StaticHeader { .. } => "a secret in a header (weak: does not cover the body, allows replays)",
            Self::UrlSecret { .. } => "a secret in the URL (weak: does not cover the body, allows replays)",
            Self::ExpiringJwt => "an expiring token (weak: does not cover the body)",
            Self::BodyJwt => "a signed token with the body's hash",
            Self::Twilio { .. } => "HMAC-SHA1 of URL and parameters",
            Self::Bird { .. } => "HMAC-SHA256 of timestamp, URL and body",
        }
    }

    /// Whether a captured credential can be reused with another body.
    pub(super) fn is_weak(&self) -> bool {
        !self.covers_body()
    }

    /// Whether the result of [`AuthScheme::verify`] depends on the body.
    pub(super) fn covers_body(&self) -> bool {
        !matches!(self, Self::StaticHeader { .. } | Self::UrlSecret { .. } | Self::ExpiringJwt)
    }

    /// Authenticates the raw bytes of a webhook.
    pub(super) fn verify(&self, webhook: &Webhook<'_>, secrets: &[SecretString]) -> Result<(), Unauthenticated> {
        match self {
            Self::BodyHmac { header, prefix, hash, encoding } => {
                let presented = header_signature(webhook, header, prefix)?;
                check_signature(secrets, presented, |key| encode(*encoding, &hmac(*hash, key, &[webhook.body])))
            }
            Self::TimedHmac { header, timestamp_header, prefix, hash, encoding } => {
                let presented = header_signature(webhook, header, prefix)?;
                let stamp = webhook.header(timestamp_header).ok_or(NO_SIGNATURE)?;
                let parts = [stamp.as_bytes(), b".", webhook.body];
                check_signature(secrets, presented, |key| encode(*encoding, &hmac(*hash, key, &parts)))?;
                check_timestamp(stamp, webhook.now)
            }
            Self::StandardWebhooks => standard_webhooks(webhook, secrets),
            Self::StaticHeader { header } => {
                let presented = webhook.header(header).ok_or(Unauthenticated("no secret"))?;
                check_secret(presented, secrets)
            }
            Self::UrlSecret { param } => {
                let in_query = query_parameter(webhook.query, param);
                let presented = webhook.path_suffix.map(str::to_owned).or(in_query);
                check_secret(&presented.ok_or(Unauthenticated("no secret"))?, secrets)
            }
            Self::ExpiringJwt => {
                let claims = jwt::verified_claims(webhook, secrets)?;
                let expires = claims.get("exp").and_then(Value::as_i64).ok_or(MALFORMED_SIGNATURE)?;
                if webhook.now.as_second() < expires { Ok(()) } else { Err(STALE_SIGNATURE) }
            }
            Self::BodyJwt => {
                let claims = jwt::verified_claims(webhook, secrets)?;
                let hash = claims.get("payload_hash").and_then(Value::as_str).ok_or(MALFORMED_SIGNATURE)?;
                if !bool::from(hex(&sha256(webhook.body)).as_bytes().ct_eq(hash.to_ascii_lowercase().as_bytes())) {
                    return Err(WRONG_SIGNATURE);
                }
                let issued = claims.get("iat").and_then(Value::as_i64).ok_or(MALFORMED_SIGNATURE)?;
                check_age(issued, webhook.now, RETRY_PERIOD)
            }
            Self::Twilio { url } => twilio::verify(webhook, url, secrets),
            Self::Bird { url } => {
                let presented = webhook.header("messagebird-signature").ok_or(NO_SIGNATURE)?;
                let stamp = webhook.header("messagebird-request-timestamp").ok_or(NO_SIGNATURE)?;
                let hash = sha256(webhook.body);
                let parts = [stamp.as_bytes(), b"\n", url.as_bytes(), b"\n", &hash];
                check_signature(secrets, presented, |key| STANDARD.encode(hmac(Hash::Sha256, key, &parts)))?;
                check_timestamp(stamp, webhook.now)
            }
        }
    }
}

/// Whether `presented` equals `secret`, in constant time.
pub(super) fn same_secret(presented: &str, secret: &SecretString) -> bool {
    check_secret(presented, std::slice::from_ref(secret)).is_ok()
}

/// The first value of a parameter in a raw query.
pub(super) fn query_parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn header_signature<'a>(webhook: &'a Webhook<'_>, header: &str, prefix: &str) -> Result<&'a str, Unauthenticated> {
    webhook.header(header).ok_or(NO_SIGNATURE)?.strip_prefix(prefix).ok_or(MALFORMED_SIGNATURE)
}

/// Compares `presented` with the signature that `make` computes for each secret. An empty secret never matches.
fn check_signature(
    secrets: &[SecretString],
    presented: &str,
    make: impl Fn(&[u8]) -> String,
) -> Result<(), Unauthenticated> {
    let matched = secrets.iter().map(|secret| secret.expose_secret().as_bytes()).filter(|key| !key.is_empty());
    let matched = matched.fold(Choice::from(0), |any, key| any | make(key).as_bytes().ct_eq(presented.as_bytes()));
    if matched.into() { Ok(()) } else { Err(WRONG_SIGNATURE) }
}

fn check_secret(presented: &str, secrets: &[SecretString]) -> Result<(), Unauthenticated> {
    let known = secrets.iter().map(|secret| secret.expose_secret().as_bytes()).filter(|secret| !secret.is_empty());
    let matched = known.fold(Choice::from(0), |any, secret| any | presented.as_bytes().ct_eq(secret));
    if matched.into() { Ok(()) } else { Err(Unauthenticated("wrong secret")) }
}

/// Checks a signed timestamp. Called after the signature is verified, so that a forger learns nothing about this clock.
fn check_timestamp(stamp: &str, now: Timestamp) -> Result<(), Unauthenticated> {
    let seconds: i64 = stamp.parse().map_err(|_| MALFORMED_SIGNATURE)?;
    // Some gateways sign milliseconds.
    let seconds = if seconds > 100_000_000_000 { seconds / 1000 } else { seconds };
    check_age(seconds, now, SignedDuration::ZERO)
}

/// Checks a time against [`CLOCK_TOLERANCE`]; `longer` is added to the maximum age.
fn check_age(seconds: i64, now: Timestamp, longer: SignedDuration) -> Result<(), Unauthenticated> {
    let age = now.duration_since(Timestamp::from_second(seconds).map_err(|_| MALFORMED_SIGNATURE)?);
    if age <= CLOCK_TOLERANCE + longer && age >= -CLOCK_TOLERANCE { Ok(()) } else { Err(STALE_SIGNATURE) }
}

fn standard_webhooks(webhook: &Webhook<'_>, secrets: &[SecretString]) -> Result<(), Unauthenticated> {
    let id = webhook.header("webhook-id").ok_or(NO_SIGNATURE)?;
    let stamp = webhook.header("webhook-timestamp").ok_or(NO_SIGNATURE)?;
    let signatures = webhook.header("webhook-signature").ok_or(NO_SIGNATURE)?;
    if standard_webhooks::verify(secrets, id, stamp, webhook.body, signatures) {
        check_timestamp(stamp, webhook.now)
    } else {
        Err(WRONG_SIGNATURE)
    }
}
