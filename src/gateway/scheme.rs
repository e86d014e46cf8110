//! Ways to prove that a request is genuine. All secrets are tried, all comparisons take constant time.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq as _};

use super::{Unauthenticated, Webhook};

/// How far a signed time may be from ours, either way.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Hash of an HMAC.
#[derive(Clone, Copy)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

/// `header` holds `prefix` and the lower-case hex HMAC of the raw body.
pub(super) fn body_hmac_hex(
    webhook: &Webhook<'_>,
    header: &str,
    prefix: &str,
    hash: Hash,
    secrets: &[SecretString],
) -> Result<(), Unauthenticated> {
    let value = webhook.header(header).ok_or(Unauthenticated("no signature"))?;
    let presented = value.strip_prefix(prefix).ok_or(Unauthenticated("malformed signature"))?;
    let any = secrets.iter().fold(Choice::from(0), |any, secret| {
        let genuine = hmac_hex(hash, secret.expose_secret().as_bytes(), webhook.body);
        any | genuine.as_bytes().ct_eq(presented.as_bytes())
    });
    if any.into() { Ok(()) } else { Err(Unauthenticated("wrong signature")) }
}

fn hmac_hex(hash: Hash, key: &[u8], message: &[u8]) -> String {
    match hash {
        Hash::Sha256 => hex(&sign::<Hmac<Sha256>>(key, message)),
        Hash::Sha512 => hex(&sign::<Hmac<Sha512>>(key, message)),
    }
}

fn sign<M: hmac::Mac + hmac::KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = <M as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The Standard Webhooks headers, over the raw body, within five minutes.
pub(super) fn standard_webhooks(webhook: &Webhook<'_>, secrets: &[SecretString]) -> Result<(), Unauthenticated> {
    let absent = Unauthenticated("no signature");
    let id = webhook.header("webhook-id").ok_or(absent)?;
    let stamp = webhook.header("webhook-timestamp").ok_or(absent)?;
    let signatures = webhook.header("webhook-signature").ok_or(absent)?;
    let at = stamp.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let at = at.ok_or(Unauthenticated("malformed timestamp"))?;
    let mut any = Choice::from(0);
    for secret in secrets {
        let Some(key) = crate::config::decode_whsec(secret.expose_secret()) else { continue };
        let genuine = STANDARD.encode(standard_signature(&key, id, stamp, webhook.body));
        for presented in signatures.split(' ').filter_map(|entry| entry.strip_prefix("v1,")) {
            any |= genuine.as_bytes().ct_eq(presented.as_bytes());
        }
    }
    if !bool::from(any) {
        return Err(Unauthenticated("wrong signature"));
    }
    // Only now: a forger learns nothing about our clock.
    if at.duration_since(webhook.now).abs() > TOLERANCE {
        return Err(Unauthenticated("stale signature"));
    }
    Ok(())
}

/// HMAC-SHA256 over `id.timestamp.body`.
pub(super) fn standard_signature(key: &[u8], id: &str, stamp: &str, body: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in [id.as_bytes(), b".", stamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// A secret that the gateway repeats to us.
pub(super) fn same_secret(presented: &str, secret: &SecretString) -> bool {
    let expected = secret.expose_secret().as_bytes();
    !expected.is_empty() && bool::from(presented.as_bytes().ct_eq(expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector_of_waha() {
        let body = br#"{"event":"message","session":"default","engine":"WEBJS"}"#;
        let mac = hmac_hex(Hash::Sha512, b"my-secret-key", body);
        assert!(mac.starts_with("208f8a55") && mac.ends_with("76153fa89"), "{mac}");
    }
}
