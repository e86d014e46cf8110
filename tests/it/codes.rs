//! One-time codes through the API, on both stores: requested, sent, validated, sent again, replaced.

use std::time::Duration;

use http::Request;
use serde_json::{Value, json};

use crate::{
    daemon::{Daemon, META, META_TOKEN, ReceivedResponse, TOKEN, TestStore, WAHA, World},
    login_flow::on_both_stores,
};

on_both_stores! {
    a_code_is_sent_typed_and_used_once
    wrong_used_expired_and_exhausted_codes_have_different_problems
    wrong_codes_end_a_code_and_then_lock_the_chat
    a_new_code_replaces_the_old_one
    the_same_code_is_sent_again
    a_repeated_idempotency_key_returns_the_same_code
    a_code_expires_on_time
    codes_are_listed_shown_and_canceled
    a_code_has_no_completion
}

pub(crate) const CHAT: &str = "447700900123@c.us";

pub(crate) async fn request(daemon: &Daemon, body: Value) -> ReceivedResponse {
    daemon.post(&format!("/api/otp/v2/{WAHA}/request-code"), body).await
}

/// Requests a code, and repeats the request until it succeeds.
pub(crate) async fn code(daemon: &Daemon, body: Value) -> (String, String) {
    let answer = request(daemon, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    (answer.text_of("uuid"), answer.text_of("code"))
}

pub(crate) async fn validate(daemon: &Daemon, chat: &str, code: &str) -> ReceivedResponse {
    daemon.post(&format!("/api/otp/v2/{WAHA}/validate-code"), json!({"chatId": chat, "code": code})).await
}

/// Of the same shape, and wrong.
pub(crate) fn wrong(code: &str) -> String {
    code.chars().map(|digit| if digit == '9' { '0' } else { char::from(digit as u8 + 1) }).collect()
}

pub(crate) fn events(world: &World) -> Vec<String> {
    let arrived = world.receiver.requests();
    arrived.iter().map(|callback| callback.json()["type"].as_str().unwrap().to_owned()).collect()
}

async fn a_code_is_sent_typed_and_used_once(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let body = json!({
        "chatId": CHAT, "length": 6, "useLetter": false, "useNumber": true, "allCapital": false, "name": "Harbour",
        "expires": 600, "client_ref": "cart 7", "metadata": {"a": [1]},
    });
    let answer = request(&daemon, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json["success"], true);
    assert_eq!(answer.json["message"], "OTP code generated and message queued successfully");
    assert_eq!(answer.header("cache-control"), "no-store");
    let (uuid, code) = (answer.text_of("uuid"), answer.text_of("code"));
    assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
    assert_eq!(answer.data("chat_id"), CHAT);
    assert_eq!(answer.data("status"), "pending");
    assert_eq!(answer.data("otp_type"), "code");
    for time in ["expires_at", "created_at"] {
        assert!(answer.text_of(time).ends_with("+00:00"));
    }

    let message = &world.gateway.wait_for(1).await[0];
    assert_eq!(message.path, "/api/sendText");
    assert_eq!(message.json()["chatId"], CHAT);
    let expected = format!("{code} is your Harbour verification code. Do not share it with anyone.");
    assert_eq!(message.json()["text"], expected);
    daemon.settle().await;
    assert_eq!(daemon.status(&uuid).await, "sent");

    let valid = validate(&daemon, "+447700900123", &code).await;
    assert_eq!(valid.status, 200, "{}", valid.text);
    assert_eq!(valid.json["message"], "OTP code validated successfully");
    let mut members: Vec<&String> = valid.json["data"].as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["chat_id", "status", "uuid", "validated_at"]);
    assert_eq!((valid.text_of("uuid"), valid.data("status")), (uuid.clone(), &json!("validated")));
    assert!(valid.text_of("validated_at").ends_with("+00:00"));
    let again = validate(&daemon, CHAT, &code).await;
    assert_eq!((again.status, &again.json["code"]), (409, &json!("code_used")), "one use");

    let callbacks = world.receiver.wait_for(2).await;
    assert_eq!(events(&world), ["code.sent", "code.validated"]);
    for callback in &callbacks {
        let data = &callback.json()["data"];
        assert_eq!((&data["uuid"], &data["otp_type"], &data["chat_id"]), (&json!(uuid), &json!("code"), &json!(CHAT)));
        assert_eq!((&data["client_ref"], &data["metadata"]), (&json!("cart 7"), &json!({"a": [1]})));
        assert_eq!((&data["send"], &data["channel"]), (&json!(1), &json!("whatsapp")));
        assert!(!String::from_utf8_lossy(&callback.body).contains(&code), "a callback never holds the code");
    }
    daemon.finish().await;
}

async fn wrong_used_expired_and_exhausted_codes_have_different_problems(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let expect = async |chat: &str, code: &str, status: u16, word: &str| {
        let answer = validate(&daemon, chat, code).await;
        assert_eq!((answer.status, &answer.json["code"]), (status, &json!(word)), "{}", answer.text);
        assert_eq!(answer.json["success"], false);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(!answer.json["message"].as_str().unwrap().is_empty());
    };
    expect(CHAT, "123456", 409, "code_not_active").await;
    let (uuid, right) = code(&daemon, json!({"chatId": CHAT})).await;
    expect(CHAT, &wrong(&right), 422, "code_wrong").await;
    expect("447700900124", &right, 409, "code_not_active").await;
    assert_eq!(validate(&daemon, CHAT, &right).await.status, 200);
    expect(CHAT, &right, 409, "code_used").await;
    expect(CHAT, &wrong(&right), 409, "code_used").await;
    let (second, right) = code(&daemon, json!({"chatId": CHAT, "expires": 60})).await;
    daemon.advance(Duration::from_secs(61)).await;
    expect(CHAT, &right, 410, "code_expired").await;
    assert_eq!((daemon.status(&uuid).await, daemon.status(&second).await), ("validated".into(), "expired".into()));
    let (third, right) = code(&daemon, json!({"chatId": CHAT})).await;
    daemon.post(&format!("/api/otp/v2/{WAHA}/requests/{third}/cancel"), json!({})).await;
    expect(CHAT, &right, 409, "code_not_active").await;
    daemon.finish().await;
}

async fn wrong_codes_end_a_code_and_then_lock_the_chat(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    for round in 0..3 {
        let (uuid, right) = code(&daemon, json!({"chatId": CHAT})).await;
        for attempt in 0..5 {
            let answer = validate(&daemon, CHAT, &wrong(&right)).await;
            let expected = if attempt < 4 { "code_wrong" } else { "attempts_exhausted" };
            assert_eq!(answer.json["code"], expected, "{round} {attempt}");
        }
        assert_eq!(daemon.status(&uuid).await, "failed");
        let shown = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{uuid}")).await;
        assert_eq!(shown.data("reason"), "attempts_exhausted");
        if round < 2 {
            assert_eq!(validate(&daemon, CHAT, &right).await.json["code"], "attempts_exhausted");
        }
        daemon.advance_clock(Duration::from_secs(60)).await;
    }
    let (_, right) = code(&daemon, json!({"chatId": CHAT})).await;
    let locked = validate(&daemon, CHAT, &right).await;
    assert_eq!((locked.status, &locked.json["code"]), (429, &json!("rate_limited")), "a new code resets nothing");
    let wait: u64 = locked.header("retry-after").parse().unwrap();
    assert!((660..=720).contains(&wait), "the rest of the window: {wait}");
    let (_, other) = code(&daemon, json!({"chatId": "447700900124"})).await;
    assert_eq!(validate(&daemon, "447700900124", &other).await.status, 200, "other chats are not touched");
    daemon.advance(Duration::from_secs(wait)).await;
    assert_eq!(validate(&daemon, CHAT, &right).await.status, 200);
    daemon.settle().await;
    let failed = events(&world).iter().filter(|event| *event == "code.failed").count();
    assert_eq!(failed, 3, "each code fails once");
    daemon.finish().await;
}

async fn a_new_code_replaces_the_old_one(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (first, old) = code(&daemon, json!({"chatId": CHAT, "length": 10})).await;
    let (second, new) = code(&daemon, json!({"chatId": "+447700900123", "length": 10})).await;
    assert_eq!(daemon.status(&first).await, "canceled", "in the commit of the new one");
    assert_eq!(validate(&daemon, CHAT, &old).await.json["code"], "code_wrong");
    assert_eq!(validate(&daemon, CHAT, &new).await.text_of("uuid"), second);
    daemon.settle().await;
    assert_eq!(events(&world).iter().filter(|event| *event == "code.canceled").count(), 1);
    // The same chat of another instance is another chat.
    let answer = daemon
        .post_with(
            &format!("/api/otp/v2/{META}/request-code"),
            json!({"chatId": CHAT}),
            &[("authorization", &format!("Bearer {META_TOKEN}"))],
        )
        .await;
    let foreign = answer.text_of("code");
    assert_eq!(validate(&daemon, CHAT, &foreign).await.json["code"], "code_used");
    daemon.finish().await;
}

async fn the_same_code_is_sent_again(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (uuid, code) = code(&daemon, json!({"chatId": CHAT})).await;
    world.gateway.wait_for(1).await;
    daemon.settle().await;
    let resend = format!("/api/otp/v2/{WAHA}/requests/{uuid}/resend");
    let early = daemon.post(&resend, json!({})).await;
    assert_eq!((early.status, &early.json["code"]), (429, &json!("rate_limited")));
    let wait: u64 = early.header("retry-after").parse().unwrap();
    assert!((30..=60).contains(&wait), "{wait}");
    daemon.advance_clock(Duration::from_secs(wait)).await;
    let again = daemon.post(&resend, json!({})).await;
    assert_eq!(again.status, 200, "{}", again.text);
    assert_eq!((again.text_of("uuid"), again.text_of("code")), (uuid.clone(), code.clone()));
    let messages = world.gateway.wait_for(2).await;
    assert_eq!(messages[0].json()["text"], messages[1].json()["text"]);
    daemon.settle().await;
    let callbacks = world.receiver.wait_for(2).await;
    assert_eq!(events(&world), ["code.sent", "code.sent"]);
    assert_ne!(callbacks[0].header("webhook-id"), callbacks[1].header("webhook-id"));
    assert_eq!(callbacks[1].json()["data"]["send"], 2);
    assert_eq!(daemon.post(&resend, json!({})).await.status, 429, "each send cools down");
    assert_eq!(validate(&daemon, CHAT, &code).await.status, 200);
    daemon.advance_clock(Duration::from_secs(60)).await;
    assert_eq!(daemon.post(&resend, json!({})).await.json["code"], "code_used");
    let link = daemon.create_link(json!({})).await;
    let nothing = daemon.post(&format!("/api/otp/v2/{WAHA}/requests/{}/resend", link.uuid), json!({})).await;
    assert_eq!((nothing.status, &nothing.json["code"]), (409, &json!("nothing_to_send")));
    daemon.finish().await;
}

async fn a_repeated_idempotency_key_returns_the_same_code(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let path = format!("/api/otp/v2/{WAHA}/request-code");
    let key = [("idempotency-key", "order-7")];
    let body = json!({"chatId": CHAT, "length": 10});
    let answers = futures_util::future::join_all((0..20).map(|_| daemon.post_with(&path, body.clone(), &key))).await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.text_of("uuid"), answers[0].text_of("uuid"));
        assert_eq!(answer.text_of("code"), answers[0].text_of("code"));
    }
    daemon.settle().await;
    assert_eq!(world.gateway.requests().len(), 1, "one message");
    let other = daemon.post_with(&path, json!({"chatId": CHAT, "length": 9}), &key).await;
    assert_eq!(other.json["code"], "idempotency_key_reused");
    let link = daemon.post_with(&format!("/api/otp/v2/{WAHA}/generate-link"), body, &key).await;
    assert_eq!(link.json["code"], "idempotency_key_reused", "a link is another request");
    daemon.finish().await;
}

async fn a_code_expires_on_time(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (uuid, _) = code(&daemon, json!({"chatId": CHAT, "expires": 60})).await;
    daemon.settle().await;
    daemon.advance(Duration::from_secs(61)).await;
    assert_eq!(events(&world), ["code.sent", "code.expired"]);
    let shown = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{uuid}")).await;
    let timeline = shown.data("timeline").as_array().unwrap().clone();
    let events: Vec<&str> = timeline.iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["created", "sent by whatsapp", "expired"]);
    daemon.finish().await;
}

async fn codes_are_listed_shown_and_canceled(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"chatId": CHAT})).await;
    let (first, _) = code(&daemon, json!({"chatId": CHAT, "client_ref": "one"})).await;
    let (second, right) = code(&daemon, json!({"chatId": CHAT})).await;
    daemon.settle().await;
    assert_eq!(validate(&daemon, CHAT, &right).await.status, 200);
    let list = async |query: &str| -> Vec<String> {
        let answer = daemon.get(&format!("/api/otp/v2/{WAHA}/requests?{query}")).await;
        let listed = answer.data("requests").as_array().unwrap_or_else(|| panic!("{}", answer.text));
        listed.iter().map(|record| record["uuid"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(list("").await, [&*second, &first, &link.uuid]);
    assert_eq!(list("otp_type=code").await, [&*second, &first]);
    assert_eq!(list("otp_type=link").await, [&*link.uuid]);
    assert_eq!(list("otp_type=code&status=validated").await, [&*second]);
    assert_eq!(list("status=canceled").await, [&*first]);
    assert_eq!(list("status=sent").await, [""; 0]);
    assert_eq!(list(&format!("chat_id={CHAT}&otp_type=code")).await, [&*second, &first]);
    assert_eq!(list("client_ref=one").await, [&*first]);

    let (third, _) = code(&daemon, json!({"chatId": CHAT})).await;
    daemon.settle().await;
    let canceled = daemon.post(&format!("/api/otp/v2/{WAHA}/requests/{third}/cancel"), json!({})).await;
    assert_eq!((canceled.data("status"), canceled.data("otp_type")), (&json!("canceled"), &json!("code")));
    assert_eq!(canceled.data("whatsapp_link"), &Value::Null);
    daemon.settle().await;
    let arrived = world.receiver.requests();
    let mine = arrived.iter().filter(|callback| callback.json()["data"]["uuid"] == third.as_str());
    let event_types: Vec<String> = mine.map(|callback| callback.json()["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(event_types, ["code.sent", "code.canceled"]);
    let foreign = daemon.get_as(META_TOKEN, &format!("/api/otp/v2/{META}/requests/{third}")).await;
    assert_eq!(foreign.status, 404);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_faulty_field_is_named() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let faults = async |path: &str, body: Value| -> Vec<String> {
        let answer = daemon.post(&format!("/api/otp/v2/{WAHA}/{path}"), body).await;
        assert_eq!((answer.status, &answer.json["code"]), (422, &json!("invalid_request")), "{}", answer.text);
        let errors = answer.json["errors"].as_array().unwrap();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    };
    for (body, fields) in [
        (json!({}), vec!["chatId"]),
        (json!({"chatId": "120363000000000017@g.us"}), vec!["chatId"]),
        (json!({"chatId": CHAT, "length": 3, "expires": 59}), vec!["length", "expires"]),
        (json!({"chatId": CHAT, "length": 11, "expires": 1801}), vec!["length", "expires"]),
        (json!({"chatId": CHAT, "useNumber": false}), vec!["useNumber"]),
        (json!({"chatId": 7, "useLetter": "perhaps", "name": "www.evil.example"}), vec!["chatId", "useLetter", "name"]),
        (json!({"chatId": ["a"], "metadata": "x".repeat(3000)}), vec!["chatId", "metadata"]),
    ] {
        assert_eq!(faults("request-code", body.clone()).await, fields, "{body}");
    }
    for (body, fields) in [
        (json!({}), vec!["chatId", "code"]),
        (json!({"chatId": CHAT}), vec!["code"]),
        (json!({"chatId": CHAT, "code": {}}), vec!["code"]),
        (json!({"chatId": CHAT, "code": "1".repeat(201)}), vec!["code"]),
    ] {
        assert_eq!(faults("validate-code", body.clone()).await, fields, "{body}");
    }
    let (shapes, daemon) = (
        [
            (json!({"length": 4}), "0123456789", 4),
            (json!({"length": "10", "useLetter": true}), "0123456789abcdefghijklmnopqrstuvwxyz", 10),
            (json!({"useLetter": true, "useNumber": false, "allCapital": true}), "ABCDEFGHIJKLMNOPQRSTUVWXYZ", 6),
            (json!({"useLetter": 1, "allCapital": "true"}), "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", 6),
        ],
        daemon,
    );
    for (mut body, alphabet, length) in shapes {
        body["chatId"] = json!(CHAT);
        let (_, code) = code(&daemon, body).await;
        assert!(code.len() == length && code.chars().all(|c| alphabet.contains(c)), "{code}");
        assert_eq!(validate(&daemon, CHAT, &code.to_lowercase()).await.status, 200, "any case");
    }
    let warned = request(&daemon, json!({"chatId": CHAT, "lenght": 5, "lang": "tlh"})).await;
    let warnings = warned.data("warnings").to_string();
    assert!(warnings.contains("did you mean length?") && warnings.contains("unknown_language"), "{warnings}");
    daemon.finish().await;
}

async fn a_code_has_no_completion(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let answer = request(&daemon, json!({"chatId": CHAT})).await;
    let uuid = answer.text_of("uuid");
    let path = format!("/api/otp/v2/{WAHA}/requests/{uuid}/events?wait=0");
    let state = daemon.get_as(&answer.text_of("poll_token"), &path).await;
    let names: Vec<&String> = state.json["data"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["expires_at", "status", "uuid"], "{}", state.text);
    let explained = daemon.get(&format!("/api/otp/v2/{WAHA}/explain?q={uuid}")).await;
    assert_eq!(explained.data("requests")[0]["otp_type"], "code");
    assert_eq!(explained.data("requests")[0].get("completion"), None, "{}", explained.text);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_can_be_hidden_from_the_caller() {
    let mut world = World::new(TestStore::directory());
    world.instance_lines = "code_in_response = false".to_owned();
    let daemon = world.start().await;
    let answer = request(&daemon, json!({"chatId": CHAT})).await;
    assert_eq!((answer.status, answer.data("code")), (200, &Value::Null));
    let uuid = answer.text_of("uuid");
    let message = world.gateway.wait_for(1).await[0].json()["text"].as_str().unwrap().to_owned();
    let code = &message[..6];
    assert!(code.bytes().all(|byte| byte.is_ascii_digit()));
    for path in [format!("/requests/{uuid}"), "/requests".to_owned()] {
        let shown = daemon.get(&format!("/api/otp/v2/{WAHA}{path}")).await;
        assert!(!shown.text.contains(code), "{}", shown.text);
    }
    assert_eq!(validate(&daemon, CHAT, code).await.status, 200);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_per_chat_are_limited() {
    let mut world = World::new(TestStore::directory());
    world.instance_lines = "[instance.limits]\ncodes_per_chat_10m = 2".to_owned();
    let daemon = world.start().await;
    for _ in 0..2 {
        assert_eq!(request(&daemon, json!({"chatId": CHAT})).await.status, 200);
        // A code that is replaced before it was sent is not sent any more.
        daemon.settle().await;
    }
    for spelling in [CHAT, "447700900123", "+447700900123", "447700900123@s.whatsapp.net"] {
        let answer = request(&daemon, json!({"chatId": spelling})).await;
        assert_eq!(answer.status, 429);
        assert!(answer.header("retry-after").parse::<u64>().unwrap() <= 300);
    }
    assert_eq!(request(&daemon, json!({"chatId": "447700900124"})).await.status, 200);
    daemon.settle().await;
    assert_eq!(world.gateway.requests().len(), 3);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_methods_are_checked() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    for path in ["request-code", "validate-code"] {
        let url = format!("/api/otp/v2/{WAHA}/{path}");
        let body = json!({"chatId": CHAT, "code": "123456"});
        let forged = daemon.post_with(&url, body.clone(), &[("authorization", "Bearer nothing")]).await;
        assert_eq!((forged.status, &forged.json["code"]), (401, &json!("unauthenticated")));
        let foreign = daemon.post_with(&url, body, &[("authorization", &format!("Bearer {META_TOKEN}"))]).await;
        assert_eq!(foreign.status, 404);
        assert_eq!(daemon.get(&url).await.status, 405);
        let request = Request::post(format!("{}{url}", daemon.base))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "text/plain");
        assert_eq!(daemon.send(request.body(b"{}".to_vec()).unwrap()).await.status, 415);
    }
    assert!(world.gateway.requests().is_empty());
    daemon.finish().await;
}
