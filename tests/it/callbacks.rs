//! Callbacks: never lost, on the printed schedule, isolated from one another.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    daemon::{Daemon, TestStore, WAHA, World},
    fakes::{ReceivedRequest, RecordingServer},
    login_flow::on_both_stores,
    wait::until,
};

on_both_stores! {
    a_failing_receiver_is_retried_on_schedule_with_the_same_body
    a_given_up_callback_can_be_replayed_under_its_id
    status_410_ends_a_callback_at_once
    retry_after_delays_the_schedule
    redirects_are_not_followed
    a_slow_receiver_does_not_delay_others
    a_denied_address_is_never_contacted
    a_failing_gateway_does_not_delay_callbacks_and_late_replies_are_dropped
    personal_data_is_erased_after_a_day_and_records_after_a_week
    a_failing_destination_is_held_for_a_while
    replies_are_paced_and_unsolicited_messages_do_not_delay_a_link
    a_number_with_rejected_credentials_is_held_and_resumes
}

async fn verified(daemon: &Daemon, id: &str, body: serde_json::Value) -> String {
    let link = daemon.create_link(body).await;
    daemon.send_message("447700900123", id, &link.text).await;
    link.uuid
}

/// For receivers behind an API gateway that requires its own key.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_adds_headers_to_its_callbacks() {
    let mut world = World::new(TestStore::directory());
    world.instance_lines =
        "callback_headers = [\"X-Api-Key: of-the-gateway\", \"authorization: Bearer a:b\"]".to_owned();
    let daemon = world.start().await;
    verified(&daemon, "H1", json!({})).await;
    let callback = world.receiver.wait_for(1).await.remove(0);
    assert_eq!(callback.header("x-api-key"), "of-the-gateway");
    assert_eq!(callback.header("authorization"), "Bearer a:b");
    assert_eq!(callback.header("content-type"), "application/json");
    daemon.finish().await;
}

/// As it stands before the cause of a failure.
fn host(url: &str) -> &str {
    url.trim_start_matches("http://")
}

async fn metrics(daemon: &Daemon) -> String {
    let request = http::Request::get(format!("{}/metrics", daemon.operator)).body(Vec::new()).unwrap();
    daemon.send(request).await.text
}

async fn dead(daemon: &Daemon) -> serde_json::Value {
    let answer = daemon.get(&format!("/api/otp/v2/{WAHA}/callbacks?status=dead")).await;
    answer.data("callbacks").clone()
}

async fn a_failing_receiver_is_retried_on_schedule_with_the_same_body(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    world.receiver.fail(500, 4);
    verified(&daemon, "A", json!({})).await;
    daemon.settle().await;
    // 2, 5, 15 and 60 seconds, each with up to a fifth more.
    for (count, base) in [(1, 2), (2, 5), (3, 15), (4, 60)] {
        assert_eq!(world.receiver.requests().len(), count);
        daemon.advance(Duration::from_secs(base - 1)).await;
        // The clock also runs by itself, and on a busy machine for more than the second that is left.
        let arrived = world.receiver.requests();
        if let [.., last, next] = &arrived[count - 1..] {
            let stamp = |attempt: &ReceivedRequest| attempt.header("webhook-timestamp").parse::<u64>().unwrap();
            let apart = stamp(next) - stamp(last);
            assert!(apart >= base, "{apart} s after attempt {count}");
        }
        daemon.advance(Duration::from_millis(base * 200 + 2000)).await;
    }
    let arrived = world.receiver.wait_for(5).await;
    let (id, body) = (arrived[0].header("webhook-id").to_owned(), arrived[0].body.clone());
    assert!(arrived.iter().all(|attempt| attempt.header("webhook-id") == id && attempt.body == body));
    let stamps: Vec<i64> = arrived.iter().map(|attempt| attempt.header("webhook-timestamp").parse().unwrap()).collect();
    assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]), "each attempt signs its own time");
    daemon.finish().await;
}

async fn a_given_up_callback_can_be_replayed_under_its_id(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    world.receiver.fail(503, 13);
    let uuid = verified(&daemon, "A", json!({})).await;
    daemon.settle().await;
    for _ in 0..14 {
        daemon.advance(Duration::from_hours(30)).await;
    }
    assert_eq!(world.receiver.requests().len(), 13, "thirteen attempts");
    let listed = dead(&daemon).await;
    assert_eq!(listed[0]["uuid"], uuid);
    let error = format!("{}: status 503", host(&world.receiver.url));
    assert_eq!((&listed[0]["attempts"], &listed[0]["last_error"]), (&json!(13), &json!(error)));
    let id = listed[0]["id"].as_str().unwrap();
    let replay = daemon.post(&format!("/api/otp/v2/{WAHA}/callbacks/{id}/replay"), json!({})).await;
    assert_eq!(replay.status, 200, "{}", replay.text);
    daemon.settle().await;
    let arrived = world.receiver.wait_for(14).await;
    assert_eq!(arrived[13].header("webhook-id"), arrived[0].header("webhook-id"));
    assert_eq!(dead(&daemon).await, json!([]));
    let again = daemon.post(&format!("/api/otp/v2/{WAHA}/callbacks/{id}/replay"), json!({})).await;
    assert_eq!(again.status, 200, "what was delivered can be replayed, too");
    world.receiver.wait_for(15).await;
    daemon.finish().await;
}

async fn status_410_ends_a_callback_at_once(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    world.receiver.fail(410, 1);
    verified(&daemon, "A", json!({})).await;
    daemon.settle().await;
    daemon.advance(Duration::from_hours(1)).await;
    assert_eq!(world.receiver.requests().len(), 1);
    let error = format!("{}: gone: status 410", host(&world.receiver.url));
    assert_eq!(dead(&daemon).await[0]["last_error"], error);
    let counted = |reason: &str| format!("countersign_jobs_dead_total{{kind=\"callback\",reason=\"{reason}\"}} ");
    let metrics = metrics(&daemon).await;
    assert!(metrics.contains(&format!("{}1\n", counted("gone"))), "{metrics}");
    assert!(metrics.contains(&format!("{}0\n", counted("given_up"))), "{metrics}");
    daemon.finish().await;
}

async fn retry_after_delays_the_schedule(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    world.receiver.fail(429, 1);
    world.receiver.fail_with("retry-after", "600");
    verified(&daemon, "A", json!({})).await;
    daemon.settle().await;
    daemon.advance(Duration::from_secs(540)).await;
    assert_eq!(world.receiver.requests().len(), 1);
    daemon.advance(Duration::from_secs(70)).await;
    world.receiver.wait_for(2).await;
    daemon.finish().await;
}

async fn redirects_are_not_followed(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let trap = RecordingServer::start();
    world.receiver.fail_with("location", &trap.url);
    let mut verified_uuids = HashSet::new();
    for (index, status) in [301, 302, 307, 308].into_iter().enumerate() {
        world.receiver.fail(status, 1000);
        verified_uuids.insert(verified(&daemon, &format!("A{index}"), json!({})).await);
        daemon.settle().await;
    }
    let waiting = daemon.get(&format!("/api/otp/v2/{WAHA}/callbacks?status=pending")).await;
    assert_eq!(waiting.data("callbacks").as_array().unwrap().len(), 4, "{}", waiting.text);
    world.receiver.fail(200, 0);
    daemon.advance(Duration::from_secs(90)).await;
    let delivered = daemon.get(&format!("/api/otp/v2/{WAHA}/callbacks?status=delivered")).await;
    let uuids = delivered.data("callbacks").as_array().unwrap().iter().map(|one| one["uuid"].as_str().unwrap().into());
    assert_eq!(uuids.collect::<HashSet<String>>(), verified_uuids);
    assert!(trap.requests().is_empty());
    daemon.finish().await;
}

async fn a_slow_receiver_does_not_delay_others(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let slow = RecordingServer::start();
    slow.delay(Duration::from_secs(9));
    let url = format!("{}/slow", slow.url);
    let crowd = (0..12).map(async |index| {
        verified(&daemon, &format!("S{index}"), json!({"callback": {"success": url}})).await;
    });
    futures_util::future::join_all(crowd).await;
    verified(&daemon, "Q", json!({})).await;
    world.receiver.wait_for(1).await;
    assert!(slow.requests().len() <= 8, "a destination gets no more than its slots");
    slow.delay(Duration::ZERO);
    slow.wait_for(12).await;
    daemon.finish().await;
}

async fn a_denied_address_is_never_contacted(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let ours = daemon.base.rsplit(':').next().unwrap().to_owned();
    for (index, url) in [
        "http://169.254.169.254/latest".to_owned(),
        "http://10.0.0.1/x".to_owned(),
        "http://[::1]:1/x".to_owned(),
        "http://2130706434:9/x".replace("2130706434", "3232235777"),
        format!("http://0x7f.1:{ours}/api"),
    ]
    .into_iter()
    .enumerate()
    {
        verified(&daemon, &format!("F{index}"), json!({"callback": {"success": url}})).await;
    }
    daemon.settle().await;
    // The daemon's own port is only known after binding; port 0 in this test keeps it out of the closed list,
    // so the last one fails for another reason: our API refuses it. Nothing is tried twice that is forbidden.
    let listed = dead(&daemon).await;
    let notes = listed.as_array().unwrap().iter().map(|job| (&job["attempts"], job["last_error"].as_str().unwrap()));
    let notes: Vec<_> = notes.collect();
    let forbidden = |note: &&(&Value, &str)| *note.0 == 1 && note.1.contains(": forbidden_target: ");
    assert_eq!((notes.iter().filter(forbidden).count(), notes.len()), (4, 4), "{notes:?}");
    let metrics = metrics(&daemon).await;
    let counted = "countersign_jobs_dead_total{kind=\"callback\",reason=\"forbidden_target\"} 4";
    assert!(metrics.contains(counted), "{metrics}");
    daemon.finish().await;
}

async fn a_failing_gateway_does_not_delay_callbacks_and_late_replies_are_dropped(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    world.gateway.fail(500, 2);
    verified(&daemon, "A", json!({})).await;
    world.receiver.wait_for(1).await;
    daemon.settle().await;
    daemon.advance(Duration::from_secs(3)).await;
    daemon.advance(Duration::from_secs(7)).await;
    assert_eq!(world.gateway.requests().len(), 3, "2 and 5 seconds later");
    world.gateway.fail(500, 1);
    world.gateway.fail_with("retry-after", "60");
    verified(&daemon, "B", json!({})).await;
    daemon.settle().await;
    daemon.advance(Duration::from_secs(200)).await;
    assert_eq!(world.gateway.requests().len(), 4, "too late to be sent");
    world.gateway.fail(401, 1);
    verified(&daemon, "C", json!({})).await;
    daemon.settle().await;
    daemon.advance(Duration::from_secs(60)).await;
    assert_eq!(world.gateway.requests().len(), 5, "a logged-out number is not hammered");
    daemon.finish().await;
}

async fn personal_data_is_erased_after_a_day_and_records_after_a_week(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let uuid = verified(&daemon, "A", json!({"chatId": "447700900123@c.us"})).await;
    daemon.settle().await;
    let path = format!("/api/otp/v2/{WAHA}/requests/{uuid}");
    daemon.advance(Duration::from_hours(23)).await;
    assert_eq!(daemon.get(&path).await.data("chat_id"), "447700900123@c.us");
    daemon.advance(Duration::from_hours(2)).await;
    let erased = daemon.get(&path).await;
    assert_eq!(erased.data("status"), "verified");
    assert!(erased.data("chat_id").is_null() && erased.data("subject").is_null(), "{}", erased.text);
    daemon.advance(Duration::from_hours(24 * 7)).await;
    assert_eq!(daemon.get(&path).await.status, 404);
    daemon.finish().await;
}

async fn a_failing_destination_is_held_for_a_while(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let broken = RecordingServer::start();
    broken.fail(500, 1000);
    let url = format!("{}/x", broken.url);
    for index in 0..12 {
        verified(&daemon, &format!("B{index}"), json!({"callback": {"success": url}})).await;
    }
    daemon.settle().await;
    let attempts = broken.requests().len();
    assert!(attempts >= 10, "{attempts}");
    broken.fail(500, 0);
    verified(&daemon, "B99", json!({"callback": {"success": url}})).await;
    verified(&daemon, "H1", json!({})).await;
    world.receiver.wait_for(1).await;
    daemon.advance(Duration::from_secs(20)).await;
    assert_eq!(broken.requests().len(), attempts, "held, while others are served");
    daemon.advance(Duration::from_secs(17)).await;
    broken.wait_for(attempts + 13).await;
    daemon.finish().await;
}

async fn replies_are_paced_and_unsolicited_messages_do_not_delay_a_link(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\nreplies_per_second = 4\n".to_owned();
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    daemon.send_message("447700900100", "P0", &link.text).await;
    world.gateway.wait_for(1).await;
    let start = Instant::now();
    // The code is used: every further sender gets a reply that it did not work, two a second.
    for index in 1..=20 {
        daemon.send_message(&format!("4477009001{index:02}"), &format!("P{index}"), &link.text).await;
    }
    let said = world.gateway.requests().len();
    let passed = usize::try_from(start.elapsed().as_secs()).unwrap() + 1;
    assert!(said <= 1 + 4 * passed, "{said} in {passed} s");
    let other = daemon.create_link(json!({})).await;
    daemon.send_message("447700900150", "P50", &other.text).await;
    let links = || {
        let replies = world.gateway.requests();
        replies.iter().filter(|reply| reply.json()["text"].as_str().unwrap().contains("/o/")).count()
    };
    until("the second person gets a link", async || links() >= 2).await;
    // All of the malformed messages take ten seconds.
    let said = world.gateway.requests().len();
    assert!(said < 22 || start.elapsed() > Duration::from_secs(8), "the second person got the link at once: {said}");
    for _ in 0..12 {
        daemon.advance(Duration::from_secs(1)).await;
    }
    world.gateway.wait_for(22).await;
    daemon.finish().await;
}

async fn a_number_with_rejected_credentials_is_held_and_resumes(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    world.gateway.fail(401, 1);
    verified(&daemon, "N0", json!({})).await;
    world.gateway.wait_for(1).await;
    daemon.settle().await;
    verified(&daemon, "N1", json!({})).await;
    daemon.settle().await;
    assert_eq!(world.gateway.requests().len(), 1, "silent");
    let ready = http::Request::get(format!("{}/readyz", daemon.operator)).body(Vec::new()).unwrap();
    assert_eq!(daemon.send(ready).await.status, 200, "readiness does not depend on a number");
    let metrics = metrics(&daemon).await;
    assert!(metrics.contains(&format!("countersign_numbers_refused{{instance_id=\"{WAHA}\"}} 1")), "{metrics}");
    daemon.advance(Duration::from_secs(37)).await;
    world.gateway.wait_for(2).await;
    daemon.finish().await;
}
