//! Tokens verified with the published keys, and keys that are refused.

use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Value, json};

use super::*;

/// From `openssl genpkey`; used nowhere else.
const RSA: &[u8] = include_bytes!("../../tests/fixtures/oidc/rs256.pem");
const EC: &[u8] = include_bytes!("../../tests/fixtures/oidc/es256.pem");

fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn member(jwk: &Value, name: &str) -> Vec<u8> {
    decoded(jwk[name].as_str().unwrap_or_else(|| panic!("{jwk}")))
}

#[test]
fn tokens_are_verified_with_the_published_key_only() {
    for (pem, algorithm) in [(RSA, "RS256"), (EC, "ES256")] {
        let key = SigningKey::from_pem(pem).unwrap();
        let token = key.sign(&json!({ "sub": "a" })).unwrap();
        let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let header: Value = serde_json::from_slice(&decoded(header)).unwrap();
        assert_eq!(header, json!({ "typ": "JWT", "alg": algorithm, "kid": key.id() }));
        assert_eq!(decoded(claims), br#"{"sub":"a"}"#);
        let jwk = serde_json::to_value(key.public()).unwrap();
        assert_eq!((&jwk["use"], &jwk["alg"], &jwk["kid"]), (&json!("sig"), &json!(algorithm), &json!(key.id())));
        assert!(jwk.get("d").is_none() && jwk.get("p").is_none(), "the private part is not published");
        let verify = |message: &[u8]| {
            let signature = decoded(signature);
            if algorithm == "RS256" {
                let public = RsaPublicKeyComponents { n: member(&jwk, "n"), e: member(&jwk, "e") };
                public.verify(&RSA_PKCS1_2048_8192_SHA256, message, &signature)
            } else {
                let point = [&[4][..], &member(&jwk, "x"), &member(&jwk, "y")].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, &signature)
            }
        };
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert!(verify(signed.as_bytes()).is_ok(), "{algorithm}");
        assert!(verify(format!("{signed}x").as_bytes()).is_err(), "{algorithm}");
    }
}

/// The thumbprints as Python computes them from what `openssl` prints of these keys.
#[test]
fn a_key_is_named_by_its_thumbprint() {
    let named = [RSA, EC].map(|pem| SigningKey::from_pem(pem).unwrap().id().to_owned());
    assert_eq!(named, include_str!("../../tests/fixtures/oidc/thumbprints.txt").lines().collect::<Vec<_>>()[..]);
}

/// The left half of the SHA-256, as Python's `hashlib` and Node's `crypto` compute it.
#[test]
fn the_access_token_hash_is_half_a_digest() {
    assert_eq!(at_hash("jHkWEdUXMU1BwAsC4vtUsZwnvTvIxEl0z9K3vx5KF0Y"), "Dqnsywk9617_qmSz_i8JlA");
}

#[test]
fn what_is_no_signing_key_is_refused() {
    for text in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert_eq!(SigningKey::from_pem(text.as_bytes()).unwrap_err(), InvalidKey::NotPkcs8, "{text}");
    }
    let damaged = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----\n";
    assert_eq!(SigningKey::from_pem(damaged.as_bytes()).unwrap_err(), InvalidKey::Kind, "Ed25519");
}
