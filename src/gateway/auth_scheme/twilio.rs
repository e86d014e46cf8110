//! Twilio's signature: an HMAC over the URL as configured at Twilio and the sorted form parameters: SHA-1 with the auth
//! token, or SHA-256 with a shared key. Sources: twilio.com/docs/usage/webhooks/webhooks-security and
//! /docs/usage/webhooks/webhook-shared-keys.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::SecretString;
use subtle::ConstantTimeEq as _;
use url::form_urlencoded;

use super::{
    Hash, MALFORMED_SIGNATURE, NO_SIGNATURE, WRONG_SIGNATURE, check_signature,
    mac::{hex, hmac},
    query_parameter,
};
use crate::{
    gateway::{Unauthenticated, Webhook},
    hash::sha256,
};

/// Tries the URL with and without its default port, because Twilio includes the port inconsistently.
pub(super) fn verify(webhook: &Webhook<'_>, url: &str, secrets: &[SecretString]) -> Result<(), Unauthenticated> {
    let presented = webhook.header("x-twilio-signature").ok_or(NO_SIGNATURE)?;
    let hash = signature_hash(webhook)?;
    let full = full_url(url, webhook.query);
    if let Some(expected) = query_parameter(webhook.query, "bodySHA256") {
        let genuine = hex(&sha256(webhook.body));
        if !bool::from(genuine.as_bytes().ct_eq(expected.to_ascii_lowercase().as_bytes())) {
            return Err(WRONG_SIGNATURE);
        }
        return check_url_variants(hash, &full, "", presented, secrets);
    }
    check_url_variants(hash, &full, &sorted_parameters(webhook.body), presented, secrets)
}

/// With a shared key, a header names the key and the algorithm: `key=…,algorithm=HMAC_SHA256`.
fn signature_hash(webhook: &Webhook<'_>) -> Result<Hash, Unauthenticated> {
    const SETTINGS: &str = "x-twilio-webhooks-signature-settings";
    if !webhook.headers.contains_key(SETTINGS) {
        return Ok(Hash::Sha1);
    }
    let settings = webhook.header(SETTINGS).ok_or(MALFORMED_SIGNATURE)?;
    let mut entries = settings.split(',').filter_map(|entry| entry.trim().split_once('='));
    match entries.find(|(name, _)| *name == "algorithm") {
        Some((_, "HMAC_SHA256")) => Ok(Hash::Sha256),
        None | Some((_, "HMAC_SHA1")) => Ok(Hash::Sha1),
        Some(_) => Err(MALFORMED_SIGNATURE),
    }
}

/// The signature of a form that is posted to `url`.
pub(super) fn signature(key: &[u8], url: &str, query: &str, form: &[u8]) -> String {
    STANDARD.encode(hmac(Hash::Sha1, key, &[full_url(url, query).as_bytes(), sorted_parameters(form).as_bytes()]))
}

fn full_url(url: &str, query: &str) -> String {
    if query.is_empty() || url.contains('?') { url.to_owned() } else { format!("{url}?{query}") }
}

/// Names and values of the parameters, sorted by name and concatenated.
fn sorted_parameters(form: &[u8]) -> String {
    let mut parameters: Vec<(String, String)> = form_urlencoded::parse(form).into_owned().collect();
    parameters.sort();
    parameters.dedup();
    parameters.into_iter().flat_map(|(name, value)| [name, value]).collect()
}

fn check_url_variants(
    hash: Hash,
    url: &str,
    joined: &str,
    presented: &str,
    secrets: &[SecretString],
) -> Result<(), Unauthenticated> {
    let mut outcome = Err(WRONG_SIGNATURE);
    for url in url_variants(url) {
        let make = |key: &[u8]| STANDARD.encode(hmac(hash, key, &[url.as_bytes(), joined.as_bytes()]));
        outcome = outcome.or(check_signature(secrets, presented, make));
    }
    outcome
}

fn url_variants(url: &str) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use jiff::Timestamp;

    use super::{super::AuthScheme, *};

    #[test]
    fn matches_the_published_example_of_twilio() {
        let body = b"CallSid=CA1234567890ABCDE&Caller=%2B12349013030&Digits=1234&From=%2B12349013030&To=%2B18005551212";
        let mut headers = HeaderMap::new();
        headers.insert("x-twilio-signature", "0/KCTR6DLpKmkAf8muzZqo1nDgQ=".parse().unwrap());
        let webhook = Webhook {
            method: &Method::POST,
            path_suffix: None,
            query: "foo=1&bar=2",
            headers: &headers,
            body,
            now: Timestamp::UNIX_EPOCH,
        };
        let verify = |url: &str| {
            AuthScheme::Twilio { url: url.to_owned() }.verify(&webhook, &[SecretString::from("12345".to_owned())])
        };
        assert_eq!(verify("https://mycompany.com/myapp.php"), Ok(()));
        assert_eq!(verify("https://mycompany.com:443/myapp.php"), Ok(()));
        assert_eq!(verify("https://mycompany.com/other.php"), Err(WRONG_SIGNATURE));
    }
}
