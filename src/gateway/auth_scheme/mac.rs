//! HMACs and their encodings.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::{Encoding, Hash};

pub(super) fn hmac(hash: Hash, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
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

pub(super) fn encode(encoding: Encoding, bytes: &[u8]) -> String {
    match encoding {
        Encoding::Hex => hex(bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_example_of_waha() {
        let body = br#"{"event":"message","session":"default","engine":"WEBJS"}"#;
        let mac = hex(&hmac(Hash::Sha512, b"my-secret-key", &[body]));
        assert!(mac.starts_with("208f8a55") && mac.ends_with("76153fa89"), "{mac}");
    }
}
