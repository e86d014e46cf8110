//! Test numbers: a fixed code for the tests of an app and for the reviewers of app stores, until a day.

use std::time::Duration;

use countersign::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::{
    daemon::{TestStore, WAHA, World},
    fakes::ReceivedRequest,
    login_flow::on_both_stores,
};

on_both_stores! {
    a_test_number_has_a_fixed_code_and_gets_no_message
    after_its_end_a_test_number_is_like_every_other
}

const NUMBER: &str = "+12025550123";

fn in_days(days: i64) -> Timestamp {
    Clock::default().wall() + SignedDuration::from_hours(24 * days)
}

fn world(store: TestStore, until: Timestamp) -> World {
    let mut world = World::new(store);
    world.instance_lines = format!(
        "code_in_response = true\ncode_countries = [\"+44\"]\ncompletions_allowed = [\"prove_phone\"]\n\
         [[instance.test_number]]\nnumber = \"{NUMBER}\"\ncode = \"42a242\"\nuntil = \"{until}\"\n"
    );
    world
}

async fn a_test_number_has_a_fixed_code_and_gets_no_message(store: TestStore) {
    let world = world(store, in_days(30));
    let daemon = world.start().await;
    let operation = |name: &str| format!("/api/otp/v2/{WAHA}/{name}");
    let requested = daemon.post(&operation("request-code"), json!({"chatId": NUMBER, "length": 8})).await;
    assert_eq!((requested.status, requested.data("code")), (200, &json!("42a242")), "{}", requested.text);
    let uuid = requested.text_of("uuid");
    assert_eq!(daemon.post(&operation(&format!("requests/{uuid}/resend")), json!({})).await.status, 429, "too early");
    daemon.advance(Duration::from_secs(61)).await;
    assert_eq!(daemon.post(&operation(&format!("requests/{uuid}/resend")), json!({})).await.status, 200);
    let wrong = daemon.post(&operation("validate-code"), json!({"chatId": NUMBER, "code": "42a243"})).await;
    assert_eq!(wrong.json["code"], "code_wrong", "{}", wrong.text);
    let right = json!({"chatId": "12025550123@c.us", "code": "42A242"});
    let validated = daemon.post(&operation("validate-code"), right.clone()).await;
    assert_eq!((validated.status, validated.data("status")), (200, &json!("validated")), "{}", validated.text);
    assert_eq!(validated.data("test"), true, "{}", validated.text);
    assert_eq!(daemon.post(&operation("validate-code"), right).await.json["code"], "code_used");
    let shown = daemon.get(&operation(&format!("requests/{uuid}"))).await;
    assert_eq!(shown.data("test"), true, "{}", shown.text);
    daemon.settle().await;
    assert!(world.gateway.requests().is_empty(), "nothing is sent to it");
    let callbacks: Vec<_> = world.receiver.requests().iter().map(ReceivedRequest::json).collect();
    let of_code = callbacks.iter().find(|callback| callback["type"] == "code.validated").unwrap();
    assert_eq!(of_code["data"]["test"], true, "{of_code}");

    // Another number of the same block is an ordinary one, and nothing says test.
    let other = daemon.post(&operation("request-code"), json!({"chatId": "+447700900124"})).await;
    let code = other.text_of("code");
    assert_ne!(code, "42a242");
    daemon.post(&operation("validate-code"), json!({"chatId": "+447700900124", "code": code})).await;
    let shown = daemon.get(&operation(&format!("requests/{}", other.text_of("uuid")))).await;
    assert!(shown.json["data"].get("test").is_none(), "{}", shown.text);
    assert_eq!(world.gateway.count(), 1);

    // A login proves a chat; nobody has this one.
    let proof = daemon.mint(json!({"chatId": NUMBER, "completion": "prove_phone"})).await;
    assert_eq!((proof.status, &proof.json["errors"][0]["field"]), (422, &json!("chatId")), "{}", proof.text);
    assert!(proof.text.contains("is a test number"), "{}", proof.text);
    daemon.finish().await;
}

async fn after_its_end_a_test_number_is_like_every_other(store: TestStore) {
    let world = world(store, Clock::default().wall() + Duration::from_mins(5));
    let daemon = world.start().await;
    let operation = |name: &str| format!("/api/otp/v2/{WAHA}/{name}");
    daemon.post(&operation("request-code"), json!({"chatId": NUMBER, "expires": 1800})).await;
    daemon.advance_clock(Duration::from_mins(5)).await;
    let late = daemon.post(&operation("validate-code"), json!({"chatId": NUMBER, "code": "42a242"})).await;
    assert_eq!(late.json["code"], "code_wrong", "also for a code from before: {}", late.text);
    let again = daemon.post(&operation("request-code"), json!({"chatId": NUMBER})).await;
    assert_ne!(again.data("code"), "42a242", "{}", again.text);
    let guessed = daemon.post(&operation("validate-code"), json!({"chatId": NUMBER, "code": "42a242"})).await;
    assert_eq!(guessed.json["code"], "code_wrong", "{}", guessed.text);
    daemon.finish().await;
}

/// What could open the account of a person, or stay open for good, is a fault.
#[tokio::test]
async fn only_numbers_of_fiction_and_only_for_a_while() {
    let check = |number: &str, code: &str, until: &str| {
        let mut world = World::new(TestStore::directory());
        world.instance_lines =
            format!("[[instance.test_number]]\nnumber = \"{number}\"\ncode = \"{code}\"\nuntil = \"{until}\"\n");
        let loaded = countersign::config::load_text(&world.config("127.0.0.1:1", "127.0.0.1:2"), [], &[]);
        loaded.into_result().err().map(|faults| faults.to_string()).unwrap_or_default()
    };
    let soon = in_days(89).to_string();
    for number in [NUMBER, "+447700900123", "+4917139200 42", "+33 6 39 98 12 34", "+61 491 570 156"] {
        assert_eq!(check(number, "424242", &soon), "", "{number}");
    }
    assert_eq!(check(NUMBER, "424242", &in_days(-400).to_string()), "", "an end in the past is no reason not to start");
    for (number, code, until, expected) in [
        ("+12025550242", "424242", &*soon, "test_number.0.number: may belong to a person"),
        ("+447911123456", "424242", &soon, "test_number.0.number: may belong to a person"),
        ("+12", "424242", &soon, "test_number.0.number: "),
        (NUMBER, "123", &soon, "test_number.0.code: expected 4 to 10 letters or digits"),
        (NUMBER, "1234 5", &soon, "test_number.0.code: expected 4 to 10 letters or digits"),
        (NUMBER, "424242", &in_days(91).to_string(), "test_number.0.until: is more than 90 days ahead"),
        (NUMBER, "424242", "soon", "test_number.0.until: expected a day"),
        (NUMBER, "424242", "", "test_number.0.until: is missing"),
    ] {
        let faults = check(number, code, until);
        assert!(faults.contains(expected), "{number} {code} {until}: {faults:?}");
    }
}
