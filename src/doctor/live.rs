//! With a token: a link that is minted and matched, and a message from a real phone.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{card::Card, checks::Patient, probe::Counters};
use crate::gateway::{Draft, Who};

const STEP: Duration = Duration::from_millis(500);
/// A reply leaves at once, unless the gateway is slow or away.
const REPLY: Duration = Duration::from_secs(15);

/// Mints a link for the operator's number and matches it, once.
pub(super) async fn matched(patient: &Patient<'_>, token: &str, card: &mut Card) {
    if let Err(error) = rounds(patient, token, card).await {
        card.add("matched", "a link is minted and matched", false, "verified", format!("{error:#}"));
    }
}

async fn rounds(patient: &Patient<'_>, token: &str, card: &mut Card) -> anyhow::Result<()> {
    let probe = &patient.probe;
    let number = patient.sample(Who::Person, "").phone;
    let before = probe.counters().await;
    let mint = json!({ "chatId": format!("{number}@c.us"), "name": "countersign doctor", "purpose": "doctor" });
    let minted = probe.call(token, "POST", "/generate-link", &mint).await?;
    let (uuid, text) = (word(&minted, "uuid"), word(&minted, "text"));
    card.leaves.push(format!("the verification {uuid} (purpose \"doctor\"), its callbacks, and one reply"));
    let status = async || -> anyhow::Result<String> {
        Ok(word(&probe.call(token, "GET", &format!("/requests/{uuid}"), &Value::Null).await?, "status"))
    };
    for (who, name) in [(Who::Group, "in a group"), (Who::Own, "from ourselves")] {
        let Some(draft) = patient.signed(&patient.sample(who, &text)) else { continue };
        let _ = probe.post("", &draft).await;
        let now = status().await?;
        card.add("matched", format!("the code {name} verifies nobody"), now == "pending", "pending", now);
    }
    let sample = patient.sample(Who::Person, &text);
    let unsigned = patient.draft(&sample).unwrap_or_default();
    let _ = probe.post("", &Draft { headers: unsigned.headers.clone(), ..unsigned }).await;
    let now = status().await?;
    card.add("matched", "the code without a proof verifies nobody", now == "pending", "pending", now);
    let draft = patient.signed(&sample).unwrap_or_default();
    let _ = probe.post("", &draft).await;
    let now = status().await?;
    card.add("matched", "the code from its chat verifies", now == "verified", "verified", now);
    let middle = probe.counters().await;
    let _ = probe.post("", &draft).await;
    let after = probe.counters().await;
    if let (Some(middle), Some(after)) = (middle, after) {
        let made = after.grown(&middle, "webhook_events").join(", ");
        // Once the chat's budget of repeated answers is used up it gets none, and is no duplicate of one.
        let nothing = made == "duplicate" || made == "repeated";
        card.add("matched", "the same message again changes nothing", nothing, "duplicate or repeated", made);
    }
    if let Some(before) = before {
        let result = reply(patient, &before).await;
        card.add("matched", "the gateway takes the reply", result.contains("sent"), "sent", result);
    }
    Ok(())
}

/// What became of the reply, by the daemon's own count.
async fn reply(patient: &Patient<'_>, before: &Counters) -> String {
    let deadline = Instant::now() + REPLY;
    loop {
        let now = patient.probe.counters().await.unwrap_or_default();
        let results = now.grown(before, "replies");
        if results.iter().any(|result| result != "retried" && result != "unknown") || Instant::now() >= deadline {
            return if results.is_empty() { "nothing was sent".to_owned() } else { results.join(", ") };
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Shows a link and says what arrives, until somebody has sent it.
pub(super) async fn wait(patient: &Patient<'_>, token: &str, patience: Duration, card: &mut Card) {
    match arrival(patient, token, patience, card).await {
        Ok(true) => {}
        Ok(false) => {
            card.add("real phone", "a message from a real phone", false, "verified", "nothing matched in time");
        }
        Err(error) => card.add("real phone", "a message from a real phone", false, "verified", format!("{error:#}")),
    }
}

async fn arrival(patient: &Patient<'_>, token: &str, patience: Duration, card: &mut Card) -> anyhow::Result<bool> {
    let probe = &patient.probe;
    let mint = json!({ "name": "countersign doctor [TEST]", "purpose": "doctor" });
    let minted = probe.call(token, "POST", "/generate-link", &mint).await?;
    let uuid = word(&minted, "uuid");
    card.leaves.push(format!("the verification {uuid} (purpose \"doctor\"), its callbacks, and its reply"));
    say(&format!("\nsend this from a phone, within {} s:\n  {}", patience.as_secs(), word(&minted, "whatsapp_link")));
    let first = probe.counters().await.unwrap_or_default();
    let mut last = first.clone();
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        let now = probe.counters().await.unwrap_or_default();
        for family in ["webhook_events", "webhooks_rejected"] {
            now.grown(&last, family).iter().for_each(|word| say(&format!("  arrived: {word}")));
        }
        last = now;
        let record = probe.call(token, "GET", &format!("/requests/{uuid}"), &Value::Null).await?;
        if word(&record, "status") == "verified" {
            say(&format!("  event: {}", redacted(&record)));
            card.add("real phone", "a message from a real phone", true, "verified", redacted(&record).to_string());
            let result = reply(patient, &first).await;
            card.add("real phone", "the gateway takes the reply", result.contains("sent"), "sent", result);
            return Ok(true);
        }
        tokio::time::sleep(STEP).await;
    }
    Ok(false)
}

fn word(json: &Value, name: &str) -> String {
    json[name].as_str().unwrap_or_default().to_owned()
}

/// Who wrote, without telling whom.
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

/// While it waits, not on the card.
#[expect(clippy::print_stderr, reason = "progress of a command line tool")]
fn say(line: &str) {
    eprintln!("{line}");
}
