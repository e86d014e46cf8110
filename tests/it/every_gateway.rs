//! A configuration table for every kind of gateway, and a daemon with all of them.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use countersign::gateway::{self, GatewayKind};
use serde_json::{Map, Value};
use tempfile::{NamedTempFile, TempDir};

use crate::{
    daemon::{KEY, client},
    redis_server::free_port,
    wait::until,
};

/// A configuration of a kind of gateway and what it sends: `send.json` in the kind's folder of fixtures, once for each of
/// its variants.
pub(crate) struct GatewaySetup {
    pub(crate) kind: &'static str,
    variant: String,
    /// The keys of `[instance.gateway]` besides `kind`, `webhook_secret` and `url`.
    pub(crate) settings: Map<String, Value>,
    /// The request for a text: `path`, `headers`, and `json` or `form`, with `{text}`, `{person}` and `{secret}`.
    pub(crate) request: Value,
    /// The response to a message that was accepted.
    pub(crate) accepted: Value,
    /// The member of the body that holds the message's id, for gateways that accept one.
    pub(crate) message_id_field: Option<String>,
    /// Whether the gateway posts no webhook when a person edits a message.
    pub(crate) posts_no_edits: bool,
    /// The webhook secret, with `{secret}` for its random part.
    webhook_secret: String,
}

impl GatewaySetup {
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.kind, self.variant)
    }

    /// The lines of the table besides `kind` and `webhook_secret`. `url` is the URL of the gateway's API.
    pub(crate) fn lines(&self, url: &str) -> String {
        lines(&self.settings, url)
    }
}

/// Settings as TOML.
pub(crate) fn lines(settings: &Map<String, Value>, url: &str) -> String {
    let lines = settings.iter().map(|(name, value)| format!("{name} = {}\n", toml::Value::try_from(value).unwrap()));
    format!("url = \"{url}\"\n{}", lines.collect::<String>())
}

/// Every kind of gateway, in each of its variants.
pub(crate) static SETUPS: LazyLock<Vec<GatewaySetup>> = LazyLock::new(|| gateway::kinds().flat_map(setups).collect());

fn setups(kind: &GatewayKind) -> Vec<GatewaySetup> {
    let path = fixtures(kind.name).join("send.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let document: Value = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let setups = document["variants"].as_array().unwrap().iter().map(|variant| GatewaySetup {
        kind: kind.name,
        variant: text(&variant["variant"]).unwrap_or_default(),
        settings: variant["settings"].as_object().unwrap().clone(),
        request: variant["request"].clone(),
        accepted: document["accepted"].clone(),
        message_id_field: text(&variant["message_id_field"]).or_else(|| text(&document["message_id_field"])),
        posts_no_edits: document["posts_no_edits"] == true,
        webhook_secret: text(&document["webhook_secret"]).unwrap_or_else(|| "{secret}".to_owned()),
    });
    setups.collect()
}

/// The folder of a kind's fixtures.
pub(crate) fn fixtures(kind: &str) -> PathBuf {
    Path::new("tests/fixtures/gateways").join(kind)
}

/// The first setup of this kind.
pub(crate) fn index_of(kind: &str) -> usize {
    SETUPS.iter().position(|setup| setup.kind == kind).unwrap()
}

/// The webhook secret of the n-th setup, in the form that its kind requires.
pub(crate) fn secret(index: usize) -> String {
    secret_of(&SETUPS[index], index)
}

/// A webhook secret in the form that `setup` requires, different for each number.
pub(crate) fn secret_of(setup: &GatewaySetup, number: usize) -> String {
    setup.webhook_secret.replace("{secret}", &format!("webhook-secret-of-the-instance-{number:02}"))
}

/// The id of the n-th setup's instance.
pub(crate) fn id(index: usize) -> String {
    format!("5f0c2a90-0000-4000-8000-0000000001{index:02}")
}

/// `[[instance]]` blocks for all setups. `gateway` is the URL of their APIs, with `{n}` for the setup's number;
/// `secret_of` returns the webhook secret.
pub(crate) fn instances(gateway: &str, extra: &str, secret_of: impl Fn(usize) -> String) -> String {
    let mut blocks = String::new();
    for (index, setup) in SETUPS.iter().enumerate() {
        let (kind, table) = (setup.kind, setup.lines(&gateway.replace("{n}", &format!("{index:02}"))));
        let (id, secret, digest) = (id(index), secret_of(index), digest(crate::daemon::TOKEN));
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
