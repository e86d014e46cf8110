//! Fresh credentials. They are shown once and kept as digests, or in the configuration.

use std::fmt::Write as _;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use crate::{
    domain::{InstanceId, keys::sha256},
    random,
};

/// Fresh credentials of an instance.
pub struct InstanceCredentials {
    pub id: InstanceId,
    pub token: String,
    pub callback_secret: String,
    pub webhook_secret: String,
}

impl InstanceCredentials {
    pub fn generate() -> Self {
        Self {
            id: InstanceId::from_random(random::bytes()),
            token: generate_token(),
            callback_secret: generate_whsec(),
            webhook_secret: generate_whsec(),
        }
    }
}

/// An API token; the prefix lets secret scanners find leaked ones.
pub fn generate_token() -> String {
    format!("cst_{}", URL_SAFE_NO_PAD.encode(random::bytes::<32>()))
}

fn generate_whsec() -> String {
    format!("whsec_{}", STANDARD.encode(random::bytes::<32>()))
}

/// How the configuration names a token without holding it.
pub fn token_digest(token: &str) -> String {
    sha256(token.as_bytes()).iter().fold("sha256:".to_owned(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
