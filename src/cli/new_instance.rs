//! `new-instance`: an `[[instance]]` block with new secrets.

use anyhow::Context as _;

use crate::{
    config::credentials::{InstanceCredentials, token_digest},
    domain::phone_input,
};

/// TOML for the configuration, with the API token in a comment: the configuration holds only its digest.
pub(super) fn instance_block(name: &str, number: &str) -> anyhow::Result<String> {
    let number = phone_input::parse_phone(number).context("--number")?;
    let InstanceCredentials { id, token, callback_secret, webhook_secret } = InstanceCredentials::generate();
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
