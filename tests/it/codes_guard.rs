//! Protection of codes against guessing, and against requests that only cause messaging costs; on both stores.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    codes::{CHAT, code, request, validate, wrong},
    daemon::{Daemon, META, META_TOKEN, ReceivedResponse, TestStore, WAHA, World, message},
    limits::{assert_limited, limit_header, limit_headers},
    login_flow::on_both_stores,
};

on_both_stores! {
    a_hundred_failures_in_a_row_lock_a_chat
    a_verified_link_unlocks_a_chat
    a_code_is_checked_by_its_request
    sms_pumping_runs_into_limits
    repeated_success_replies_are_limited
}

const PHONE: &str = "447700900123";
const NO_OTHER_LIMITS: &str = "code_attempts = 20\n[instance.limits]\nwrong_codes_per_chat_15m = 0\ncodes_per_chat_10m = 0\nlinks_per_chat_10m = 0";

async fn by_uuid(daemon: &Daemon, uuid: &str, code: &str) -> ReceivedResponse {
    daemon.post(&format!("/api/otp/v2/{WAHA}/validate-code"), json!({"uuid": uuid, "code": code})).await
}

/// Five codes, each guessed at until it ends.
async fn fail_hundred_times(daemon: &Daemon) {
    for round in 0..5 {
        let (uuid, code) = code(daemon, json!({"chatId": CHAT})).await;
        for left in (0..20).rev() {
            let answer = if left % 2 == 0 {
                validate(daemon, CHAT, &wrong(&code)).await
            } else {
                by_uuid(daemon, &uuid, &wrong(&code)).await
            };
            if left > 0 {
                assert_eq!(
                    (answer.status, &answer.json["code"]),
                    (422, &json!("code_wrong")),
                    "{round}: {}",
                    answer.text
                );
                assert_eq!(answer.json["attempts_remaining"], json!(left));
            } else {
                assert_eq!(
                    (answer.status, &answer.json["code"]),
                    (409, &json!("attempts_exhausted")),
                    "{}",
                    answer.text
                );
            }
        }
        if round < 4 {
            assert_eq!(validate(daemon, CHAT, &code).await.json["code"], "attempts_exhausted", "it stays so");
            // Longer than any window of wrong codes.
            daemon.advance(Duration::from_secs(3600)).await;
        }
    }
}

fn assert_locked(answer: &ReceivedResponse, at_most: u64) {
    assert_eq!((answer.status, &answer.json["code"]), (429, &json!("code_locked")), "{}", answer.text);
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((at_most - 600..=at_most).contains(&wait), "{wait}");
    assert_eq!((limit_header(answer, "code_failures").quota, limit_header(answer, "code_failures").left), (100, 0));
}

async fn a_hundred_failures_in_a_row_lock_a_chat(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = format!("{NO_OTHER_LIMITS}\nrecords = 8");
    let daemon = world.start().await;
    fail_hundred_times(&daemon).await;
    assert_locked(&validate(&daemon, CHAT, "000000").await, 86_400);
    for _ in 0..5 {
        // What is refused stores no record.
        assert_locked(&request(&daemon, json!({"chatId": CHAT})).await, 86_400);
    }
    assert_eq!(request(&daemon, json!({"chatId": "447700900124"})).await.status, 200, "another chat is free");
    daemon.advance(Duration::from_secs(86_000)).await;
    assert_locked(&request(&daemon, json!({"chatId": CHAT})).await, 900);
    daemon.advance(Duration::from_secs(401)).await;
    let (_, fresh) = code(&daemon, json!({"chatId": CHAT})).await;
    assert_eq!(validate(&daemon, CHAT, &fresh).await.status, 200);
    daemon.finish().await;
}

async fn a_verified_link_unlocks_a_chat(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = NO_OTHER_LIMITS.to_owned();
    let daemon = world.start().await;
    let earlier = daemon.create_link(json!({})).await;
    daemon.send_message(PHONE, "L0", &earlier.text).await;
    let waiting = daemon.create_link(json!({"expires": 3600})).await;
    daemon.advance(Duration::from_secs(1)).await;
    fail_hundred_times(&daemon).await;
    assert_locked(&request(&daemon, json!({"chatId": CHAT})).await, 86_400);
    drop(waiting);
    let theirs = daemon.create_link(json!({"chatId": CHAT})).await;
    assert_locked(&request(&daemon, json!({"chatId": CHAT})).await, 86_400);
    daemon.send_message("447700900124", "L1", &daemon.create_link(json!({})).await.text).await;
    assert_locked(&request(&daemon, json!({"chatId": CHAT})).await, 86_400);
    daemon.send_message(PHONE, "L2", &theirs.text).await;
    assert_eq!(daemon.status(&theirs.uuid).await, "verified");
    let (_, fresh) = code(&daemon, json!({"chatId": CHAT})).await;
    assert_eq!(validate(&daemon, CHAT, &wrong(&fresh)).await.json["attempts_remaining"], 19);
    assert_eq!(validate(&daemon, CHAT, &fresh).await.status, 200);
    daemon.finish().await;
}

async fn a_code_is_checked_by_its_request(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (first, old) = code(&daemon, json!({"chatId": "+447700900123"})).await;
    let (second, new) = code(&daemon, json!({"chatId": CHAT})).await;
    assert_eq!(by_uuid(&daemon, &first, &old).await.json["code"], "code_not_active", "it was replaced");
    let missed = by_uuid(&daemon, &second, &wrong(&new)).await;
    assert_eq!((missed.status, &missed.json["attempts_remaining"]), (422, &json!(4)));
    let right = by_uuid(&daemon, &second, &new).await;
    assert_eq!((right.status, right.text_of("uuid"), right.text_of("chat_id")), (200, second.clone(), CHAT.to_owned()));
    assert_eq!(by_uuid(&daemon, &second, &new).await.json["code"], "code_used");
    let link = daemon.create_link(json!({"chatId": CHAT})).await;
    assert_eq!(by_uuid(&daemon, &link.uuid, &new).await.json["code"], "code_not_active", "a link has none");
    assert_eq!(by_uuid(&daemon, "5f0c2a90-0000-4000-8000-00000000000f", &new).await.status, 404);
    let path = format!("/api/otp/v2/{META}/validate-code");
    let bearer = [("authorization", &*format!("Bearer {META_TOKEN}"))];
    assert_eq!(
        daemon.post_with(&path, json!({"uuid": second, "code": new}), &bearer).await.status,
        404,
        "another tenant's"
    );
    for body in [json!({"uuid": second, "chatId": CHAT, "code": new}), json!({"uuid": "x", "code": new})] {
        let answer = daemon.post(&format!("/api/otp/v2/{WAHA}/validate-code"), body).await;
        assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!("uuid")), "{}", answer.text);
    }
    daemon.finish().await;
}

async fn sms_pumping_runs_into_limits(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "code_countries = [\"+44\", \"+1787\"]\n[instance.limits]\ncodes_per_client_ip_10m = 4\n\
                   codes_per_country_10m = 9\ncodes_per_prefix_10m = 3"
        .to_owned();
    let daemon = world.start().await;
    let ask = async |number: String, ip: &str| request(&daemon, json!({"chatId": number, "client_ip": ip})).await;
    for number in ["2348012345678", "12025550142", "190000000000117@lid"] {
        let refused = ask(number.to_owned(), "203.0.113.9").await;
        assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("chatId")), "{number}");
    }
    assert_eq!(ask("17875550142".to_owned(), "203.0.113.8").await.status, 200);
    for index in 0..4 {
        let sent = ask(format!("4477009{index}0111"), "2001:db8:1:2::1").await;
        let names: Vec<String> = limit_headers(&sent).into_iter().map(|header| header.name).collect();
        assert_eq!(sent.status, 200, "{}", sent.text);
        for name in ["codes_of_address", "codes_of_country", "codes_of_prefix"] {
            assert!(names.contains(&name.to_owned()), "{names:?}");
        }
    }
    assert_limited(&ask("447700940111".to_owned(), "2001:db8:1:2:ffff::1").await, "codes_of_address");
    let mut last = String::new();
    for index in 0..3 {
        let sent = ask(format!("44770095022{index}"), &format!("203.0.113.{index}")).await;
        assert_eq!(sent.status, 200, "{}", sent.text);
        last = sent.text_of("uuid");
    }
    assert_limited(&ask("447700950229".to_owned(), "203.0.113.5").await, "codes_of_prefix");
    daemon.advance(Duration::from_secs(61)).await;
    let again = daemon.post(&format!("/api/otp/v2/{WAHA}/requests/{last}/resend"), Value::Null).await;
    assert_limited(&again, "codes_of_prefix");
    let mut sent = 0;
    while ask(format!("44770096{sent}333"), &format!("203.0.113.{}", 10 + sent)).await.status == 200 {
        sent += 1;
        assert!(sent < 10, "a country has a limit");
    }
    assert_limited(&ask("447700977333".to_owned(), "203.0.113.77").await, "codes_of_country");
    assert_eq!(ask("17875550143".to_owned(), "203.0.113.78").await.status, 200, "another country is free");
    daemon.finish().await;
}

async fn repeated_success_replies_are_limited(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let named = async |id: &str, text: &str, name: &str| {
        let mut body = message(PHONE, id, text, daemon.clock.wall().as_second());
        body["payload"]["_data"]["pushName"] = json!(name);
        assert_eq!(daemon.post_waha(&body).await.status, 200);
    };
    let link = daemon.create_link(json!({})).await;
    let name = format!(" \u{202e}Mara\n\u{2066}{}", "é".repeat(100_000));
    for index in 0..12 {
        named(&format!("S{index}"), &link.text, &name).await;
    }
    daemon.settle().await;
    assert_eq!(world.gateway.requests().len(), 6, "the first, and five that repeat it");
    let push_name = world.receiver.wait_for(1).await[0].json()["data"]["push_name"].as_str().unwrap().to_owned();
    assert_eq!(push_name, format!("Mara{}", "é".repeat(124)));
    let other = daemon.create_link(json!({})).await;
    named("S99", &other.text, "\u{202e}").await;
    daemon.settle().await;
    assert_eq!(world.gateway.requests().len(), 7, "another login is answered");
    let shown = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{}", other.uuid)).await;
    assert_eq!(shown.data("push_name"), &Value::Null);
    daemon.finish().await;
}
