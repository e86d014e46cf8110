//! Standard Webhooks signatures: any receiver library verifies them, in every state of a rotation.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// One `v1,` entry per secret, newest first, one space between.
pub fn sign(secrets: &[SecretString], id: &str, timestamp: i64, body: &[u8]) -> String {
    let entries = secrets.iter().filter_map(|secret| entry(secret, id, timestamp, body));
    entries.collect::<Vec<_>>().join(" ")
}

/// Whether any entry of `header` is made with `secret`. For people who want to know why theirs is not.
pub fn verify(secret: &SecretString, id: &str, timestamp: i64, body: &[u8], header: &str) -> bool {
    let Some(genuine) = entry(secret, id, timestamp, body) else { return false };
    header
        .split(' ')
        .fold(subtle::Choice::from(0), |any, entry| any | entry.as_bytes().ct_eq(genuine.as_bytes()))
        .into()
}

fn entry(secret: &SecretString, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let key = crate::config::decode_whsec(secret.expose_secret())?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes a key of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> SecretString {
        SecretString::from(format!("whsec_{}", STANDARD.encode([byte; 32])))
    }

    #[test]
    fn the_published_crate_accepts_every_state_of_a_rotation() {
        let (old, new) = (secret(1), secret(2));
        let now = crate::clock::Clock::default().wall().as_second();
        let body = "{\"type\":\"link.verified\",\"data\":{\"push_name\":\"Zoë ☕\"}}";
        let states: [(&[SecretString], bool, bool); 3] = [
            (std::slice::from_ref(&old), true, false),
            (&[new.clone(), old.clone()], true, true),
            (std::slice::from_ref(&new), false, true),
        ];
        for (signing, holder_of_old, holder_of_new) in states {
            let header = sign(signing, "msg_1", now, body.as_bytes());
            let mut headers = http::HeaderMap::new();
            headers.insert("webhook-id", "msg_1".parse().unwrap());
            headers.insert("webhook-timestamp", now.to_string().parse().unwrap());
            headers.insert("webhook-signature", header.parse().unwrap());
            for (held, expected) in [(&old, holder_of_old), (&new, holder_of_new)] {
                let library = standardwebhooks::Webhook::new(held.expose_secret()).unwrap();
                assert_eq!(library.verify(body.as_bytes(), &headers).is_ok(), expected);
                assert_eq!(verify(held, "msg_1", now, body.as_bytes(), &header), expected);
            }
        }
    }

    #[test]
    fn a_cut_signature_is_none() {
        let header = sign(&[secret(1)], "msg_1", 5, b"x");
        for bad in ["", "v1,", "v1", &header[..header.len() - 1], &header.replace("v1", "v2")] {
            assert!(!verify(&secret(1), "msg_1", 5, b"x", bad), "{bad}");
        }
    }
}
