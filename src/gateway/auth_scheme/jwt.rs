//! JSON Web Tokens, HS256 only.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{Hash, MALFORMED_SIGNATURE, NO_SIGNATURE, check_signature, mac::hmac};
use crate::gateway::{Unauthenticated, Webhook};

/// The claims of the bearer token, after its signature is verified. A token whose `alg` is not HS256 is rejected.
pub(super) fn verified_claims(webhook: &Webhook<'_>, secrets: &[SecretString]) -> Result<Value, Unauthenticated> {
    let header = webhook.header("authorization").ok_or(NO_SIGNATURE)?;
    let token = header.strip_prefix("Bearer ").ok_or(MALFORMED_SIGNATURE)?;
    let (signed, presented) = token.rsplit_once('.').ok_or(MALFORMED_SIGNATURE)?;
    let (head, claims) = signed.split_once('.').ok_or(MALFORMED_SIGNATURE)?;
    check_signature(secrets, presented, |key| URL_SAFE_NO_PAD.encode(hmac(Hash::Sha256, key, &[signed.as_bytes()])))?;
    let decode = |part: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
    let head = decode(head).ok_or(MALFORMED_SIGNATURE)?;
    if head.get("alg").and_then(Value::as_str) != Some("HS256") {
        return Err(MALFORMED_SIGNATURE);
    }
    decode(claims).ok_or(MALFORMED_SIGNATURE)
}

/// An HS256 token with `verified_claims`.
pub(in crate::gateway) fn sign_token(key: &[u8], claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    let mac = URL_SAFE_NO_PAD.encode(hmac(Hash::Sha256, key, &[signed.as_bytes()]));
    format!("{signed}.{mac}")
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use jiff::Timestamp;

    use super::{super::AuthScheme, *};

    #[test]
    fn a_token_cannot_choose_its_algorithm() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", part(r#"{"alg":"none"}"#), part(r#"{"exp":9999999999}"#));
        let mac = URL_SAFE_NO_PAD.encode(hmac(Hash::Sha256, b"key", &[signed.as_bytes()]));
        for token in [format!("{signed}."), format!("{signed}.{mac}")] {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
            let webhook = Webhook {
                method: &Method::POST,
                path_suffix: None,
                query: "",
                headers: &headers,
                body: b"",
                now: Timestamp::UNIX_EPOCH,
            };
            assert!(AuthScheme::ExpiringJwt.verify(&webhook, &[SecretString::from("key".to_owned())]).is_err());
        }
    }
}
