//! `inspect-webhook`: how the daemon would handle a recorded webhook request, offline.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::ConfigFile;
use crate::{
    app::{
        self,
        exit::{CommandError, EX_CONFIG},
    },
    clock::Clock,
    config::LogConfig,
    domain::{InstanceId, Phone, message_codes},
    gateway::{self, DeliveryReceipt, Gateway, Purpose, ReceiptStatus, Unauthenticated, Webhook, WebhookEvent},
    http::content_coding::ContentCoding,
    reader::Table,
    telemetry::{self, stdout::print},
};

/// Most bytes of a decoded body; the daemon reads fewer.
const MAX_DECODED: u64 = 16 * 1024 * 1024;

/// The recorded request.
#[derive(Debug, Args)]
pub(super) struct InspectOptions {
    #[command(flatten)]
    config: ConfigFile,
    /// The instance whose gateway sent the request.
    #[arg(long, env = "COUNTERSIGN_INSTANCE")]
    instance: InstanceId,
    /// The method of the request.
    #[arg(long, default_value = "POST")]
    method: String,
    /// The URL of the request, with its query.
    #[arg(long)]
    url: Option<String>,
    /// A header as `Name: value`; can be repeated.
    #[arg(long = "header")]
    headers: Vec<String>,
    /// The time at which the request arrived, in Unix seconds. Default: now.
    #[arg(long)]
    now: Option<i64>,
    /// A file with the whole request as it was sent: `POST /… HTTP/1.1`, headers, an empty line, body. Instead of
    /// `--method`, `--url`, `--header` and a file with the body.
    #[arg(long, conflicts_with_all = ["method", "url", "headers", "body"])]
    request: Option<PathBuf>,
    /// A file with the exact bytes of the body, or of the raw query with `--method GET`.
    #[arg(required_unless_present = "request")]
    body: Option<PathBuf>,
}

/// A recorded request.
struct Recorded {
    method: Method,
    /// Path and query, or a whole URL.
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

pub(super) fn run(options: &InspectOptions) -> Result<ExitCode, CommandError> {
    telemetry::init(&LogConfig { json: false, level: "info".to_owned() });
    let recorded = read_request(options)?;
    let (table, url, number) = read_instance(options)?;
    let gateway = gateway::build(&table, Purpose::Inspect, &url)?;
    let now = match options.now {
        Some(seconds) => Timestamp::from_second(seconds).context("--now")?,
        None => Clock::default().wall(),
    };
    let (path, query) = recorded.url.split_once('?').unwrap_or((&recorded.url, ""));
    let after = path.split_once(&options.instance.to_string()).map_or("", |(_, after)| after);
    let webhook = Webhook {
        method: &recorded.method,
        path_suffix: after.split('/').find(|segment| !segment.is_empty()),
        query,
        headers: &recorded.headers,
        body: &recorded.body,
        now,
    };
    let decoded = decode(&webhook)?;
    let plain = decoded.as_deref().map(|body| webhook.with_body(body, now));
    // The signature covers the encoded bytes or the decoded ones.
    let authenticated = gateway.authenticate(&webhook).or_else(|why| match &plain {
        Some(plain) => gateway.authenticate(plain).map_err(|_| why),
        None => Err(why),
    });
    let proof = authenticated.map(|()| {
        let covered = plain.as_ref().filter(|_| gateway.authenticate(&webhook).is_err()).unwrap_or(&webhook);
        proof(&*gateway, &table, &url, covered)
    });
    let verdict = verdict(&*gateway, &number, plain.as_ref().unwrap_or(&webhook), proof);
    print(format_args!("{verdict:#}"))?;
    Ok(ExitCode::SUCCESS)
}

fn read_request(options: &InspectOptions) -> anyhow::Result<Recorded> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    if let Some(path) = &options.request {
        return parse_request(&read(path)?);
    }
    let mut body = read(options.body.as_deref().context("the file with the body is missing")?)?;
    let method: Method = options.method.to_uppercase().parse().context("--method")?;
    let mut url = options.url.clone().unwrap_or_default();
    if method == Method::GET {
        url = format!("?{}", String::from_utf8_lossy(&body));
        body.clear();
    }
    Ok(Recorded { method, url, headers: parse_headers(options.headers.iter().map(String::as_str))?, body })
}

/// Parses a request as it is sent over HTTP/1.1. Lines of the head may end without a carriage return.
fn parse_request(bytes: &[u8]) -> anyhow::Result<Recorded> {
    let ends = [&b"\r\n\r\n"[..], b"\n\n"];
    let end = ends.iter().filter_map(|end| Some((find(bytes, end)?, end.len()))).min();
    let (end, gap) = end.context("--request: expected a head, an empty line and the body")?;
    let head = std::str::from_utf8(&bytes[..end]).context("--request: the head")?;
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let [method, url, version] = first.split(' ').collect::<Vec<_>>()[..] else {
        anyhow::bail!("--request: expected `POST /… HTTP/1.1` in the first line");
    };
    anyhow::ensure!(version.starts_with("HTTP/"), "--request: expected `POST /… HTTP/1.1` in the first line");
    let (method, url) = (method.parse().context("--request: the method")?, url.to_owned());
    Ok(Recorded { method, url, headers: parse_headers(lines)?, body: bytes[end + gap..].to_vec() })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The instance's gateway table, its webhook URL and its number.
fn read_instance(options: &InspectOptions) -> Result<(Table, String, Phone), CommandError> {
    let config = super::parse_config(&super::read_config(&options.config.path)?)?;
    let url = app::webhook_url(&config.public_url, options.instance);
    let instance = config.instances.into_iter().find(|instance| instance.id == options.instance);
    let instance = instance.ok_or_else(|| CommandError {
        status: EX_CONFIG,
        error: anyhow::anyhow!("--instance: {} is not in the configuration", options.instance),
    })?;
    Ok((instance.gateway, url, instance.number))
}

/// The decoded body, if the request has a `Content-Encoding`.
fn decode(webhook: &Webhook<'_>) -> anyhow::Result<Option<Vec<u8>>> {
    let values = webhook.headers.get_all(http::header::CONTENT_ENCODING).iter();
    let coding = ContentCoding::parse(values.map(HeaderValue::as_bytes));
    let coding = coding.context("the daemon answers 415: Content-Encoding must be gzip or deflate, or absent")?;
    let Some(reader) = coding.reader(webhook.body) else { return Ok(None) };
    let mut body = Vec::new();
    reader.take(MAX_DECODED).read_to_end(&mut body).context("the body is not encoded as Content-Encoding says")?;
    Ok(Some(body))
}

/// The scheme that accepts the request, and which of the configured secrets, of which 1 is the newest.
fn proof(gateway: &dyn Gateway, table: &Table, url: &str, webhook: &Webhook<'_>) -> Value {
    let auth = gateway.webhook_auth();
    let alone = |secret: &SecretString| {
        let mut values = table.values().clone();
        values.remove("webhook_secret_file");
        values.insert("webhook_secret".to_owned(), json!(secret.expose_secret()));
        let gateway = gateway::build(&Table::new("gateway", values), Purpose::Inspect, url);
        gateway.is_ok_and(|gateway| gateway.authenticate(webhook).is_ok())
    };
    let secret = auth.secrets().iter().position(alone).map(|index| index + 1);
    json!({ "scheme": auth.describe(), "secret": secret })
}

fn parse_headers<'a>(lines: impl Iterator<Item = &'a str>) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) =
            line.split_once(':').with_context(|| format!("--header {line:?}: expected `Name: value`"))?;
        headers.append(name.trim().parse::<HeaderName>()?, value.trim().parse::<HeaderValue>()?);
    }
    Ok(headers)
}

/// The result in the format of `tests/fixtures/gateways`. `proof` is that of an authenticated request.
fn verdict(
    gateway: &dyn Gateway,
    number: &Phone,
    webhook: &Webhook<'_>,
    proof: Result<Value, Unauthenticated>,
) -> Value {
    let is_get = webhook.method == Method::GET;
    let proof = match proof {
        Ok(proof) => proof,
        Err(why) => {
            let (status, kind) = if is_get { (403, "handshake") } else { (401, "ignore") };
            let event = json!({
                "kind": kind, "reason": "unauthenticated", "status": status, "from_me": false, "group": false,
            });
            return json!({
                "auth": "reject", "reason": why.0, "proof": null,
                "response": { "status": status, "body": null }, "events": [event],
            });
        }
    };
    if is_get {
        let answer = gateway.handshake(webhook);
        let (status, body) = answer.map_or((404, None), |answer| (answer.status.as_u16(), Some(answer.body)));
        let event = json!({ "kind": "handshake", "status": status, "body": body });
        return json!({
            "auth": "accept", "reason": null, "proof": proof,
            "response": { "status": status, "body": body }, "events": [event],
        });
    }
    let events = gateway.parse(webhook).unwrap_or_else(|why| vec![WebhookEvent::malformed(&why)]);
    let events: Vec<Value> = events.iter().map(|event| describe(event, event.is_for(gateway, number))).collect();
    let (_, body) = gateway.acknowledgement();
    json!({
        "auth": "accept", "reason": null, "proof": proof,
        "response": { "status": 200, "body": body }, "events": events,
    })
}

fn describe(event: &WebhookEvent, for_us: bool) -> Value {
    let ignored = event.ignored.or((!for_us).then_some(gateway::IgnoreReason::AnotherNumber));
    let text = event.text.as_deref().unwrap_or_default();
    let codes: Vec<String> =
        message_codes::find_codes(text, usize::MAX).codes.iter().map(|code| code.as_str().to_owned()).collect();
    json!({
        "kind": if ignored.is_some() { "ignore" } else { "message" },
        "reason": ignored.map(gateway::IgnoreReason::as_str),
        "message_id": event.message_id,
        "dedupe_key": event.dedupe_key,
        "chat_id": event.chat_id,
        "phone_e164": event.sender.phone.as_ref().map(Phone::e164),
        "lid": event.sender.lid().map(|id| format!("{id}@lid")),
        "bsuid": event.sender.bsuid(),
        "push_name": event.push_name,
        "text": event.text,
        "timestamp": event.timestamp,
        "from_me": event.from_me,
        "group": event.group,
        "codes": codes,
        "receipt": event.receipt.as_ref().map(describe_receipt),
        "detail": event.fault,
    })
}

/// The status of a message that was sent.
fn describe_receipt(receipt: &DeliveryReceipt) -> Value {
    let (status, reason) = match receipt.status {
        ReceiptStatus::Accepted => ("accepted", None),
        ReceiptStatus::Delivered => ("delivered", None),
        ReceiptStatus::Failed(refusal) => ("failed", Some(refusal.as_str())),
    };
    json!({ "message_id": receipt.message_id, "status": status, "reason": reason })
}
