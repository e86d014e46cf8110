//! Twilio's signature: HMAC-SHA1 over the URL as configured at Twilio and the sorted form parameters.
//! Source: twilio.com/docs/usage/webhooks/webhooks-security.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::SecretString;
use subtle::ConstantTimeEq as _;
use url::form_urlencoded;

use super::{
    ABSENT, Hash, WRONG, any,
    mac::{hex, hmac},
    query,
};
use crate::{
    domain::keys::sha256,
    gateway::{Unauthenticated, Webhook},
};

/// Tries the URL with and without its default port, because Twilio includes the port inconsistently.
pub(super) fn verify(webhook: &Webhook<'_>, url: &str, secrets: &[SecretString]) -> Result<(), Unauthenticated> {
    let presented = webhook.header("x-twilio-signature").ok_or(ABSENT)?;
    let full = full(url, webhook.query);
    if let Some(expected) = query(webhook.query, "bodySHA256") {
        let genuine = hex(&sha256(webhook.body));
        if !bool::from(genuine.as_bytes().ct_eq(expected.to_ascii_lowercase().as_bytes())) {
            return Err(WRONG);
        }
        return by_any_url(&full, "", presented, secrets);
    }
    by_any_url(&full, &joined(webhook.body), presented, secrets)
}

/// The signature of a form that is posted to `url`.
pub(super) fn signature(key: &[u8], url: &str, query: &str, form: &[u8]) -> String {
    STANDARD.encode(hmac(Hash::Sha1, key, &[full(url, query).as_bytes(), joined(form).as_bytes()]))
}

fn full(url: &str, query: &str) -> String {
    if query.is_empty() || url.contains('?') { url.to_owned() } else { format!("{url}?{query}") }
}

/// Names and values of the parameters, sorted by name and concatenated.
fn joined(form: &[u8]) -> String {
    let mut parameters: Vec<(String, String)> = form_urlencoded::parse(form).into_owned().collect();
    parameters.sort();
    parameters.dedup();
    parameters.into_iter().flat_map(|(name, value)| [name, value]).collect()
}

fn by_any_url(url: &str, joined: &str, presented: &str, secrets: &[SecretString]) -> Result<(), Unauthenticated> {
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

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use jiff::Timestamp;

    use super::{super::Scheme, *};

    #[test]
    fn matches_the_published_example_of_twilio() {
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
}
