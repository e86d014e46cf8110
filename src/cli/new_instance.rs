//! `new-instance`: an `[[instance]]` block with fresh secrets, shown once.

use std::fmt::Write as _;

use anyhow::Context as _;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use crate::{
    domain::{InstanceId, Phone, keys::sha256},
    entropy,
};

/// Fresh credentials of an instance.
pub(crate) struct Credentials {
    pub(crate) id: InstanceId,
    pub(crate) token: String,
    pub(crate) callback_secret: String,
    pub(crate) webhook_secret: String,
}

impl Credentials {
    pub(crate) fn draw() -> Self {
        Self {
            id: InstanceId::from_random(entropy::bytes()),
            token: draw_token(),
            callback_secret: draw_whsec(),
            webhook_secret: draw_whsec(),
        }
    }
}

/// An API token; the prefix lets secret scanners find leaked ones.
pub(crate) fn draw_token() -> String {
    format!("cst_{}", URL_SAFE_NO_PAD.encode(entropy::bytes::<32>()))
}

fn draw_whsec() -> String {
    format!("whsec_{}", STANDARD.encode(entropy::bytes::<32>()))
}

/// How the configuration names a token without holding it.
pub(crate) fn token_digest(token: &str) -> String {
    sha256(token.as_bytes()).iter().fold("sha256:".to_owned(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// TOML to paste, and what must be noted down now.
pub(super) fn block(name: &str, number: &str) -> anyhow::Result<String> {
    let number: Phone = number.parse().context("--number")?;
    let Credentials { id, token, callback_secret, webhook_secret } = Credentials::draw();
    let name = toml::Value::from(name);
    Ok(format!(
        r#"# API token, shown only now: {token}
[[instance]]
id = "{id}"
name = {name}
number = "{number}"
tokens = ["{digest}"]
callback_secrets = ["{callback_secret}"]
redirect_urls = ["https://app.example.org/"]

[instance.gateway]
kind = "waha"
url = "http://waha:3000"
api_key = "the X-Api-Key of WAHA"
webhook_secret = "{webhook_secret}""#,
        number = number.e164(),
        digest = token_digest(&token),
    ))
}
