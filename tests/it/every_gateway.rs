//! A configuration table for every kind of gateway, and a daemon with all of them.

use std::process::{Child, Command, Stdio};

use tempfile::{NamedTempFile, TempDir};

use crate::{
    daemon::{KEY, client},
    redis_server::free_port,
    wait::until,
};

/// Kind, variant, and the keys of its table. `{url}` is the URL of the gateway's API.
pub(crate) const GATEWAY_TABLES: &[(&str, &str, &str)] = &[
    ("cloud-api", "", "url = \"{url}\"\nphone_number_id = \"777\"\naccess_token = \"key-of-the-gateway\""),
    ("360dialog", "", "url = \"{url}\"\napi_key = \"key-of-the-gateway\""),
    (
        "360dialog",
        "static-header",
        "url = \"{url}\"\napi_key = \"key-of-the-gateway\"\nwebhook_auth = \"static-header\"",
    ),
    ("gupshup-v3", "", "url = \"{url}\"\napp_id = \"app-1\"\napi_key = \"key-of-the-gateway\""),
    ("twilio", "", "url = \"{url}\"\naccount_sid = \"AC1\"\nfrom = \"whatsapp:+12025550142\""),
    (
        "twilio",
        "sms",
        "url = \"{url}\"\naccount_sid = \"AC1\"\nfrom = \"+12025550142\"\napi_key = \"SK1\"\napi_secret = \"pass\"\nchannel = \"sms\"\nsms_verifies = true",
    ),
    ("vonage", "", "url = \"{url}\"\nfrom = \"12025550142\"\napi_key = \"key\"\napi_secret = \"pass\""),
    (
        "vonage",
        "sms",
        "url = \"{url}\"\nfrom = \"12025550142\"\napi_key = \"key\"\napi_secret = \"pass\"\nchannel = \"sms\"\nsms_verifies = true",
    ),
    ("bird", "", "url = \"{url}\"\nworkspace_id = \"w\"\nchannel_id = \"c\"\naccess_key = \"key-of-the-gateway\""),
    ("chatwoot", "", "url = \"{url}\"\naccount_id = \"1\"\napi_key = \"key-of-the-gateway\""),
    (
        "chatwoot",
        "inbox",
        "url = \"{url}\"\naccount_id = \"1\"\napi_key = \"key-of-the-gateway\"\ninbox_id = \"3\"\ntrust_contact_phone = true",
    ),
    ("waha", "", "url = \"{url}\"\napi_key = \"key-of-the-gateway\""),
    ("hypersender", "", "url = \"{url}\"\ninstance = \"i-1\"\napi_key = \"key-of-the-gateway\""),
    ("wawp", "", "url = \"{url}\"\ninstance_id = \"i-1\"\naccess_token = \"key-of-the-gateway\""),
    (
        "wawp",
        "hmac",
        "url = \"{url}\"\ninstance_id = \"i-1\"\naccess_token = \"key-of-the-gateway\"\nwebhook_auth = \"hmac\"\nwebhook_header = \"X-Wawp\"",
    ),
    ("evolution", "", "url = \"{url}\"\ninstance = \"main\"\napi_key = \"key-of-the-gateway\""),
    (
        "evolution",
        "url",
        "url = \"{url}\"\ninstance = \"main\"\napi_key = \"key-of-the-gateway\"\nwebhook_auth = \"url-secret\"",
    ),
    (
        "evolution",
        "jwt",
        "url = \"{url}\"\ninstance = \"main\"\napi_key = \"key-of-the-gateway\"\nwebhook_auth = \"jwt\"",
    ),
    ("evolution-go", "", "url = \"{url}\"\napi_key = \"key-of-the-gateway\""),
    ("gowa", "", "url = \"{url}\"\nbasic_auth = \"user:pass\""),
    ("wppconnect", "", "url = \"{url}\"\nsession = \"main\"\napi_key = \"key-of-the-gateway\""),
    ("wuzapi", "", "url = \"{url}\"\napi_key = \"key-of-the-gateway\""),
    ("green-api", "", "url = \"{url}\"\ninstance = \"1100000777\"\napi_key = \"key-of-the-gateway\""),
    ("whapi", "", "url = \"{url}\"\napi_key = \"key-of-the-gateway\""),
    ("gupshup", "", "url = \"{url}\"\naccount = \"app\"\nfrom = \"12025550142\"\napi_key = \"key-of-the-gateway\""),
    ("infobip", "", "url = \"{url}\"\nfrom = \"12025550142\"\napi_key = \"key-of-the-gateway\""),
    ("ultramsg", "", "url = \"{url}\"\naccount = \"instance777\"\napi_key = \"key-of-the-gateway\""),
    ("z-api", "", "url = \"{url}\"\naccount = \"i-1\"\napi_key = \"token-1\"\napi_secret = \"client-token\""),
    ("generic", "", GENERIC),
];

pub(crate) const GENERIC: &str = r#"
url = "{url}"
account = "harbour"
api_key = "key-of-the-gateway"
webhook_auth = "hmac"
webhook_header = "X-Tidings-Signature"
webhook_prefix = "sha256="
webhook_signed = "timestamp.body"
webhook_timestamp_header = "X-Tidings-Timestamp"
[instance.gateway.mapping]
select = "/messages"
event = { pointer = "/kind", accept = ["inbound"], status = ["ack"] }
message_id = "/id"
chat_id = "/chat"
sender = ["/author/phone", { pointer = "/chat", when_pointer = "/chat", when_suffix = "@c.us" }]
lid = "/author/lid"
text = [{ pointer = "/content/text", when_pointer = "/content/type", equals = ["text", "chat"] }]
timestamp = { pointer = "/at", unit = "ms" }
from_me = { pointer = "/direction", equals = "out" }
group = [{ pointer = "/chat", when_suffix = "@g.us" }, { pointer = "/isGroup" }]
[instance.gateway.send]
url = "{url}/accounts/{account}/messages"
headers = { Authorization = "Bearer {api_key}" }
body = '{"to": "{chat_id}", "content": {"text": "{text}"}}'
message_id = "/id"
not_on_whatsapp = [{ status = 400, pointer = "/error/code", equals = "no_account" }]
window_closed = [{ pointer = "/error/code", equals = 470 }]
"#;

/// The webhook secret of the n-th entry, in the form that its kind requires.
pub(crate) fn secret(kind: &str, index: usize) -> String {
    match kind {
        "infobip" => format!("someone:webhook-secret-of-the-instance-{index:02}"),
        "green-api" => format!("Bearer webhook-secret-of-the-instance-{index:02}"),
        _ => format!("webhook-secret-of-the-instance-{index:02}"),
    }
}

/// The id of the n-th entry's instance.
pub(crate) fn id(index: usize) -> String {
    format!("5f0c2a90-0000-4000-8000-0000000001{index:02}")
}

/// `[[instance]]` blocks for all entries. `gateway` is the URL of their APIs, with `{n}` for the entry's number;
/// `secret_of` returns the webhook secret.
pub(crate) fn instances(gateway: &str, extra: &str, secret_of: impl Fn(&str, usize) -> String) -> String {
    let mut blocks = String::new();
    for (index, (kind, _, table)) in GATEWAY_TABLES.iter().enumerate() {
        // In a generic table, further `{url}`s are placeholders of its own templates.
        let table = table.replacen("{url}", &gateway.replace("{n}", &format!("{index:02}")), 1);
        let (id, secret, digest) = (id(index), secret_of(kind, index), digest(crate::daemon::TOKEN));
        let callback = crate::daemon::CALLBACK_SECRET;
        let block = format!(
            "[[instance]]\nid = \"{id}\"\nname = \"{kind}-{index}\"\nnumber = \"+12025550142\"\ntokens = [\"{digest}\"]\n\
             callback_secrets = [\"{callback}\"]\nredirect_urls = [\"https://app.example.org/in\"]\n{extra}\n\
             [instance.gateway]\nkind = \"{kind}\"\nwebhook_secret = \"{secret}\"\n{table}\n"
        );
        blocks.push_str(&block);
    }
    blocks
}

fn digest(token: &str) -> String {
    let digest = countersign::hash::sha256(token.as_bytes());
    digest.iter().fold("sha256:".to_owned(), |out, byte| format!("{out}{byte:02x}"))
}

/// A whole configuration, on free ports, with the embedded store in `directory`.
pub(crate) fn configuration(directory: &TempDir, instances: &str) -> (String, String, String) {
    let (port, operator) = (free_port(), free_port());
    let config = format!(
        "public_url = \"https://wa.example.org\"\nlisten = \"127.0.0.1:{port}\"\n\
         operator_listen = \"127.0.0.1:{operator}\"\nkey = \"{KEY}\"\n\
         [store]\nurl = \"embedded:{}\"\n[log]\nlevel = \"error\"\n[shutdown]\ndrain_delay = \"0s\"\n{instances}",
        directory.path().display()
    );
    (config, format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{operator}"))
}

/// A file with this text.
pub(crate) fn file(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// A running `serve`.
pub(crate) struct Serve {
    child: Child,
    pub(crate) base: String,
    pub(crate) operator: String,
    pub(crate) config: NamedTempFile,
    _directory: TempDir,
}

impl Serve {
    pub(crate) async fn start(instances: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (text, base, operator) = configuration(&directory, instances);
        let config = file(&text);
        let child = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["serve", "--config"])
            .arg(config.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let this = Self { child, base, operator, config, _directory: directory };
        until("it is ready", async || {
            let request = http::Request::get(format!("{}/readyz", this.operator)).body(Vec::new()).unwrap();
            client().send(request).await.is_ok_and(|response| response.status().is_success())
        })
        .await;
        this
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
