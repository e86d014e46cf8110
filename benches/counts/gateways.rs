//! Recorded webhooks of some gateways: one for each way to prove and to write a message.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, ensure};
use countersign::{
    gateway::{self, Gateway, Purpose, Webhook},
    reader::Table,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The gateway, the recording, and its key for the URL that it signs.
const RECORDED: [(&str, &str, Option<&str>); 5] = [
    ("waha", "text_noweb", None),
    ("cloud-api", "text_bracketed", None),
    ("gowa", "text", None),
    ("twilio", "whatsapp_text", Some("webhook_url")),
    ("vonage", "text", None),
];

/// A webhook as it arrives, and whom it is for.
pub(crate) struct Recorded {
    pub(crate) gateway: Arc<dyn Gateway>,
    headers: HeaderMap,
    body: Vec<u8>,
    now: Timestamp,
}

impl Recorded {
    pub(crate) fn webhook(&self) -> Webhook<'_> {
        let Self { headers, body, now, .. } = self;
        Webhook { method: &Method::POST, path_suffix: None, query: "", headers, body, now: *now }
    }
}

pub(crate) fn all() -> anyhow::Result<Vec<Recorded>> {
    RECORDED.iter().map(|(kind, name, url)| read(kind, name, *url).with_context(|| format!("{kind}/{name}"))).collect()
}

fn read(kind: &str, name: &str, url: Option<&str>) -> anyhow::Result<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/gateways").join(kind);
    let case: Value = serde_json::from_slice(&std::fs::read(folder.join(format!("{name}.expect.json")))?)?;
    let body = std::fs::read(folder.join(case["body_file"].as_str().context("no body_file")?))?;
    let mut settings =
        json!({ "kind": kind, "url": "http://127.0.0.1:1", "webhook_secret": case["signing"]["secret"] });
    for key in needed(kind) {
        settings[*key] = json!("1");
    }
    if let Some(url) = url {
        settings[url] = case["signing"]["url"].clone();
    }
    let table = Table::new("gateway", settings.as_object().cloned().unwrap_or_default());
    let gateway = gateway::build(&table, Purpose::Inspect, "https://verify.example.test/hook")?;
    let mut headers = HeaderMap::new();
    for (name, value) in case["headers"].as_object().into_iter().flatten() {
        headers.insert(name.parse::<HeaderName>()?, HeaderValue::from_str(value.as_str().unwrap_or_default())?);
    }
    let now = Timestamp::from_second(case["now"].as_i64().context("no now")?)?;
    let recorded = Recorded { gateway, headers, body, now };
    let webhook = recorded.webhook();
    ensure!(recorded.gateway.authenticate(&webhook).is_ok(), "not authentic");
    ensure!(recorded.gateway.parse(&webhook).is_ok_and(|events| events.len() == 1), "not one event");
    Ok(recorded)
}

/// Required configuration keys of a gateway that the measured paths do not use.
fn needed(kind: &str) -> &'static [&'static str] {
    match kind {
        "waha" => &["api_key"],
        "cloud-api" => &["verify_token", "access_token", "phone_number_id"],
        _ => &[],
    }
}
