//! Retries and timers fire on time under load.

use std::time::{Duration, Instant};

use countersign::random;
use serde_json::json;

use crate::{
    daemon::{Daemon, TestStore, World},
    fakes::RecordingServer,
    login_flow::on_both_stores,
};

/// Seconds; the shortest life there is.
const LIFETIME: i64 = 10;

on_both_stores! {
    regular_traffic_delays_no_retry_or_timer
    random_traffic_delays_no_retry_or_timer
}

async fn regular_traffic_delays_no_retry_or_timer(test_store: TestStore) {
    check_timing_under_load(test_store, || 0.4).await;
}

async fn random_traffic_delays_no_retry_or_timer(test_store: TestStore) {
    check_timing_under_load(test_store, || -(1.0 - random::fraction()).max(1e-9).ln() / 10.0).await;
}

/// `pause` gives the seconds to the next login.
async fn check_timing_under_load(test_store: TestStore, pause: impl Fn() -> f64) {
    let mut world = World::new(test_store);
    world.instance_lines = format!("expires_min = {LIFETIME}\n");
    let daemon = world.start().await;
    let logins = async {
        let mut due = tokio::time::Instant::now();
        for person in 0.. {
            tokio::time::sleep_until(due).await;
            due += Duration::from_secs_f64(pause());
            log_in(&daemon, person, json!({})).await;
        }
    };
    tokio::select! {
        () = logins => unreachable!("people log in until the end"),
        () = check_due_times(&daemon) => {}
    }
    daemon.stop().await;
}

async fn log_in(daemon: &Daemon, person: u32, body: serde_json::Value) {
    let link = daemon.create_link(body).await;
    let answer = daemon.send_message(&format!("4477{person:08}"), &format!("D{person}"), &link.text).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// By the daemon's own times, which are whole seconds: what is 1.4 s apart can be 2 there.
async fn check_due_times(daemon: &Daemon) {
    let (failing, expired) = (RecordingServer::start(), RecordingServer::start());
    failing.fail(500, 1);
    let minted = Instant::now();
    daemon
        .create_link(json!({ "expires": LIFETIME, "callback": { "expired": format!("{}/expired", expired.url) } }))
        .await;
    log_in(daemon, 99_999_999, json!({ "callback": { "success": format!("{}/retry", failing.url) } })).await;
    let attempts = failing.wait_for(2).await;
    let times: Vec<i64> = attempts.iter().map(|attempt| attempt.header("webhook-timestamp").parse().unwrap()).collect();
    // Due after 2.0 to 2.4 s, and looked for once a second.
    assert!(times[1] - times[0] <= 4, "{times:?}");
    let callback = expired.wait_for(1).await.remove(0);
    assert!(callback.at >= minted + Duration::from_secs(LIFETIME.unsigned_abs()), "nothing ends early");
    let body = callback.json();
    let time = |value: &serde_json::Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    let sent: i64 = callback.header("webhook-timestamp").parse().unwrap();
    let late = sent - time(&body["data"]["expires_at"]);
    assert!((0..=2).contains(&late), "{body}");
}
