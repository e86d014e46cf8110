//! `explain`: what became of a message, for support requests such as "I sent it, and nothing happened".

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    daemon::{Daemon, META, META_TOKEN, ReceivedResponse, TestStore, WAHA, World, message},
    login_flow::on_both_stores,
    process::Process,
};

on_both_stores! {
    a_message_that_matched_nothing_is_explained
    a_request_is_explained_with_its_callbacks
    last_digits_find_messages_and_requests
    nothing_personal_is_kept_or_shown
    another_tenant_learns_nothing
    a_day_later_only_requests_are_left
    explanations_survive_a_restart
    an_authenticated_message_that_was_ignored_is_not_said_to_be_missing
}

async fn ask(daemon: &Daemon, question: &str) -> ReceivedResponse {
    let answer = daemon.get(&format!("/api/otp/v2/{WAHA}/explain?q={question}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

/// Asks, and checks that the answer contains at least `messages` messages: those answered before are in the log.
async fn ask_after(daemon: &Daemon, question: &str, messages: usize) -> ReceivedResponse {
    let answer = ask(daemon, question).await;
    assert!(answer.data("messages").as_array().unwrap().len() >= messages, "{}", answer.text);
    answer
}

fn sentence(answer: &ReceivedResponse) -> &str {
    answer.data("sentence").as_str().unwrap()
}

async fn a_message_that_matched_nothing_is_explained(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let unheard = ask(&daemon, "NEVER").await;
    assert!(sentence(&unheard).contains("did not reach this instance"), "{}", unheard.text);
    daemon.send_message("447700900123", "M1", "Sign me in [ABCDEFGHJKMNPQ] - DO NOT CHANGE THIS MESSAGE").await;
    daemon.send_message("447700900124", "M2", "hello?").await;
    let old = daemon.clock.wall().as_second() - 6 * 3600;
    daemon.post_waha(&message("447700900125", "M3", "[ABCDEFGHJKMNPQ]", old)).await;
    for (question, outcome, words) in [
        ("M1", "code_unknown", "not known here"),
        ("false_447700900123@c.us_M1", "code_unknown", "not known here"),
        ("M2", "no_code", "held no code"),
        ("M3", "message_too_old", "216"),
        ("447700900124", "no_code", "held no code"),
        ("0125", "message_too_old", "older than any code"),
    ] {
        let answer = ask_after(&daemon, question, 1).await;
        assert_eq!(answer.data("messages")[0]["outcome"], outcome, "{question}: {}", answer.text);
        assert!(sentence(&answer).contains(words), "{question}: {}", answer.text);
        assert_eq!(answer.data("requests"), &json!([]));
    }
    daemon.finish().await;
}

async fn a_request_is_explained_with_its_callbacks(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"chatId": "447700900123"})).await;
    assert!(sentence(&ask(&daemon, &link.uuid).await).contains("No message with its code has arrived"));
    daemon.send_message("447700900199", "W1", &link.text).await;
    let wrong = ask_after(&daemon, "W1", 1).await;
    assert!(sentence(&wrong).contains("a different chat") && sentence(&wrong).contains(&link.uuid), "{}", wrong.text);
    world.receiver.fail(500, 1);
    daemon.send_message("447700900123", "W2", &link.text).await;
    world.receiver.wait_for(1).await;
    daemon.worker.wait_until_idle().await;
    let waiting = ask_after(&daemon, &link.uuid, 2).await;
    assert!(sentence(&waiting).contains("is verified after one wrong try"), "{}", waiting.text);
    assert!(
        sentence(&waiting).contains("link.verified is waiting to be delivered (1 attempt, 127.0.0.1:")
            && sentence(&waiting).ends_with(": status 500)."),
        "{}",
        waiting.text
    );
    daemon.advance(Duration::from_secs(4)).await;
    let done = ask(&daemon, &link.uuid).await;
    assert!(sentence(&done).contains("The app accepted link.verified"), "{}", done.text);
    let request = &done.data("requests")[0];
    assert_eq!((&request["status"], request["timeline"].as_array().unwrap().len()), (&json!("verified"), 3));
    assert_eq!(request["callbacks"][0]["status"], "delivered");
    let unknown = ask(&daemon, "0192f2a0-0000-7000-8000-000000000000").await;
    assert!(sentence(&unknown).contains("No request of this instance has this id"));
    daemon.finish().await;
}

async fn last_digits_find_messages_and_requests(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let asked = daemon.create_link(json!({"chatId": "447700900123"})).await;
    let proved = daemon.create_link(json!({})).await;
    daemon.send_message("447700900123", "N1", &proved.text).await;
    daemon.send_message("447700900177", "N2", "hello").await;
    let answer = ask_after(&daemon, "0123", 1).await;
    let uuids: Vec<&Value> = answer.data("requests").as_array().unwrap().iter().map(|one| &one["uuid"]).collect();
    assert_eq!(uuids.len(), 2, "{}", answer.text);
    assert!(uuids.contains(&&json!(asked.uuid)) && uuids.contains(&&json!(proved.uuid)));
    assert_eq!(answer.data("messages").as_array().unwrap().len(), 1);
    for bad in ["", "%20", &"x".repeat(513), "a&q=b"] {
        let refused = daemon.get(&format!("/api/otp/v2/{WAHA}/explain?q={bad}")).await;
        assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("q")), "{bad}");
    }
    daemon.finish().await;
}

async fn nothing_personal_is_kept_or_shown(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    daemon.send_message("447700900123", "CANARY", &link.text).await;
    let answer = ask_after(&daemon, "0123", 1).await;
    for secret in ["447700900123", "7700900123", "Mara", "CANARY", &link.code] {
        assert!(!answer.text.contains(secret), "{secret} in {}", answer.text);
    }
    assert_eq!(answer.data("messages")[0]["phone_ending"], "0123");
    daemon.finish().await;
}

async fn another_tenant_learns_nothing(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"chatId": "447700900123"})).await;
    daemon.send_message("447700900123", "T1", &link.text).await;
    ask_after(&daemon, "T1", 1).await;
    for question in ["T1", "0123", "447700900123", &link.uuid] {
        let foreign = daemon.get_as(META_TOKEN, &format!("/api/otp/v2/{META}/explain?q={question}")).await;
        assert_eq!((foreign.data("messages"), foreign.data("requests")), (&json!([]), &json!([])), "{question}");
    }
    daemon.finish().await;
}

async fn a_day_later_only_requests_are_left(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    daemon.send_message("447700900123", "D1", &link.text).await;
    ask_after(&daemon, "D1", 1).await;
    daemon.advance(Duration::from_hours(25)).await;
    assert_eq!(ask(&daemon, "D1").await.data("messages"), &json!([]));
    assert_eq!(ask(&daemon, &link.uuid).await.data("requests").as_array().unwrap().len(), 1);
    daemon.finish().await;
}

async fn explanations_survive_a_restart(test_store: TestStore) {
    let world = World::new(test_store);
    let process = Process::start(&world).await;
    for index in 0..20 {
        assert!(process.send_message("447700900123", &format!("R{index}"), "hello?").await);
    }
    process.terminate();
    let daemon = world.start().await;
    ask_after(&daemon, "0123", 20).await;
    daemon.stop().await;
}

/// The newcomer writes from the business phone itself, or in a group; the webhook is answered 200 and nothing happens.
async fn an_authenticated_message_that_was_ignored_is_not_said_to_be_missing(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let text = daemon.create_link(json!({})).await.text;
    let now = daemon.clock.wall().as_second();
    let event = |id: &str, text: &str, changes: Value| {
        let mut event = message("447700900123", id, text, now);
        for (name, value) in changes.as_object().unwrap() {
            event["payload"][name] = value.clone();
        }
        event
    };
    let group = json!({"from": "120363000000000017@g.us", "participant": "447700900123@c.us"});
    let mut unknown = event("I4", &text, json!({}));
    unknown["event"] = json!("message.reaction");
    for (id, webhook, outcome, words) in [
        ("I1", event("I1", &text, json!({"fromMe": true})), "from_me", "sent from this instance's own number"),
        ("I2", event("I2", &text, group.clone()), "group", "written in a group"),
        ("I3", event("I3", &text, json!({"hasMedia": true, "body": null})), "non_text", "was not text"),
    ] {
        assert_eq!(daemon.post_waha(&webhook).await.status, 200, "{id}");
        let answer = ask_after(&daemon, id, 1).await;
        assert_eq!(answer.data("messages")[0]["outcome"], outcome, "{id}: {}", answer.text);
        assert!(sentence(&answer).contains(words), "{id}: {}", answer.text);
    }
    // Of these, only the sentence tells: they hold no code, or are no messages.
    for (id, webhook) in
        [("I4", unknown), ("I5", event("I5", "hello?", json!({"fromMe": true}))), ("I6", event("I6", "hello?", group))]
    {
        assert_eq!(daemon.post_waha(&webhook).await.status, 200, "{id}");
        let answer = ask(&daemon, id).await;
        let kept = answer.data("messages").as_array().unwrap().len();
        assert!(kept == 1 || sentence(&answer).contains("Not kept are receipts"), "{id}: {}", answer.text);
    }
    daemon.finish().await;
}
