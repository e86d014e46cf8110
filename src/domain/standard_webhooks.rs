//! Standard Webhooks (standardwebhooks.com): secrets and signatures, for our callbacks and for webhooks from gateways.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq as _};

/// The key bytes of a secret `whsec_<base64>`. `None` if it is malformed or empty.
pub fn key(secret: &str) -> Option<Vec<u8>> {
    STANDARD.decode(secret.strip_prefix("whsec_")?).ok().filter(|key| !key.is_empty())
}

/// One signature for each secret, in the given order (newest first), separated by spaces. Malformed secrets are
/// skipped.
pub fn sign(secrets: &[SecretString], id: &str, timestamp: &str, body: &[u8]) -> String {
    let keys = secrets.iter().filter_map(|secret| key(secret.expose_secret()));
    keys.map(|key| signature(&key, id, timestamp, body)).collect::<Vec<_>>().join(" ")
}

/// Whether any entry of `header` was made with any of the secrets, in constant time. Does not check the timestamp.
pub fn verify(secrets: &[SecretString], id: &str, timestamp: &str, body: &[u8], header: &str) -> bool {
    let mut genuine = Choice::from(0);
    for key in secrets.iter().filter_map(|secret| key(secret.expose_secret())) {
        let expected = signature(&key, id, timestamp, body);
        for presented in header.split(' ') {
            genuine |= presented.as_bytes().ct_eq(expected.as_bytes());
        }
    }
    genuine.into()
}

/// `v1,` followed by the base64 HMAC-SHA256 of `id.timestamp.body`.
pub fn signature(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> SecretString {
        SecretString::from(format!("whsec_{}", STANDARD.encode([byte; 32])))
    }

    #[test]
    fn the_example_of_the_specification() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let (id, at, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b"{\"test\": 2432232314}");
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(std::slice::from_ref(&secret), id, at, body), expected);
        assert!(verify(&[secret], id, at, body, expected));
    }

    #[test]
    fn a_signature_counts_in_every_state_of_a_rotation() {
        let (old, new) = (secret(1), secret(2));
        let (old, both, new) = (vec![old.clone()], vec![new.clone(), old], vec![new]);
        for (signing, by_old, by_new) in [(&old, true, false), (&both, true, true), (&new, false, true)] {
            let header = sign(signing, "msg_1", "5", b"x");
            assert_eq!(verify(&old, "msg_1", "5", b"x", &header), by_old);
            assert_eq!(verify(&new, "msg_1", "5", b"x", &header), by_new);
            assert!(verify(&both, "msg_1", "5", b"x", &header));
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_no_signature() {
        let secrets = [secret(1)];
        let header = sign(&secrets, "msg_1", "5", b"x");
        for bad in ["", "v1,", "v1", &header[..header.len() - 1], &header.replace("v1", "v2"), &header[3..]] {
            assert!(!verify(&secrets, "msg_1", "5", b"x", bad), "{bad}");
        }
        for (id, at, body) in [("msg_2", "5", b"x"), ("msg_1", "6", b"x"), ("msg_1", "5", b"y")] {
            assert!(!verify(&secrets, id, at, body, &header));
        }
        assert!(!verify(&[], "msg_1", "5", b"x", ""));
    }
}
