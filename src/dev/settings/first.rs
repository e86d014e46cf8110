//! The settings that the first run writes.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use crate::{
    config::credentials::{InstanceCredentials, token_digest},
    random,
};

/// The settings for a fake phone at `origin`.
pub(super) fn settings(origin: &str) -> String {
    let InstanceCredentials { id, callback_secret, webhook_secret, .. } = InstanceCredentials::generate();
    let InstanceCredentials { id: sms, token: sms_token, webhook_secret: sms_secret, .. } =
        InstanceCredentials::generate();
    let sms_digest = token_digest(&sms_token);
    let key = STANDARD.encode(random::bytes::<32>());
    let [api_key, sms_api_key] = [(); 2].map(|()| format!("phone_{}", URL_SAFE_NO_PAD.encode(random::bytes::<24>())));
    format!(
        r#"# Settings of `countersign dev`. Changes are applied within seconds, without a restart.
# `countersign print-config` shows every key. Addresses, public_url and the store are set by the command line.
# Delete this directory to start over.
key = "{key}"

[log]
format = "text"
# "countersign=debug" logs every request and event.
level = "countersign=warn,countersign::app::reload=info,actix_server=warn"

[shutdown]
drain_delay = "0s"
grace = "1s"

[[instance]]
id = "{id}"
name = "Harbour demo"
# From a range reserved for fiction.
number = "+447700900999"
# The API token is in the file `token` beside this one. `countersign new-token` makes more, with fewer rights.
tokens = []
callback_secrets = ["{callback_secret}"]
# The inbox on the fake phone's page; or your own app's URL.
callback_url = "{origin}/inbox"
allow_http_callbacks = true
callback_allow_networks = ["127.0.0.0/8", "::1/128"]
# Allowed redirect URLs after the link in the reply. `dev` also allows every address of this machine, such as
# http://localhost:3000/in; in production, list those of your app.
redirect_urls = ["{origin}/landed"]
completion = "same_browser"
completions_allowed = ["same_browser", "prove_phone", "anywhere"]
# Short, to see a link expire.
expires_min = 10
# Sends codes to people without WhatsApp.
sms_instance = "{sms}"

[instance.gateway]
kind = "simulator"
url = "{origin}"
api_key = "{api_key}"
webhook_secret = "{webhook_secret}"

# The fake phone's SMS gateway. Its API token is not used.
[[instance]]
id = "{sms}"
name = "Harbour demo"
number = "+447700900998"
tokens = ["{sms_digest}"]
callback_secrets = ["{callback_secret}"]

[instance.gateway]
kind = "simulator"
channel = "sms"
url = "{origin}"
api_key = "{sms_api_key}"
webhook_secret = "{sms_secret}"
"#
    )
}
