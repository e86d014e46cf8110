//! Generates credentials: API tokens, of which the configuration stores only digests, and secrets, which it stores in
//! plain text.

use std::fmt::Write as _;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use crate::{domain::InstanceId, hash::sha256, random};

/// New credentials for one instance.
pub struct InstanceCredentials {
    pub id: InstanceId,
    pub token: String,
    pub callback_secret: String,
    pub webhook_secret: String,
}

impl InstanceCredentials {
    /// Random credentials and a random id.
    pub fn generate() -> Self {
        Self {
            id: InstanceId::from_random(random::bytes()),
            token: generate_token(),
            callback_secret: generate_whsec(),
            webhook_secret: generate_whsec(),
        }
    }
}

/// Generates an API token. The prefix lets secret scanners recognize leaked tokens.
pub fn generate_token() -> String {
    format!("cst_{}", URL_SAFE_NO_PAD.encode(random::bytes::<32>()))
}

fn generate_whsec() -> String {
    format!("whsec_{}", STANDARD.encode(random::bytes::<32>()))
}

/// The digest of a token in the form that `tokens` in the configuration uses: `sha256:` and hexadecimal digits.
pub fn token_digest(token: &str) -> String {
    sha256(token.as_bytes()).iter().fold("sha256:".to_owned(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
