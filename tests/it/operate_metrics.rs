//! Every metric changes in a real flow, or has a fixed value.

use std::{collections::BTreeMap, time::Duration};

use countersign::{domain::doctor_mark, metrics::Metrics};
use serde_json::json;

use crate::daemon::{Daemon, META, TestStore, WAHA, World, message, signed_waha};

/// The scraped text, and the sum of each family over its labels.
async fn scrape(daemon: &Daemon) -> (String, BTreeMap<String, f64>) {
    let request = http::Request::get(format!("{}/metrics", daemon.operator)).body(Vec::new()).unwrap();
    let text = daemon.send(request).await.text;
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap().to_owned();
        *sums.entry(name).or_insert(0.0) += value.parse::<f64>().unwrap();
    }
    (text, sums)
}

/// The name of a family's sample.
fn sample(entry: &countersign::metrics::MetricFamily) -> String {
    match entry.kind {
        "counter" => format!("{}_total", entry.name),
        "histogram" => format!("{}_count", entry.name),
        _ => entry.name.to_owned(),
    }
}

/// Families that are zero in this flow, and what would change them.
const UNCHANGED: &[(&str, &str)] = &[
    ("countersign_links_clicked", "no page of this flow is tapped"),
    ("countersign_leases_lost", "every attempt is faster than its lease"),
    ("countersign_audit_lines_lost", "there is no audit stream; api_tokens loses a line"),
    ("countersign_store_errors", "the store is well"),
    ("countersign_unauthenticated_limit_bytes", "it is known from the start"),
    ("countersign_unauthenticated_refused", "strangers are few; hostile_budget has more"),
    ("countersign_config_reloads", "needs a reload, as in operate_reload"),
    ("countersign_config_waiting", "nothing needs a restart; operate_reload has more"),
    ("countersign_keys_missing", "one process has all keys; rotation has two"),
    ("countersign_look_up_change_ends_timestamp_seconds", "the look-up key stays; look_up_change replaces it"),
    ("countersign_unreadable", "every key is there; rotation drops one"),
    ("countersign_numbers_refused", "the gateway takes our credentials; callbacks does not"),
    ("countersign_jobs_in_flight", "everything is settled"),
    ("countersign_lanes_held", "nothing fails often enough; lanes does"),
    ("countersign_message_delay_seconds", "no number is over its rate; lanes is"),
    ("countersign_queue_lateness_seconds", "nothing waits for longer than it must"),
    ("countersign_clock_offset_seconds", "one host, one clock"),
    ("countersign_store_refuses_writes", "new work is taken; incidents has a store that refuses it"),
    ("countersign_store_replicas_missing", "writes need no replica"),
    ("countersign_unauthenticated_bytes", "no request is under way"),
];

/// A genuine and a forged webhook, marked as probes of `doctor`.
async fn send_as_doctor(daemon: &Daemon) {
    let keys = &daemon.services.env.keys;
    let marked = |mut request: http::Request<Vec<u8>>, instance: &str| {
        let mark = doctor_mark::sign(keys, instance.parse().unwrap(), daemon.services.env.clock.wall(), request.body());
        request.headers_mut().insert(doctor_mark::HEADER, mark.parse().unwrap());
        request
    };
    let chatter = message("447700900155", "D1", "from doctor", daemon.services.env.clock.wall().as_second());
    let genuine = marked(signed_waha(&daemon.base, &chatter), WAHA);
    let forged = http::Request::post(format!("{}/webhooks/{META}", daemon.base)).body(b"{}".to_vec()).unwrap();
    assert_eq!(daemon.send(genuine).await.status, 200);
    assert_eq!(daemon.send(marked(forged, META)).await.status, 401);
}

async fn every_metric_changes(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\nmint_per_second = 1\nmint_burst = 6\n".to_owned();
    let daemon = world.start().await;
    let (_, before) = scrape(&daemon).await;

    // Verified, answered, opened, tapped, redeemed.
    let link = daemon.create_link(json!({})).await;
    let shown = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{}", link.uuid)).await;
    let start = url::Url::parse(&shown.text_of("start_url")).unwrap();
    assert_eq!(daemon.get(start.path()).await.status, 200);
    assert_eq!(daemon.send_message("447700900123", "M1", &link.text).await.status, 200);
    let reply = world.gateway.wait_for(1).await.remove(0).json()["text"].as_str().unwrap().to_owned();
    let path = crate::login_flow::link_in(&reply);
    let page = daemon.get(&path).await.text;
    let tap = http::Request::post(format!("{}{path}", daemon.base))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("form={}", crate::login_flow::form_field(&page)).into_bytes())
        .unwrap();
    let tapped = daemon.send(tap).await;
    let location = url::Url::parse(tapped.header("location")).unwrap();
    let token = location.query_pairs().find(|(name, _)| name == "token").unwrap().1.into_owned();
    assert_eq!(daemon.post(&format!("/api/otp/v2/{WAHA}/redeem"), json!({ "token": token })).await.status, 200);
    // A route with series of its own, which other methods below must not add to.
    assert_eq!(daemon.get("/").await.status, 303);
    send_as_doctor(&daemon).await;
    // Unknown, chatter, forged, too old, expired; a callback that fails and one that dies; too many mints.
    daemon.send_message("447700900155", "M2", "[ZZZZZZZZZZZZZZ]").await;
    daemon.send_message("447700900155", "M3", "good morning").await;
    assert_eq!(daemon.post(&format!("/webhooks/{META}"), json!({})).await.status, 401);
    daemon.post_waha(&message("447700900123", "M4", "[ZZZZZZZZZZZZZZ]", 5)).await;
    world.receiver.fail(410, 1);
    let gone = daemon.create_link(json!({})).await;
    daemon.send_message("447700900124", "M5", &gone.text).await;
    world.receiver.wait_for(3).await;
    let expired = daemon.create_link(json!({ "expires": 60 })).await;
    daemon.advance(Duration::from_secs(61)).await;
    daemon.send_message("447700900125", "M6", &expired.text).await;
    world.receiver.fail(503, 1000);
    let waits = daemon.create_link(json!({})).await;
    daemon.send_message("447700900126", "M7", &waits.text).await;
    let code = daemon.post(&format!("/api/otp/v2/{WAHA}/request-code"), json!({ "chatId": "447700900130@c.us" })).await;
    assert_eq!(code.status, 200, "{}", code.text);
    daemon.worker.wait_until_idle().await;
    for _ in 0..20 {
        daemon.mint(json!({})).await;
    }
    countersign::ops::Ops::new(&daemon.services).announce(true).await.unwrap();
    countersign::ops::Ops::new(&daemon.services).observe().await.unwrap();

    let (text, after) = scrape(&daemon).await;
    let mut still = Vec::new();
    for entry in Metrics::FAMILIES {
        let name = sample(entry);
        let value = after.get(&name).copied().unwrap_or(0.0);
        let moved = match entry.kind {
            "gauge" => value > 0.0,
            _ => value > before.get(&name).copied().unwrap_or(0.0),
        };
        if !moved && !UNCHANGED.iter().any(|(quiet, _)| *quiet == entry.name) {
            still.push(entry.name);
        }
    }
    assert!(still.is_empty(), "{still:?} did not move in\n{text}");
    for (quiet, why) in UNCHANGED {
        assert!(Metrics::FAMILIES.iter().any(|entry| entry.name == *quiet), "{quiet} ({why}) is no metric");
    }
    for expected in [
        format!("countersign_verifications_total{{instance_id=\"{WAHA}\",otp_type=\"link\",result=\"verified\"}} 3"),
        format!("countersign_verifications_total{{instance_id=\"{WAHA}\",otp_type=\"link\",result=\"expired\"}} 1"),
        format!("countersign_attempts_failed_total{{instance_id=\"{WAHA}\",reason=\"message_too_old\"}} 1"),
        format!("countersign_attempts_failed_total{{instance_id=\"{WAHA}\",reason=\"code_expired\"}} 1"),
        format!("countersign_attempts_failed_total{{instance_id=\"{META}\",reason=\"webhook_unauthenticated\"}} 1"),
        format!("countersign_messages_unmatched_total{{instance_id=\"{WAHA}\",reason=\"no_code\"}} 1"),
        format!("countersign_completions_total{{instance_id=\"{WAHA}\",result=\"redeemed\"}} 1"),
        format!("countersign_links_opened_total{{instance_id=\"{WAHA}\",page=\"start\"}} 1"),
        format!("countersign_callback_attempts_total{{instance_id=\"{WAHA}\",result=\"gone\"}} 1"),
        "countersign_queue_depth{kind=\"callback\"} 2".to_owned(),
        format!("countersign_replicas{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(text.contains(&format!("{expected}\n")), "{expected} in\n{text}");
    }
    // Unauthenticated clients cannot create series.
    let series = text.lines().count();
    for number in 0..50 {
        daemon.get(&format!("/nowhere/{number}")).await;
        daemon.get(&format!("/l/{number}/qr.svg")).await;
        daemon
            .send(
                http::Request::builder()
                    .method(format!("M{number}").as_str())
                    .uri(&daemon.base)
                    .body(Vec::new())
                    .unwrap(),
            )
            .await;
    }
    let (text, _) = scrape(&daemon).await;
    assert!(text.lines().count() < series + 40, "{text}");
    assert!(!text.contains("447700900") && !text.contains(&link.code));
    daemon.stop().await;
}

#[tokio::test]
async fn every_metric_changes_on_the_embedded_store() {
    every_metric_changes(TestStore::directory()).await;
}

#[tokio::test]
async fn every_metric_changes_on_redis() {
    every_metric_changes(TestStore::redis()).await;
}
