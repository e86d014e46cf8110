//! `inspect-webhook`: how the daemon would handle a recorded webhook request, offline.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::ConfigFile;
use crate::{
    app::{
        self,
        exit::{EX_CONFIG, Failure},
    },
    clock::Clock,
    config::LogConfig,
    domain::{InstanceId, Phone, message_codes},
    gateway::{self, Gateway, Purpose, Webhook, WebhookEvent},
    telemetry::{self, stdout::print},
};

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
    /// A file with the exact bytes of the body, or of the raw query with `--method GET`.
    body: PathBuf,
}

pub(super) fn run(options: &InspectOptions) -> Result<ExitCode, Failure> {
    telemetry::init(&LogConfig { json: false, level: "info".to_owned() });
    let (gateway, number) = build_gateway(options)?;
    let body = std::fs::read(&options.body).with_context(|| format!("cannot read {}", options.body.display()))?;
    let method: Method = options.method.to_uppercase().parse().context("--method")?;
    let headers = parse_headers(&options.headers)?;
    let raw_query = String::from_utf8_lossy(&body).into_owned();
    let url_query = options.url.as_deref().and_then(|url| url.split_once('?')).map_or("", |(_, query)| query);
    let is_get = method == Method::GET;
    let now = match options.now {
        Some(seconds) => Timestamp::from_second(seconds).context("--now")?,
        None => Clock::default().wall(),
    };
    let webhook = Webhook {
        method: &method,
        path_suffix: None,
        query: if is_get { &raw_query } else { url_query },
        headers: &headers,
        body: if is_get { &[] } else { &body },
        now,
    };
    print(format_args!("{:#}", verdict(&*gateway, &number, &webhook)))?;
    Ok(ExitCode::SUCCESS)
}

fn build_gateway(options: &InspectOptions) -> Result<(std::sync::Arc<dyn Gateway>, Phone), Failure> {
    let config = super::parse_config(&super::read_config(&options.config.path)?)?;
    let public_url = config.public_url;
    let instance = config.instances.into_iter().find(|instance| instance.id == options.instance);
    let instance = instance.ok_or_else(|| Failure {
        status: EX_CONFIG,
        error: anyhow::anyhow!("--instance: {} is not in the configuration", options.instance),
    })?;
    let url = app::webhook_url(&public_url, options.instance);
    let gateway = gateway::build(&instance.gateway, Purpose::Inspect, &url)?;
    Ok((gateway, instance.number))
}

fn parse_headers(lines: &[String]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) =
            line.split_once(':').with_context(|| format!("--header {line:?}: expected `Name: value`"))?;
        headers.append(name.trim().parse::<HeaderName>()?, value.trim().parse::<HeaderValue>()?);
    }
    Ok(headers)
}

/// The result in the format of `tests/fixtures/gateways`.
fn verdict(gateway: &dyn Gateway, number: &Phone, webhook: &Webhook<'_>) -> Value {
    let is_get = webhook.method == Method::GET;
    if let Err(why) = gateway.authenticate(webhook) {
        let (status, kind) = if is_get { (403, "handshake") } else { (401, "ignore") };
        let event = json!({
            "kind": kind, "reason": "unauthenticated", "status": status, "from_me": false, "group": false,
        });
        return json!({
            "auth": "reject", "reason": why.0,
            "response": { "status": status, "body": null }, "events": [event],
        });
    }
    if is_get {
        let answer = gateway.handshake(webhook);
        let (status, body) = answer.map_or((404, None), |answer| (answer.status.as_u16(), Some(answer.body)));
        let event = json!({ "kind": "handshake", "status": status, "body": body });
        return json!({ "auth": "accept", "reason": null, "response": { "status": status, "body": body }, "events": [event] });
    }
    let events: Vec<Value> = match gateway.parse(webhook) {
        Ok(events) => events.iter().map(|event| describe(event, event.is_for(gateway, number))).collect(),
        Err(error) => vec![json!({ "kind": "ignore", "reason": "malformed", "detail": error.to_string() })],
    };
    json!({ "auth": "accept", "reason": null, "response": { "status": 200, "body": "" }, "events": events })
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
    })
}
