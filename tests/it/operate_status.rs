//! `status`: the summary for operators.

use std::{process::Command, sync::Mutex};

use serde_json::{Value, json};

use crate::{
    daemon::{TestStore, WAHA, World},
    process::Process,
    wait,
};

fn status(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign")).arg("status").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Asks until it holds: figures of the store are a few seconds old.
async fn until(process: &Process, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let seen = Mutex::new(Value::Null);
    wait::until_or(
        || format!("{what}: {:#}", seen.lock().unwrap()),
        async || {
            let (_, output, error) = status(&["--operator-url", &process.operator, "--json"]);
            let mut seen = seen.lock().unwrap();
            *seen = serde_json::from_str(&output).unwrap_or_else(|_| panic!("{output}{error}"));
            holds(&seen)
        },
    )
    .await;
    seen.into_inner().unwrap()
}

async fn one_screen(test_store: TestStore, stores: &[&str]) {
    let world = World::new(test_store);
    let process = Process::start(&world).await;
    let minted = process.mint(json!({})).await.unwrap();
    world.receiver.fail(503, 1000);
    assert!(process.send_message("447700900123", "S1", &minted.text_of("text")).await);
    assert!(process.send_message("447700900155", "S2", "[ZZZZZZZZZZZZZZ]").await);
    let seen = until(&process, "the callback waits", |json| {
        json["queues"].as_array().unwrap().iter().any(|queue| queue["kind"] == "callback" && queue["depth"] == 1)
            && json["replicas"][0]["ready"] == true
    })
    .await;
    assert_eq!(seen["ready"], true);
    let described = seen["store"]["description"].as_str().unwrap();
    let store = stores.iter().find(|store| described.starts_with(**store)).unwrap_or_else(|| panic!("{seen:#}"));
    let gateway = seen["gateways"].as_array().unwrap().iter().find(|one| one["instance"] == WAHA).unwrap();
    assert!(gateway["last_inbound_age_seconds"].as_f64().unwrap() < 60.0, "{gateway:#}");
    assert_eq!(
        (&gateway["gateway"], &gateway["state"], &gateway["rejects_credentials"]),
        (&json!("waha"), &json!("enabled"), &json!(false))
    );
    let silent = seen["gateways"].as_array().unwrap().iter().find(|one| one["instance"] != WAHA).unwrap();
    assert_eq!(silent["last_inbound_at"], Value::Null);
    let reasons: Vec<&str> =
        seen["failures"].as_array().unwrap().iter().map(|one| one["reason"].as_str().unwrap()).collect();
    let failed = format!("{}: status 503", world.receiver.url.trim_start_matches("http://"));
    assert!(reasons.contains(&failed.as_str()) && reasons.contains(&"code_unknown"), "{reasons:?}");

    // As text, of the same daemon, found by its configuration.
    let (code, screen, error) = status(&["--config", process.config.path().to_str().unwrap()]);
    assert_eq!(code, Some(0), "{error}");
    for expected in ["ready, up since", "Harbour", "waha", "last webhook", "callback   1 wait", &failed, "x1", store] {
        assert!(screen.contains(expected), "{expected} in\n{screen}");
    }
    assert!(!screen.contains("447700900"), "{screen}");

    // Another process reads the time of the last webhook from the store, and sees the first process go.
    if let TestStore::Redis(server) = &world.test_store {
        let other = Process::start(&world).await;
        let seen = until(&other, "both live", |json| {
            json["replicas"].as_array().unwrap().iter().filter(|one| one["alive"] == true).count() == 2
                && json["gateways"].as_array().unwrap().iter().any(|one| one["last_inbound_at"] != Value::Null)
        })
        .await;
        assert_eq!(seen["replicas"].as_array().unwrap().len(), 2);
        process.terminate();
        let seen = until(&other, "one is gone", |json| {
            json["replicas"].as_array().unwrap().iter().filter(|one| one["alive"] == true).count() == 1
        })
        .await;
        let gone = seen["replicas"].as_array().unwrap().iter().find(|one| one["alive"] == false).unwrap();
        assert!(gone["seen_seconds_ago"].as_f64().unwrap() < 30.0, "it announced its end: {gone}");

        server.signal("-KILL");
        until(&other, "the store is missed", |json| json["ready"] == false).await;
        let (code, screen, error) = status(&["--operator-url", &other.operator]);
        assert_eq!(code, Some(1), "{screen}{error}");
        assert!(screen.contains("NOT READY"), "{screen}");
        server.restart();
        other.terminate();
    } else {
        // After a restart the gateway still has its last webhook.
        process.terminate();
        let process = Process::start(&world).await;
        until(&process, "the last webhook before the restart", |json| {
            json["gateways"].as_array().unwrap().iter().any(|one| one["last_inbound_at"] != Value::Null)
        })
        .await;
        process.terminate();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_screen_on_the_embedded_store() {
    one_screen(TestStore::directory(), &["SQLite"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_screen_on_redis() {
    one_screen(TestStore::redis(), &["Redis", "Valkey"]).await;
}

#[test]
fn an_unreachable_daemon_is_a_clear_error() {
    let port = crate::redis_server::free_port();
    let (code, _, error) = status(&["--operator-url", &format!("http://127.0.0.1:{port}")]);
    assert_eq!(code, Some(1));
    assert!(error.contains("is the daemon running there?"), "{error}");
}
