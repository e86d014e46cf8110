//! The delivery log: waiting, delivered and dead callbacks; replays and test callbacks.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    daemon::{CALLBACK_SECRET, Daemon, META, META_TOKEN, TestStore, WAHA, World},
    login_flow::on_both_stores,
};

on_both_stores! {
    each_callback_is_listed_while_pending_and_when_ended
    a_delivered_callback_is_replayed_under_its_id
    every_page_of_callbacks_is_listed
    a_test_is_a_real_signed_callback
    a_test_callback_obeys_the_address_policy
    invalid_parameters_are_named
    the_response_to_a_failed_attempt_is_kept_for_a_day
    a_failure_names_its_host_and_its_cause
    a_test_callback_is_attempted_once_even_if_the_receiver_is_held
    tests_have_a_limit
}

async fn listed(daemon: &Daemon, query: &str) -> Vec<Value> {
    let answer = daemon.get(&format!("/api/otp/v2/{WAHA}/callbacks{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.data("callbacks").as_array().unwrap().clone()
}

async fn each_callback_is_listed_while_pending_and_when_ended(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    assert!(listed(&daemon, "").await.is_empty());
    world.receiver.fail(500, 1);
    let link =
        daemon.create_link(json!({"callback": {"success": format!("{}/secret-path?key=1", world.receiver.url)}})).await;
    daemon.send_message("447700900123", "D1", &link.text).await;
    world.receiver.wait_for(1).await;
    daemon.worker.wait_until_idle().await;
    let pending = listed(&daemon, "?status=pending").await;
    assert_eq!(pending.len(), 1, "{pending:?}");
    let callback = &pending[0];
    assert_eq!((&callback["uuid"], &callback["type"]), (&json!(link.uuid), &json!("link.verified")));
    let error = format!("{}: status 500", world.receiver.url.trim_start_matches("http://"));
    assert_eq!((&callback["attempts"], &callback["last_error"]), (&json!(1), &json!(error)));
    assert_eq!(callback["url"], world.receiver.url, "the path may be a secret");
    assert!(callback["next_attempt_at"].is_string() && callback["ended_at"].is_null());
    daemon.advance(Duration::from_secs(4)).await;
    assert!(listed(&daemon, "?status=pending").await.is_empty());
    for query in ["", "?status=delivered", &format!("?uuid={}", link.uuid)] {
        let delivered = listed(&daemon, query).await;
        assert_eq!((delivered.len(), &delivered[0]["status"]), (1, &json!("delivered")), "{query}");
        assert_eq!(delivered[0]["webhook_id"], callback["webhook_id"]);
        assert_eq!((&delivered[0]["attempts"], &delivered[0]["last_error"]), (&json!(2), &Value::Null));
    }
    let one = daemon.get(&format!("/api/otp/v2/{WAHA}/callbacks/{}", callback["id"].as_str().unwrap())).await;
    assert_eq!(one.data("body")["data"]["uuid"], link.uuid, "{}", one.text);
    assert!(!one.text.contains("secret-path"), "{}", one.text);
    let foreign = daemon.get_as(META_TOKEN, &format!("/api/otp/v2/{META}/callbacks")).await;
    assert_eq!(foreign.data("callbacks"), &json!([]));
    daemon.advance_clock(Duration::from_hours(25)).await;
    assert!(listed(&daemon, "").await.is_empty(), "remembered for a day");
    daemon.finish().await;
}

async fn a_delivered_callback_is_replayed_under_its_id(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    daemon.send_message("447700900123", "R1", &link.text).await;
    world.receiver.wait_for(1).await;
    daemon.settle().await;
    let id = listed(&daemon, "").await[0]["id"].as_str().unwrap().to_owned();
    let replayed = daemon.post(&format!("/api/otp/v2/{WAHA}/callbacks/{id}/replay"), json!({})).await;
    assert_eq!(replayed.status, 200, "{}", replayed.text);
    let arrived = world.receiver.wait_for(2).await;
    assert_eq!(arrived[0].header("webhook-id"), arrived[1].header("webhook-id"));
    assert_eq!(arrived[0].body, arrived[1].body);
    for bad in ["garbage", "MC5ub25l", "MzIueA"] {
        for (method, path) in [("get", format!("callbacks/{bad}")), ("post", format!("callbacks/{bad}/replay"))] {
            let path = format!("/api/otp/v2/{WAHA}/{path}");
            let answer = if method == "get" { daemon.get(&path).await } else { daemon.post(&path, json!({})).await };
            assert_eq!((answer.status, &answer.json["code"]), (404, &json!("not_found")), "{path}");
        }
    }
    daemon.finish().await;
}

async fn a_test_is_a_real_signed_callback(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let path = format!("/api/otp/v2/{WAHA}/callbacks/test");
    let sent = daemon.post_with(&path, json!({}), &[("idempotency-key", "once")]).await;
    let again = daemon.post_with(&path, json!({}), &[("idempotency-key", "once")]).await;
    assert_eq!((sent.status, sent.data("type")), (200, &json!("callback.test")), "{}", sent.text);
    assert_eq!(sent.data("id"), again.data("id"));
    let other = json!({"url": format!("{}/other", world.receiver.url)});
    let other = daemon.post_with(&path, other, &[("idempotency-key", "once")]).await;
    assert_eq!((other.status, &other.json["code"]), (422, &json!("idempotency_key_reused")));
    world.receiver.wait_for(1).await;
    daemon.settle().await;
    let arrived = world.receiver.requests();
    assert_eq!(arrived.len(), 1, "the same key sends once");
    let body = arrived[0].json();
    assert_eq!((&body["type"], &body["data"]["test"]), (&json!("callback.test"), &json!(true)));
    assert_eq!(arrived[0].header("webhook-id"), sent.text_of("webhook_id"));
    let mut headers = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, arrived[0].header(name).parse().unwrap());
    }
    standardwebhooks::Webhook::new(CALLBACK_SECRET).unwrap().verify(&arrived[0].body, &headers).unwrap();
    let elsewhere = daemon.post(&path, json!({"url": format!("{}/elsewhere", world.receiver.url)})).await;
    assert_eq!(elsewhere.status, 200);
    let arrived = world.receiver.wait_for(2).await;
    assert_eq!(arrived[1].path, "/elsewhere");
    daemon.settle().await;
    assert_eq!(listed(&daemon, "?status=delivered").await.len(), 2);
    daemon.finish().await;
}

/// Each callback once, in pages of an instance's own, through the API and the command line.
async fn every_page_of_callbacks_is_listed(test_store: TestStore) {
    check_listing(test_store, 600).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: tests/run --long"]
async fn ten_thousand_callbacks_are_listed_on_the_embedded_store() {
    check_listing(TestStore::directory(), 10_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: tests/run --long"]
async fn ten_thousand_callbacks_are_listed_on_redis() {
    check_listing(TestStore::redis(), 10_000).await;
}

async fn check_listing(test_store: TestStore, count: usize) {
    let mut world = World::new(test_store);
    world.instance_lines =
        "[instance.limits]\nmint_per_second = 1000\nmint_burst = 10000\ninstance_mint_per_second = 1000\n\
                   instance_mint_burst = 10000\nreplies_per_second = 1000\n"
            .to_owned();
    world.receiver.fail(503, u64::MAX);
    let daemon = std::sync::Arc::new(world.start().await);
    let mut work = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let daemon = std::sync::Arc::clone(&daemon);
        work.spawn(async move {
            for number in (worker..count).step_by(8) {
                let link = daemon.create_link(json!({})).await;
                let said = daemon.send_message(&format!("4477{number:08}"), &format!("L{number}"), &link.text).await;
                assert_eq!(said.status, 200, "{}", said.text);
            }
        });
    }
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
    let list = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["callbacks", "list", "--url", &daemon.base, "--instance", WAHA])
            .args(arguments)
            .env("COUNTERSIGN_TOKEN", crate::daemon::TOKEN)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{error}");
        (String::from_utf8(output.stdout).unwrap(), error)
    };
    let (all, error) = list(&["--status", "pending", "--limit", "0"]);
    let ids: std::collections::HashSet<&str> =
        all.lines().map(|line| line.split("  ").nth(5).unwrap_or_else(|| panic!("{line}"))).collect();
    assert_eq!((all.lines().count(), ids.len()), (count, count), "{error}");
    let (some, error) = list(&["--limit", "250"]);
    assert_eq!(some.lines().count(), 250);
    assert!(error.contains("--limit 0"), "{error}");
    let daemon = std::sync::Arc::into_inner(daemon).unwrap();
    daemon.stop().await;
}

async fn a_test_callback_obeys_the_address_policy(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let path = format!("/api/otp/v2/{WAHA}/callbacks/test");
    for url in [json!("ftp://x"), json!("http://user:pw@x/"), json!(7), json!("https://x/#f")] {
        let refused = daemon.post(&path, json!({"url": url})).await;
        assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("url")), "{url}");
    }
    let metadata = daemon.post(&path, json!({"url": "http://169.254.169.254/latest"})).await;
    assert_eq!(metadata.status, 200, "the address is judged where it is dialled");
    daemon.settle().await;
    let tried = listed(&daemon, "?status=dead").await;
    assert_eq!(tried[0]["attempts"], 1);
    let error = "169.254.169.254: forbidden_target: this address is not open to callbacks";
    assert_eq!(tried[0]["last_error"], error);
    daemon.stop().await;
}

async fn invalid_parameters_are_named(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    for (query, field) in [
        ("status=x", "status"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("uuid=x", "uuid"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
    ] {
        let answer = daemon.get(&format!("/api/otp/v2/{WAHA}/callbacks?{query}")).await;
        assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!(field)), "{query}");
    }
    let unknown = daemon.get(&format!("/api/otp/v2/{WAHA}/callbacks?uuid=0192f2a0-0000-7000-8000-000000000000")).await;
    assert_eq!(unknown.status, 404);
    daemon.finish().await;
}

async fn the_response_to_a_failed_attempt_is_kept_for_a_day(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    world.receiver.fail(500, 100);
    world.receiver.fail_with("x-error-id", "E-4711");
    world.receiver.answer(json!({ "error": "y".repeat(3000) }));
    let link = daemon.create_link(json!({"chatId": "447700900123"})).await;
    daemon.send_message("447700900123", "D1", &link.text).await;
    daemon.settle().await;
    let id = listed(&daemon, "").await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/otp/v2/{WAHA}/callbacks/{id}");
    let shown = daemon.get(&path).await;
    let answer = shown.data("last_answer");
    assert_eq!(answer["status"], 500, "{}", shown.text);
    let header = json!({ "name": "x-error-id", "value": "E-4711" });
    assert!(answer["headers"].as_array().unwrap().contains(&header), "{answer}");
    assert_eq!(answer["body"], format!("{{\"error\":\"{}", "y".repeat(2048 - 10)));
    // The last one counts, and another callback's is another.
    world.receiver.fail_with("x-error-id", "E-4712");
    daemon.advance(Duration::from_secs(3)).await;
    let shown = daemon.get(&path).await;
    assert!(shown.data("last_answer")["headers"].to_string().contains("E-4712"), "{}", shown.text);
    // It may repeat what the body said of the person.
    let request = http::Request::delete(format!("{}/api/otp/v2/{WAHA}/subjects/447700900123", daemon.base))
        .header("authorization", format!("Bearer {}", crate::daemon::TOKEN));
    assert_eq!(daemon.send(request.body(Vec::new()).unwrap()).await.status, 200);
    let left = daemon.services.env.store.read_log(&journal(&daemon, &world).await, 10).await.unwrap();
    assert_eq!(left, [], "the answers were erased, too");

    world.receiver.fail(500, 100);
    let link = daemon.create_link(json!({})).await;
    daemon.send_message("447700900155", "D2", &link.text).await;
    daemon.settle().await;
    daemon.advance(Duration::from_hours(23)).await;
    let id = listed(&daemon, "").await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/otp/v2/{WAHA}/callbacks/{id}");
    assert!(daemon.get(&path).await.data("last_answer").is_object());
    world.receiver.fail(0, 0);
    daemon.advance(Duration::from_hours(25)).await;
    assert!(daemon.get(&path).await.data("last_answer").is_null());
    daemon.stop().await;
}

/// Where the answers of the world's receiver are.
async fn journal(daemon: &Daemon, world: &World) -> countersign::store::archive::LogStream {
    world.receiver.fail(500, 1);
    let link = daemon.create_link(json!({})).await;
    daemon.send_message("447700900166", "J", &link.text).await;
    daemon.settle().await;
    let instance = WAHA.parse().unwrap();
    let standing = countersign::store::JobState::Waiting;
    let job = daemon.services.env.store.jobs(instance, standing, 1).await.unwrap().remove(0);
    let journal = countersign::store::archive::LogStream(format!("answers:{}", job.lane));
    let notes = daemon.services.env.store.read_log(&journal, 10).await.unwrap();
    assert_eq!(notes.len(), 1, "only that of this callback");
    for (_, note) in notes {
        let removal = countersign::store::archive::Removal {
            partition: note.partition,
            instance,
            record: None,
            jobs: Vec::new(),
            groups: Vec::new(),
            lanes: Vec::new(),
            log_entries: vec![(journal.clone(), note.bytes)],
        };
        daemon.services.env.store.remove(&removal).await.unwrap();
    }
    journal
}

async fn a_failure_names_its_host_and_its_cause(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let host = world.receiver.url.trim_start_matches("http://");
    let closed = format!("127.0.0.1:{}", crate::redis_server::free_port());
    world.receiver.fail_with("location", "https://elsewhere.example.org/secret?token=1");
    let unknown_host = "unknown-host.invalid";
    for (url, status, error) in [
        (world.receiver.url.clone(), 302, format!("{host}: status 302, a redirect to https://elsewhere.example.org")),
        (world.receiver.url.clone(), 404, format!("{host}: status 404")),
        (format!("https://{host}/"), 200, format!("{host}: tls: the receiver does not speak TLS")),
        (format!("http://{closed}/secret?token=1"), 200, format!("{closed}: connect: connection refused")),
        (format!("https://{unknown_host}/"), 200, format!("{unknown_host}: dns: the name has no address")),
    ] {
        world.receiver.fail(status, 1);
        let path = format!("/api/otp/v2/{WAHA}/callbacks/test");
        let sent = daemon.post(&path, json!({ "url": url })).await;
        daemon.settle().await;
        let shown = daemon.get(&format!("/api/otp/v2/{WAHA}/callbacks/{}", sent.text_of("id"))).await;
        assert_eq!((shown.data("status"), shown.data("last_error")), (&json!("dead"), &json!(error)), "{url}");
    }
    daemon.stop().await;
}

async fn a_test_callback_is_attempted_once_even_if_the_receiver_is_held(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    world.receiver.fail(500, 100);
    for index in 0..12 {
        let link = daemon.create_link(json!({})).await;
        daemon.send_message("447700900123", &format!("B{index}"), &link.text).await;
    }
    daemon.settle().await;
    let before = world.receiver.requests().len();
    let path = format!("/api/otp/v2/{WAHA}/callbacks/test");
    let failed = daemon.post(&path, json!({})).await;
    world.receiver.wait_for(before + 1).await;
    daemon.settle().await;
    let shown = daemon.get(&format!("/api/otp/v2/{WAHA}/callbacks/{}", failed.text_of("id"))).await;
    assert_eq!((shown.data("status"), shown.data("attempts")), (&json!("dead"), &json!(1)), "{}", shown.text);
    assert_eq!(shown.data("last_answer")["status"], 500);
    world.receiver.fail(0, 0);
    let sent = daemon.post(&path, json!({})).await;
    world.receiver.wait_for(before + 2).await;
    daemon.settle().await;
    let shown = daemon.get(&format!("/api/otp/v2/{WAHA}/callbacks/{}", sent.text_of("id"))).await;
    assert_eq!(shown.data("status"), "delivered", "{}", shown.text);
    assert_eq!(world.receiver.requests().len(), before + 2, "the others are still held");
    daemon.stop().await;
}

async fn tests_have_a_limit(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\ntest_callbacks_per_minute = 2".to_owned();
    let daemon = world.start().await;
    let path = format!("/api/otp/v2/{WAHA}/callbacks/test");
    for left in [1, 0] {
        let sent = daemon.post(&path, json!({})).await;
        assert_eq!(sent.status, 200, "{}", sent.text);
        assert_eq!(sent.header("ratelimit-policy"), "\"test_callbacks\";q=2;w=60");
        assert!(sent.header("ratelimit").starts_with(&format!("\"test_callbacks\";r={left};")), "{sent:?}");
    }
    let refused = daemon.post(&path, json!({})).await;
    assert_eq!((refused.status, &refused.json["code"]), (429, &json!("rate_limited")));
    assert!(!refused.header("retry-after").is_empty());
    daemon.advance(Duration::from_secs(31)).await;
    assert_eq!(daemon.post(&path, json!({})).await.status, 200);
    daemon.finish().await;
}
