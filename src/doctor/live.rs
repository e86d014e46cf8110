//! The checks that need a token: a link is minted and verified, and a message from a real phone is awaited.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{probe::WebhookCounters, report::Report, target::CheckTarget};
use crate::{
    gateway::{SampleSender, WebhookRequest},
    http::qr,
};

const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Replies are sent immediately, unless the gateway is slow or down.
const REPLY_TIMEOUT: Duration = Duration::from_secs(15);

/// Mints a link for the operator's number and verifies it, once.
pub(super) async fn check_link(target: &CheckTarget<'_>, token: &str, report: &mut Report) {
    if let Err(error) = run_link_checks(target, token, report).await {
        report.add("matched", "a link is minted and verified", false, "verified", format!("{error:#}"));
    }
}

async fn run_link_checks(target: &CheckTarget<'_>, token: &str, report: &mut Report) -> anyhow::Result<()> {
    let probe = &target.probe;
    let number = target.sample(SampleSender::Person, "").phone;
    let before = probe.counters().await;
    let mint = json!({ "chatId": format!("{number}@c.us"), "name": "countersign doctor", "purpose": "doctor" });
    let minted = probe.call(token, "POST", "/generate-link", &mint).await?;
    let (uuid, text) = (string_field(&minted, "uuid"), string_field(&minted, "text"));
    report.leaves.push(format!("the verification {uuid} (purpose \"doctor\"), its callbacks, and one reply"));
    let status = async || -> anyhow::Result<String> {
        Ok(string_field(&probe.call(token, "GET", &format!("/requests/{uuid}"), &Value::Null).await?, "status"))
    };
    for (who, name) in [(SampleSender::Group, "in a group"), (SampleSender::OwnNumber, "from the own number")] {
        let Some(webhook) = target.compose_signed(&target.sample(who, &text)) else { continue };
        let _ = probe.post("", &webhook).await;
        let now = status().await?;
        report.add("matched", format!("the code {name} verifies nothing"), now == "pending", "pending", now);
    }
    let sample = target.sample(SampleSender::Person, &text);
    let unsigned = target.compose(&sample).unwrap_or_default();
    let _ = probe.post("", &WebhookRequest { headers: unsigned.headers.clone(), ..unsigned }).await;
    let now = status().await?;
    report.add("matched", "the code without authentication verifies nothing", now == "pending", "pending", now);
    let webhook = target.compose_signed(&sample).unwrap_or_default();
    let _ = probe.post("", &webhook).await;
    let now = status().await?;
    report.add("matched", "the code from its chat verifies", now == "verified", "verified", now);
    let middle = probe.counters().await;
    let _ = probe.post("", &webhook).await;
    let after = probe.counters().await;
    if let (Some(middle), Some(after)) = (middle, after) {
        let made = after.increased(&middle, "webhook_events").join(", ");
        // `repeated`: the chat has used up its repeated replies, so the message is not handled as a duplicate.
        let nothing = made == "duplicate" || made == "repeated";
        report.add("matched", "the same message again changes nothing", nothing, "duplicate or repeated", made);
    }
    if let Some(before) = before {
        let result = wait_for_reply(target, &before).await;
        report.add("matched", "the gateway accepts the reply", result.contains("sent"), "sent", result);
    }
    Ok(())
}

/// The result of the reply, by the daemon's metrics.
async fn wait_for_reply(target: &CheckTarget<'_>, before: &WebhookCounters) -> String {
    let deadline = Instant::now() + REPLY_TIMEOUT;
    loop {
        let now = target.probe.counters().await.unwrap_or_default();
        let results = now.increased(before, "replies");
        if results.iter().any(|result| result != "retried" && result != "unknown") || Instant::now() >= deadline {
            return if results.is_empty() { "nothing was sent".to_owned() } else { results.join(", ") };
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Prints a link, and what arrives, until the link is verified or the time limit is reached.
pub(super) async fn check_real_phone(target: &CheckTarget<'_>, token: &str, patience: Duration, report: &mut Report) {
    match wait_for_message(target, token, patience, report).await {
        Ok(true) => {}
        Ok(false) => {
            report.add("real phone", "a message from a real phone", false, "verified", "nothing matched in time");
        }
        Err(error) => report.add("real phone", "a message from a real phone", false, "verified", format!("{error:#}")),
    }
}

async fn wait_for_message(
    target: &CheckTarget<'_>,
    token: &str,
    patience: Duration,
    report: &mut Report,
) -> anyhow::Result<bool> {
    let probe = &target.probe;
    let mint = json!({ "name": "countersign doctor [TEST]", "purpose": "doctor" });
    let minted = probe.call(token, "POST", "/generate-link", &mint).await?;
    let uuid = string_field(&minted, "uuid");
    report.leaves.push(format!("the verification {uuid} (purpose \"doctor\"), its callbacks, and its reply"));
    let link = string_field(&minted, "whatsapp_link");
    let code = qr::terminal(&link).unwrap_or_default();
    print_progress(&format!("\nsend this from a phone, within {} s:\n{code}\n  {link}", patience.as_secs()));
    let first = probe.counters().await.unwrap_or_default();
    let mut last = first.clone();
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        let now = probe.counters().await.unwrap_or_default();
        for family in ["webhook_events", "webhooks_rejected"] {
            now.increased(&last, family).iter().for_each(|word| print_progress(&format!("  arrived: {word}")));
        }
        last = now;
        let record = probe.call(token, "GET", &format!("/requests/{uuid}"), &Value::Null).await?;
        if string_field(&record, "status") == "verified" {
            print_progress(&format!("  event: {}", redacted(&record)));
            report.add("real phone", "a message from a real phone", true, "verified", redacted(&record).to_string());
            let result = wait_for_reply(target, &first).await;
            report.add("real phone", "the gateway accepts the reply", result.contains("sent"), "sent", result);
            return Ok(true);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(false)
}

fn string_field(json: &Value, name: &str) -> String {
    json[name].as_str().unwrap_or_default().to_owned()
}

/// The verified subject without personal data.
fn redacted(record: &Value) -> Value {
    let hide = |text: &str| match text.char_indices().rev().nth(1) {
        Some((at, _)) if text.len() > 6 => format!("…{}", &text[at..]),
        _ => "…".to_owned(),
    };
    let subject = &record["subject"];
    json!({
        "status": record["status"], "kind": subject["kind"], "value": subject["value"].as_str().map(hide),
        "push_name": record["push_name"].as_str().map(|name| format!("{}…", name.chars().take(1).collect::<String>())),
        "timeline": record["timeline"],
    })
}

/// Prints progress, which is not part of the report.
#[expect(clippy::print_stderr, reason = "progress of a command line tool")]
fn print_progress(line: &str) {
    eprintln!("{line}");
}
