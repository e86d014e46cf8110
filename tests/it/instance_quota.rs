//! The quota of an instance in the store, which keeps one instance from filling it for all others.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    daemon::{Daemon, META, META_TOKEN, ReceivedResponse, TestStore, WAHA, World},
    login_flow::on_both_stores,
    redis_server,
    wait::until,
};

on_both_stores! {
    records_per_instance_are_limited
    pending_jobs_per_instance_are_limited
    requests_that_store_nothing_take_no_share
}

async fn mint_as_other(daemon: &Daemon) -> ReceivedResponse {
    let bearer = format!("Bearer {META_TOKEN}");
    daemon.post_with(&format!("/api/otp/v2/{META}/generate-link"), json!({}), &[("authorization", &bearer)]).await
}

fn assert_full(answer: &ReceivedResponse) {
    assert_eq!((answer.status, &answer.json["code"]), (429, &json!("instance_full")), "{}", answer.text);
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
}

async fn records_per_instance_are_limited(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "retention = \"1h\"\nerase_after = \"1h\"\n[instance.limits]\nrecords = 5\n".to_owned();
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    for _ in 1..5 {
        daemon.create_link(json!({})).await;
    }
    for _ in 0..3 {
        assert_full(&daemon.mint(json!({})).await);
    }
    assert_eq!(mint_as_other(&daemon).await.status, 200, "it has room of its own");
    assert_eq!(daemon.send_message("447700900123", "R1", &link.text).await.status, 200, "what is pending goes on");
    let status = daemon.send(http::Request::get(format!("{}/status", daemon.operator)).body(Vec::new()).unwrap()).await;
    let gateways = status.json["gateways"].as_array().unwrap();
    let harbour = gateways.iter().find(|one| one["name"] == "Harbour").unwrap();
    assert_eq!(harbour["quota_used"], json!(1.0));
    let metrics =
        daemon.send(http::Request::get(format!("{}/metrics", daemon.operator)).body(Vec::new()).unwrap()).await;
    assert!(metrics.text.contains("countersign_limited_total{limit=\"records\"} 3\n"), "{}", metrics.text);
    // Records live for an hour at most and stay for another.
    daemon.advance(Duration::from_secs(2 * 3600 / 5 + 1)).await;
    daemon.create_link(json!({})).await;
    assert_full(&daemon.mint(json!({})).await);
    daemon.finish().await;
}

async fn pending_jobs(daemon: &Daemon, name: &str) -> u64 {
    countersign::ops::Ops::new(&daemon.services).observe().await.unwrap();
    let status = daemon.send(http::Request::get(format!("{}/status", daemon.operator)).body(Vec::new()).unwrap()).await;
    let gateways = status.json["gateways"].as_array().unwrap();
    gateways.iter().find(|one| one["name"] == name).unwrap()["pending_jobs"].as_u64().unwrap()
}

/// Its receiver takes nothing, and people go on to log in.
async fn pending_jobs_per_instance_are_limited(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\npending_jobs = 5\n".to_owned();
    let daemon = world.start().await;
    let links = join_all((0..6).map(|_| daemon.create_link(json!({})))).await;
    world.receiver.fail(503, u64::MAX);
    for (number, link) in links.iter().take(5).enumerate() {
        assert_eq!(
            daemon.send_message(&format!("44770090010{number}"), &format!("J{number}"), &link.text).await.status,
            200
        );
    }
    daemon.settle().await;
    assert_eq!(pending_jobs(&daemon, "Harbour").await, 5);
    assert_full(&daemon.mint(json!({})).await);
    assert_eq!(mint_as_other(&daemon).await.status, 200, "it has none");
    assert_eq!(daemon.send_message("447700900109", "J9", &links[5].text).await.status, 200, "what is pending goes on");
    assert_eq!(world.gateway.wait_for(6).await.len(), 6);

    world.receiver.fail(503, 0);
    daemon.advance(Duration::from_mins(10)).await;
    assert_eq!(pending_jobs(&daemon, "Harbour").await, 0);
    daemon.create_link(json!({})).await;
    let metrics =
        daemon.send(http::Request::get(format!("{}/metrics", daemon.operator)).body(Vec::new()).unwrap()).await;
    assert!(metrics.text.contains("countersign_limited_total{limit=\"pending_jobs\"} 1\n"), "{}", metrics.text);
    daemon.finish().await;
}

/// Repeats of a request, and requests that are refused.
async fn requests_that_store_nothing_take_no_share(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\npending_jobs = 5\nrecords = 8\n".to_owned();
    let daemon = world.start().await;
    let links = join_all((0..5).map(|_| daemon.create_link(json!({})))).await;
    let path = format!("/api/otp/v2/{WAHA}/generate-link");
    let with_key = async |body: Value| daemon.post_with(&path, body, &[("idempotency-key", "k")]).await;
    let first = with_key(json!({})).await;
    assert_eq!(first.status, 200, "{}", first.text);
    for _ in 0..5 {
        assert_eq!(with_key(json!({})).await.text_of("uuid"), first.text_of("uuid"));
        assert_eq!(with_key(json!({"expires": 900})).await.json["code"], "idempotency_key_reused");
    }
    world.receiver.fail(503, u64::MAX);
    for (number, link) in links.iter().enumerate() {
        let number = format!("44770090010{number}");
        assert_eq!(daemon.send_message(&number, &format!("S{number}"), &link.text).await.status, 200);
    }
    daemon.settle().await;
    assert_eq!(pending_jobs(&daemon, "Harbour").await, 5);
    for _ in 0..5 {
        let refused = daemon.mint(json!({})).await;
        assert_full(&refused);
        assert!(refused.headers.contains_key("ratelimit"), "{:?}", refused.headers);
        assert_eq!(with_key(json!({})).await.text_of("uuid"), first.text_of("uuid"), "a repeat is answered");
    }
    world.receiver.fail(503, 0);
    daemon.advance(Duration::from_mins(10)).await;
    assert_eq!(pending_jobs(&daemon, "Harbour").await, 0);
    for _ in 0..2 {
        daemon.create_link(json!({})).await;
    }
    assert_full(&daemon.mint(json!({})).await);
    daemon.finish().await;
}

/// The room that the store has in these tests, in bytes.
const CAPACITY: usize = 48 << 20;

/// Nothing is configured, and Redis has little room, which the daemon knows.
async fn small_redis() -> (Arc<redis_server::RedisServer>, World, Daemon) {
    let server = Arc::new(redis_server::start_with(["--maxmemory", "48mb"].map(str::to_owned).to_vec()));
    let world = World::new(TestStore::Redis(Arc::clone(&server)));
    let daemon = world.start().await;
    let known = async || {
        let metrics =
            daemon.send(http::Request::get(format!("{}/metrics", daemon.operator)).body(Vec::new()).unwrap()).await;
        metrics.text.contains(&format!("countersign_store_limit_bytes {CAPACITY}\n"))
    };
    until("the room is known", known).await;
    (server, world, daemon)
}

/// One mints as fast as it can, until it is refused, and `then` does with each link what people do.
async fn flood(daemon: &Daemon, body: &Value, then: impl AsyncFn(usize, &str)) {
    assert_eq!(daemon.mint(body.clone()).await.status, 200, "{}", daemon.mint(body.clone()).await.text);
    let (mut taken, mut refused) = (0, 0);
    while refused == 0 {
        let (flood, other) = tokio::join!(join_all((0..32).map(|_| daemon.mint(body.clone()))), mint_as_other(daemon));
        assert_eq!(other.status, 200, "{}", other.text);
        for answer in flood {
            if answer.status == 200 {
                taken += 1;
                then(taken, &answer.text_of("text")).await;
            } else {
                assert_full(&answer);
                refused += 1;
            }
        }
        assert!(taken < 10_000, "nothing is refused");
    }
    assert_eq!(daemon.mint(body.clone()).await.status, 429);
    for _ in 0..200 {
        assert_eq!(mint_as_other(daemon).await.status, 200);
    }
}

fn used(server: &redis_server::RedisServer) -> usize {
    let info: ::redis::InfoDict = ::redis::cmd("INFO").arg("memory").query(&mut server.connection()).unwrap();
    info.get("used_memory").unwrap()
}

fn long_text() -> String {
    "x".repeat(3900)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_by_one_instance_leaves_capacity_for_others() {
    let (_server, _world, daemon) = small_redis().await;
    let text = long_text();
    let large = json!({ "message": { "success": format!("{text} <link>"), "failed": text, "expired": text } });
    flood(&daemon, &large, async |_, _| {}).await;
    daemon.finish().await;
}

/// As above, and all of them log in while the receiver takes no callback.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_one_instance_leave_capacity_for_others() {
    let (server, world, daemon) = small_redis().await;
    world.receiver.fail(503, u64::MAX);
    let before = used(&server);
    let large = json!({ "message": { "failed": long_text() }, "metadata": { "cart": "y".repeat(1900) } });
    flood(&daemon, &large, async |number, text| {
        let answer = daemon.send_message(&format!("4477{number:08}"), &format!("F{number}"), text).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    })
    .await;
    let taken = used(&server) - before;
    assert!(taken < CAPACITY / 3, "{taken}: a quarter, and what others and the allocator take");
    assert!(pending_jobs(&daemon, "Harbour").await > 100);
    daemon.stop().await;
}
