//! A repeated request gets the same response as the first one, but only from the client that made it.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::hash::sha256;
use serde_json::{Value, json};

use crate::{
    codes::{CHAT, code, events, wrong},
    daemon::{Daemon, ReceivedResponse, TestStore, WAHA, World},
    login_flow::{form_field, link_in, on_both_stores, tap},
};

on_both_stores! {
    a_repeated_redeem_with_the_same_verifier_gets_the_same_answer
    a_repeated_redeem_with_the_same_key_gets_the_same_answer
    a_repeated_validation_with_the_same_key_gets_the_same_answer
    a_wrong_code_is_counted_once_per_key
    a_repeated_wrong_code_gets_the_same_answer
}

const PHONE: &str = "447700900123";

/// The token of a redirect.
async fn token(world: &World, daemon: &Daemon, message: &str, body: Value) -> String {
    let link = daemon.create_link(body).await;
    assert_eq!(daemon.send_message(PHONE, message, &link.text).await.status, 200);
    let path = link_in(world.gateway.wait_for(1).await[0].json()["text"].as_str().unwrap());
    let tapped = tap(daemon, &path, &form_field(&daemon.get(&path).await.text)).await;
    let location = url::Url::parse(tapped.header("location")).unwrap();
    location.query_pairs().find(|(name, _)| name == "token").unwrap().1.into_owned()
}

async fn redeem(daemon: &Daemon, body: Value, key: Option<&str>) -> ReceivedResponse {
    let headers: Vec<(&str, &str)> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
    daemon.post_with(&format!("/api/otp/v2/{WAHA}/redeem"), body, &headers).await
}

async fn a_repeated_redeem_with_the_same_verifier_gets_the_same_answer(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let challenge = URL_SAFE_NO_PAD.encode(sha256(b"mine"));
    let token = token(&world, &daemon, "R1", json!({"challenge": challenge})).await;
    let mine = || redeem(&daemon, json!({"token": token, "verifier": "mine"}), None);
    let first = mine().await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(mine().await.json, first.json, "an answer that was lost");
    for (key, copied) in [("k1", json!({"token": token})), ("k2", json!({"token": token, "verifier": "yours"}))] {
        assert_eq!(redeem(&daemon, copied.clone(), None).await.status, 410);
        assert_eq!(redeem(&daemon, copied, Some(key)).await.status, 410);
    }
    daemon.settle().await;
    daemon.advance(Duration::from_secs(61)).await;
    assert_eq!(mine().await.status, 410, "the token has ended");
    daemon.settle().await;
    let redeemed_callbacks =
        world.receiver.requests().iter().filter(|one| one.json()["type"] == "link.redeemed").count();
    assert_eq!(redeemed_callbacks, 1);
    daemon.finish().await;
}

async fn a_repeated_redeem_with_the_same_key_gets_the_same_answer(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let token = token(&world, &daemon, "R2", json!({})).await;
    let body = || json!({"token": token});
    let first = redeem(&daemon, body(), Some("k1")).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(redeem(&daemon, body(), Some("k1")).await.json, first.json);
    assert_eq!(redeem(&daemon, body(), Some("k2")).await.status, 410);
    assert_eq!(redeem(&daemon, body(), None).await.status, 410);
    let other = redeem(&daemon, json!({"token": token, "verifier": "v"}), Some("k1")).await;
    assert_eq!(other.json["code"], "idempotency_key_reused");
    daemon.finish().await;
}

async fn validate(daemon: &Daemon, typed: &str, key: &str) -> ReceivedResponse {
    let body = json!({"chatId": CHAT, "code": typed});
    daemon.post_with(&format!("/api/otp/v2/{WAHA}/validate-code"), body, &[("idempotency-key", key)]).await
}

async fn a_repeated_validation_with_the_same_key_gets_the_same_answer(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (_, right) = code(&daemon, json!({"chatId": CHAT})).await;
    let first = validate(&daemon, &right, "k1").await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(validate(&daemon, &right, "k1").await.json, first.json);
    assert_eq!(validate(&daemon, &right, "k2").await.json["code"], "code_used");
    assert_eq!(validate(&daemon, &wrong(&right), "k1").await.json["code"], "idempotency_key_reused");
    daemon.settle().await;
    assert_eq!(events(&world).iter().filter(|event| *event == "code.validated").count(), 1);
    daemon.finish().await;
}

async fn a_wrong_code_is_counted_once_per_key(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\nwrong_codes_per_chat_15m = 5".to_owned();
    let daemon = world.start().await;
    let (uuid, right) = code(&daemon, json!({"chatId": CHAT})).await;
    let guess = wrong(&right);
    for key in ["k1", "k1", "k1", "k2", "k3", "k4", "k1", "k5", "k5"] {
        let code = if key == "k5" { "attempts_exhausted" } else { "code_wrong" };
        assert_eq!(validate(&daemon, &guess, key).await.json["code"], code, "{key}");
    }
    assert_eq!(validate(&daemon, &guess, "k6").await.status, 429, "five were wrong, and the chat is locked");
    assert_eq!(validate(&daemon, &guess, "k4").await.json["attempts_remaining"], 1, "as it was then");
    assert_eq!(validate(&daemon, &guess, "k5").await.json["code"], "attempts_exhausted", "the one that locked it");
    let record = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{uuid}")).await;
    assert_eq!((record.data("status"), record.data("attempts")), (&json!("failed"), &json!(5)), "{}", record.text);
    daemon.finish().await;
}

/// Also beside attempts without a key, and after the code has ended.
async fn a_repeated_wrong_code_gets_the_same_answer(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (_, right) = code(&daemon, json!({"chatId": CHAT})).await;
    let guess = wrong(&right);
    let mut first = Vec::new();
    for key in ["", "k1", "k2", "", "k3"] {
        if key.is_empty() {
            let body = json!({"chatId": CHAT, "code": guess});
            daemon.post(&format!("/api/otp/v2/{WAHA}/validate-code"), body).await;
        } else {
            first.push((key, validate(&daemon, &guess, key).await));
        }
    }
    let remaining: Vec<_> = first.iter().map(|(_, answer)| answer.json["attempts_remaining"].as_u64()).collect();
    assert_eq!(remaining, [Some(3), Some(2), None]);
    for (key, answer) in first {
        assert_eq!(validate(&daemon, &guess, key).await.json, answer.json, "{key}");
    }
    daemon.finish().await;
}
