//! The delivery log: what is on its way, what was taken, what was given up; replay and test.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    app::{CALLBACK_SECRET, Daemon, Ground, META, META_TOKEN, WAHA, World},
    flow::on_both_stores,
};

on_both_stores! {
    each_callback_is_seen_on_its_way_and_at_its_end
    a_delivered_callback_is_replayed_under_its_id
    however_many_there_are_all_are_listed
    a_test_is_a_real_signed_callback
    a_test_goes_only_where_callbacks_may_go
    what_is_asked_wrongly_is_named
}

async fn listed(app: &Daemon, query: &str) -> Vec<Value> {
    let answer = app.get(&format!("/api/otp/v2/{WAHA}/callbacks{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.data("callbacks").as_array().unwrap().clone()
}

async fn each_callback_is_seen_on_its_way_and_at_its_end(ground: Ground) {
    let world = World::new(ground);
    let app = world.start().await;
    assert!(listed(&app, "").await.is_empty());
    world.receiver.fail(500, 1);
    let link = app.link(json!({"callback": {"success": format!("{}/secret-path?key=1", world.receiver.url)}})).await;
    app.says("447700900123", "D1", &link.text).await;
    world.receiver.wait_for(1).await;
    app.worker.idle().await;
    let pending = listed(&app, "?status=pending").await;
    assert_eq!(pending.len(), 1, "{pending:?}");
    let callback = &pending[0];
    assert_eq!((&callback["uuid"], &callback["type"]), (&json!(link.uuid), &json!("link.verified")));
    assert_eq!((&callback["attempts"], &callback["last_error"]), (&json!(1), &json!("status 500")));
    assert_eq!(callback["url"], world.receiver.url, "the path may be a secret");
    assert!(callback["next_attempt_at"].is_string() && callback["ended_at"].is_null());
    app.advance(Duration::from_secs(4)).await;
    assert!(listed(&app, "?status=pending").await.is_empty());
    for query in ["", "?status=delivered", &format!("?uuid={}", link.uuid)] {
        let delivered = listed(&app, query).await;
        assert_eq!((delivered.len(), &delivered[0]["status"]), (1, &json!("delivered")), "{query}");
        assert_eq!(delivered[0]["webhook_id"], callback["webhook_id"]);
        assert_eq!((&delivered[0]["attempts"], &delivered[0]["last_error"]), (&json!(2), &Value::Null));
    }
    let one = app.get(&format!("/api/otp/v2/{WAHA}/callbacks/{}", callback["id"].as_str().unwrap())).await;
    assert_eq!(one.data("body")["data"]["uuid"], link.uuid, "{}", one.text);
    assert!(!one.text.contains("secret-path"), "{}", one.text);
    let foreign = app.get_as(META_TOKEN, &format!("/api/otp/v2/{META}/callbacks")).await;
    assert_eq!(foreign.data("callbacks"), &json!([]));
    app.pass(Duration::from_hours(25)).await;
    assert!(listed(&app, "").await.is_empty(), "remembered for a day");
    app.finish().await;
}

async fn a_delivered_callback_is_replayed_under_its_id(ground: Ground) {
    let world = World::new(ground);
    let app = world.start().await;
    let link = app.link(json!({})).await;
    app.says("447700900123", "R1", &link.text).await;
    world.receiver.wait_for(1).await;
    app.settle().await;
    let id = listed(&app, "").await[0]["id"].as_str().unwrap().to_owned();
    let replayed = app.post(&format!("/api/otp/v2/{WAHA}/callbacks/{id}/replay"), json!({})).await;
    assert_eq!(replayed.status, 200, "{}", replayed.text);
    let arrived = world.receiver.wait_for(2).await;
    assert_eq!(arrived[0].header("webhook-id"), arrived[1].header("webhook-id"));
    assert_eq!(arrived[0].body, arrived[1].body);
    for bad in ["rubbish", "MC5ub25l", "MzIueA"] {
        for (method, path) in [("get", format!("callbacks/{bad}")), ("post", format!("callbacks/{bad}/replay"))] {
            let path = format!("/api/otp/v2/{WAHA}/{path}");
            let answer = if method == "get" { app.get(&path).await } else { app.post(&path, json!({})).await };
            assert_eq!((answer.status, &answer.json["code"]), (404, &json!("not_found")), "{path}");
        }
    }
    app.finish().await;
}

async fn a_test_is_a_real_signed_callback(ground: Ground) {
    let world = World::new(ground);
    let app = world.start().await;
    let path = format!("/api/otp/v2/{WAHA}/callbacks/test");
    let sent = app.post_with(&path, json!({}), &[("idempotency-key", "once")]).await;
    let again = app.post_with(&path, json!({}), &[("idempotency-key", "once")]).await;
    assert_eq!((sent.status, sent.data("type")), (200, &json!("callback.test")), "{}", sent.text);
    assert_eq!(sent.data("id"), again.data("id"));
    let other = json!({"url": format!("{}/other", world.receiver.url)});
    let other = app.post_with(&path, other, &[("idempotency-key", "once")]).await;
    assert_eq!((other.status, &other.json["code"]), (422, &json!("idempotency_key_reused")));
    world.receiver.wait_for(1).await;
    app.settle().await;
    let arrived = world.receiver.arrived();
    assert_eq!(arrived.len(), 1, "the same key sends once");
    let body = arrived[0].json();
    assert_eq!((&body["type"], &body["data"]["test"]), (&json!("callback.test"), &json!(true)));
    assert_eq!(arrived[0].header("webhook-id"), sent.text_of("webhook_id"));
    let mut headers = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, arrived[0].header(name).parse().unwrap());
    }
    standardwebhooks::Webhook::new(CALLBACK_SECRET).unwrap().verify(&arrived[0].body, &headers).unwrap();
    let elsewhere = app.post(&path, json!({"url": format!("{}/elsewhere", world.receiver.url)})).await;
    assert_eq!(elsewhere.status, 200);
    let arrived = world.receiver.wait_for(2).await;
    assert_eq!(arrived[1].path, "/elsewhere");
    app.settle().await;
    assert_eq!(listed(&app, "?status=delivered").await.len(), 2);
    app.finish().await;
}

/// Each callback once, in pages of an instance's own, through the API and the command line.
async fn however_many_there_are_all_are_listed(ground: Ground) {
    all_are_listed(ground, 600).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: tests/run --long"]
async fn ten_thousand_callbacks_are_listed_on_the_embedded_store() {
    all_are_listed(Ground::directory(), 10_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: tests/run --long"]
async fn ten_thousand_callbacks_are_listed_on_redis() {
    all_are_listed(Ground::redis(), 10_000).await;
}

async fn all_are_listed(ground: Ground, count: usize) {
    let mut world = World::new(ground);
    world.extra = "[instance.limits]\nmint_per_second = 1000\nmint_burst = 10000\ninstance_mint_per_second = 1000\n\
                   instance_mint_burst = 10000\nreplies_per_second = 1000\nreplies_burst = 10000\n"
        .to_owned();
    world.receiver.fail(503, u64::MAX);
    let app = std::sync::Arc::new(world.start().await);
    let mut work = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let app = std::sync::Arc::clone(&app);
        work.spawn(async move {
            for number in (worker..count).step_by(8) {
                let link = app.link(json!({})).await;
                let said = app.says(&format!("4477{number:08}"), &format!("L{number}"), &link.text).await;
                assert_eq!(said.status, 200, "{}", said.text);
            }
        });
    }
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
    let list = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["callbacks", "list", "--url", &app.base, "--instance", WAHA])
            .args(arguments)
            .env("COUNTERSIGN_TOKEN", crate::app::TOKEN)
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
    let app = std::sync::Arc::into_inner(app).unwrap();
    app.stop().await;
}

async fn a_test_goes_only_where_callbacks_may_go(ground: Ground) {
    let world = World::new(ground);
    let app = world.start().await;
    let path = format!("/api/otp/v2/{WAHA}/callbacks/test");
    for url in [json!("ftp://x"), json!("http://user:pw@x/"), json!(7), json!("https://x/#f")] {
        let refused = app.post(&path, json!({"url": url})).await;
        assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("url")), "{url}");
    }
    let metadata = app.post(&path, json!({"url": "http://169.254.169.254/latest"})).await;
    assert_eq!(metadata.status, 200, "the address is judged where it is dialled");
    app.settle().await;
    let tried = listed(&app, "?status=pending").await;
    assert_eq!(tried[0]["attempts"], 1);
    assert_eq!(tried[0]["last_error"], "forbidden_target");
    app.stop().await;
}

async fn what_is_asked_wrongly_is_named(ground: Ground) {
    let world = World::new(ground);
    let app = world.start().await;
    for (query, field) in [
        ("status=x", "status"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("uuid=x", "uuid"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
    ] {
        let answer = app.get(&format!("/api/otp/v2/{WAHA}/callbacks?{query}")).await;
        assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!(field)), "{query}");
    }
    let unknown = app.get(&format!("/api/otp/v2/{WAHA}/callbacks?uuid=0192f2a0-0000-7000-8000-000000000000")).await;
    assert_eq!(unknown.status, 404);
    app.finish().await;
}
