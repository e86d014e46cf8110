//! Signed tokens (RFC 7515, RFC 7519) and the keys that sign them, as verifiers get them (RFC 7517). `ring` signs.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Header,
    jwk::{
        AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters, EllipticCurveKeyType, Jwk,
        KeyAlgorithm, PublicKeyUse, RSAKeyParameters, RSAKeyType,
    },
};
use ring::{
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde::Serialize;

use crate::{domain::oidc::Algorithm, hash::sha256};

/// Length of an uncompressed point of P-256: a tag and two coordinates.
const P256_POINT_LEN: usize = 65;

/// A private key for ID tokens.
pub struct SigningKey {
    /// The RFC 7638 thumbprint of the public key.
    id: String,
    pair: Pair,
}

enum Pair {
    Rs256(rsa::KeyPair),
    Es256(EcdsaKeyPair),
}

/// Why a file is not a signing key, worded for its author.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidKey {
    #[error("holds no private key: expected a line -----BEGIN PRIVATE KEY----- (PKCS #8), as openssl genpkey writes")]
    NotPkcs8,
    #[error(
        "is neither an RSA key of 2048 to 4096 bits nor one on the curve P-256; make one with `openssl genpkey \
         -algorithm RSA -pkeyopt rsa_keygen_bits:2048` or `-algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
    )]
    Kind,
}

/// The operating system provided no random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the token could not be signed")]
pub struct Unsigned;

impl SigningKey {
    /// Reads an unencrypted PKCS #8 key in PEM.
    ///
    /// # Errors
    /// See [`InvalidKey`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| InvalidKey::NotPkcs8)?;
        let der = der.secret_pkcs8_der();
        let rsa = rsa::KeyPair::from_pkcs8(der).map(Pair::Rs256);
        let ec =
            || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new()).map(Pair::Es256);
        let pair = rsa.or_else(|_| ec()).map_err(|_| InvalidKey::Kind)?;
        Ok(Self { id: pair.thumbprint(), pair })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Rs256(_) => Algorithm::Rs256,
            Pair::Es256(_) => Algorithm::Es256,
        }
    }

    /// The public key, as the key set holds it.
    pub fn public(&self) -> Jwk {
        let (algorithm, key_algorithm) = match &self.pair {
            Pair::Rs256(pair) => {
                let (n, e) = modulus_and_exponent(pair);
                let key_type = RSAKeyType::RSA;
                (AlgorithmParameters::RSA(RSAKeyParameters { key_type, n, e }), KeyAlgorithm::RS256)
            }
            Pair::Es256(pair) => {
                let (x, y) = coordinates(pair);
                let (key_type, curve) = (EllipticCurveKeyType::EC, EllipticCurve::P256);
                let parameters = EllipticCurveKeyParameters { key_type, curve, x, y };
                (AlgorithmParameters::EllipticCurve(parameters), KeyAlgorithm::ES256)
            }
        };
        let common = CommonParameters {
            public_key_use: Some(PublicKeyUse::Signature),
            key_algorithm: Some(key_algorithm),
            key_id: Some(self.id.clone()),
            ..CommonParameters::default()
        };
        Jwk { common, algorithm }
    }

    /// The claims as a JWT in compact form.
    ///
    /// # Errors
    /// See [`Unsigned`].
    pub fn sign<T: Serialize>(&self, claims: &T) -> Result<String, Unsigned> {
        let algorithm = match self.algorithm() {
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        };
        let header = Header { kid: Some(self.id.clone()), ..Header::new(algorithm) };
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self.pair.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Left half of the SHA-256 of an access token (OpenID Connect Core 1.0, 3.1.3.6): both algorithms use that hash.
pub fn at_hash(access_token: &str) -> String {
    let digest = sha256(access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(&digest[..digest.len() / 2])
}

fn part<T: Serialize>(value: &T) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("a part of a token has only string keys"))
}

impl Pair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unsigned> {
        let random = SystemRandom::new();
        match self {
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| Unsigned)?;
                Ok(signature)
            }
            Self::Es256(pair) => Ok(pair.sign(&random, message).map_err(|_| Unsigned)?.as_ref().to_vec()),
        }
    }

    /// SHA-256 of the required members in the order of their names, without white space (RFC 7638, 3).
    fn thumbprint(&self) -> String {
        let members = match self {
            Self::Rs256(pair) => {
                let (n, e) = modulus_and_exponent(pair);
                format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
            }
            Self::Es256(pair) => {
                let (x, y) = coordinates(pair);
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
        };
        URL_SAFE_NO_PAD.encode(sha256(members.as_bytes()))
    }
}

fn modulus_and_exponent(pair: &rsa::KeyPair) -> (String, String) {
    let rsa::PublicKeyComponents { n, e } = rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
    (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e))
}

fn coordinates(pair: &EcdsaKeyPair) -> (String, String) {
    let point: &[u8; P256_POINT_LEN] =
        pair.public_key().as_ref().try_into().expect("ring returns an uncompressed point of P-256");
    let (x, y) = point[1..].split_at(P256_POINT_LEN / 2);
    (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm(), self.id)
    }
}

#[cfg(test)]
mod tests;
