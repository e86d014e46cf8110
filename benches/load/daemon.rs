//! The daemon as a child, and how callers and gateways talk to it.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use countersign::{clock::Clock, hash::sha256};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha512;

use crate::{
    client::post,
    process::{Process, free_address, wait_for_ready},
};

/// The first of them.
const INSTANCE: &str = "5f0c2a90-0000-4000-8000-000000000001";
/// How the ids of all begin.
const INSTANCES: &str = "5f0c2a90-0000-4000-8000-";
const TOKEN: &str = "cst_bench-token-0123456789abcdefghij";
const WEBHOOK_SECRET: &str = "waha-hmac-key-0123456789abcdef";

/// `countersign serve`.
pub(crate) struct Daemon {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

/// The daemon's program.
pub(crate) fn binary() -> anyhow::Result<PathBuf> {
    Ok(std::env::var_os("COUNTERSIGN_BINARY").context("COUNTERSIGN_BINARY must name the daemon's program")?.into())
}

/// A created link that has not been used.
pub(crate) struct Link {
    pub(crate) uuid: String,
    text: String,
}

impl Daemon {
    /// Defaults everywhere, but for the limits on minting and on replies, which are taken and never reached, and for the
    /// share of the store, which a million links exceed.
    pub(crate) fn start(
        directory: &Path,
        name: &str,
        store: &str,
        gateway: &str,
        receiver: Option<&str>,
    ) -> anyhow::Result<Self> {
        Self::start_with(directory, name, store, gateway, receiver, 1)
    }

    /// As [`Daemon::start`], with so many instances, of which requests use the first one.
    pub(crate) fn start_with(
        directory: &Path,
        name: &str,
        store: &str,
        gateway: &str,
        receiver: Option<&str>,
        instances: usize,
    ) -> anyhow::Result<Self> {
        let (address, operator) = (free_address()?, free_address()?);
        let token = hex(&sha256(TOKEN.as_bytes()));
        let callback_url = receiver.map(|url| format!("callback_url = \"{url}/callback\"")).unwrap_or_default();
        let mut config = format!(
            r#"
public_url = "https://wa.example.org"
listen = "{address}"
operator_listen = "{operator}"
key = "quJISYQtcIK2b1fOgnC9BNosOf+5ffIoA8JwmDAyxOU="
[store]
url = "{store}"
"#
        );
        for number in 1..=instances {
            let token = if number == 1 { token.clone() } else { format!("{number:064x}") };
            let _ = write!(
                config,
                r#"
[[instance]]
id = "{INSTANCES}{number:012}"
name = "Harbour"
number = "+4477009{number:05}"
tokens = ["sha256:{token}"]
callback_secrets = ["whsec_R2bYkVe+NKb7Q2JVKQIeWFnDBZOD/X5UH/WLMwaJHhc="]
{callback_url}
allow_http_callbacks = true
callback_allow_networks = ["127.0.0.0/8"]
[instance.limits]
mint_per_second = 1000000
mint_burst = 1000000
instance_mint_per_second = 1000000
instance_mint_burst = 1000000
replies_per_second = 1000000
store_percent = 0
pending_jobs = 0
[instance.gateway]
kind = "waha"
url = "{gateway}"
api_key = "waha-api-key-0123456789"
webhook_secret = "{WEBHOOK_SECRET}"
"#
            );
        }
        let file = directory.join(format!("{name}.toml"));
        std::fs::write(&file, config)?;
        let mut command = Command::new(binary()?);
        command.args(["serve", "--config"]).arg(&file);
        let log = directory.join(format!("{name}.log"));
        let process = Process::start(&mut command, &log)?;
        wait_for_ready(operator).with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        Ok(Self { address, process })
    }
}

/// What a caller sends for a login.
pub(crate) fn mint() -> Vec<u8> {
    mint_for(1800)
}

/// The same, for so many seconds.
pub(crate) fn mint_for(expires: u64) -> Vec<u8> {
    let body = json!({
        "expires": expires,
        "purpose": "login", "state": "5d7d3b0b-9c1e-4f0e-8a59-2b1f6c7a9e10",
        "metadata": { "user": "a-user-of-the-app", "cart": 1234 }, "client_ip": "203.0.113.7",
        "user_agent": "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko)",
    });
    let authorization = format!("Bearer {TOKEN}");
    let path = format!("/api/otp/v2/{INSTANCE}/generate-link");
    post(&path, &[("authorization", &authorization)], &body.to_string())
}

/// Reads the daemon's answers to [`mint`].
pub(crate) fn links(answers: &[Vec<u8>]) -> anyhow::Result<Vec<Link>> {
    answers.iter().map(|answer| link(answer)).collect()
}

fn link(answer: &[u8]) -> anyhow::Result<Link> {
    let answer: Value = serde_json::from_slice(answer)?;
    let text = |name: &str| answer["data"][name].as_str().map(str::to_owned).context("an answer without a link");
    Ok(Link { uuid: text("uuid")?, text: text("text")? })
}

/// A person sends the prefilled message: each time another person, and another message.
pub(crate) fn webhooks(links: &[Link]) -> Vec<Vec<u8>> {
    let now = Clock::default().wall().as_second();
    links.iter().zip(1_u32..).map(|(link, serial)| webhook(link, serial, now)).collect()
}

fn webhook(link: &Link, serial: u32, now: i64) -> Vec<u8> {
    let (number, id) = (format!("4479{serial:08}@c.us"), link.uuid.replace('-', "").to_uppercase());
    let body = json!({
        "id": format!("evt_{id}"), "event": "message", "session": "default", "engine": "NOWEB",
        "payload": {
            "id": format!("false_{number}_{id}"), "timestamp": now, "from": number,
            "fromMe": false, "source": "app", "body": link.text, "hasMedia": false,
            "_data": { "pushName": "Mara" },
        },
    })
    .to_string();
    let mut mac = Hmac::<Sha512>::new_from_slice(WEBHOOK_SECRET.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body.as_bytes());
    let signature = hex(&mac.finalize().into_bytes());
    let headers = [("x-webhook-hmac", signature.as_str()), ("x-webhook-hmac-algorithm", "sha512")];
    post(&format!("/webhooks/{INSTANCE}"), &headers, &body)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
