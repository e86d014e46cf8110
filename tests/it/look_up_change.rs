//! The look-up key is replaced while people log in: all records can still be found.

use std::time::Duration;

use countersign::{ops::Ops, service::RequestContext};
use serde_json::{Value, json};

use crate::{
    codes::{CHAT, code, request, validate, wrong},
    daemon::{Daemon, TestStore, WAHA, World},
    login_flow::on_both_stores,
    process::{Process, callbacks_by_link},
    rotation::{NEXT, rotate, webhook_status},
    wait::until,
};

on_both_stores! {
    records_are_found_before_during_and_after_a_key_change
    wrong_codes_and_locks_survive_a_key_change
    a_key_change_waits_for_the_previous_one
    a_chat_can_be_erased_during_a_key_change
}

const DAY: Duration = Duration::from_hours(24);

/// As a line of the configuration.
fn number(number: u32) -> String {
    format!("look_up_key_number = {number}\n")
}

async fn keys_of(daemon: &Daemon) -> Value {
    let ops = Ops::new(&daemon.services);
    ops.observe().await.unwrap();
    serde_json::to_value(ops.status(true)).unwrap()["keys"].clone()
}

/// Passes the time that a change takes.
async fn end_change(daemon: &Daemon) {
    let keys = keys_of(daemon).await;
    let until: jiff::Timestamp = keys["previous_until"].as_str().unwrap_or_else(|| panic!("{keys}")).parse().unwrap();
    let left = Duration::try_from(until.duration_since(daemon.services.env.store.now())).unwrap();
    daemon.advance_clock(left - Duration::from_mins(1)).await;
    assert!(keys_of(daemon).await["previous_until"].is_string());
    // What is shown is cut to the second.
    daemon.advance_clock(Duration::from_secs(61)).await;
    assert_eq!(keys_of(daemon).await["previous_until"], Value::Null);
}

async fn uuids(daemon: &Daemon, filter: &str) -> Vec<String> {
    let page = daemon.get(&format!("/api/otp/v2/{WAHA}/requests?{filter}")).await;
    page.data("requests").as_array().unwrap().iter().map(|one| one["uuid"].as_str().unwrap().to_owned()).collect()
}

async fn mint_as(daemon: &Daemon, key: &str) -> String {
    let answer = daemon
        .post_with(
            &format!("/api/otp/v2/{WAHA}/generate-link"),
            json!({"client_ref": "cart"}),
            &[("idempotency-key", key)],
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text_of("uuid")
}

async fn records_are_found_before_during_and_after_a_key_change(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "retention = \"1440h\"\n[instance.limits]\nlinks_per_chat_10m = 2\n".to_owned();
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"chatId": CHAT, "client_ref": "cart"})).await;
    assert_eq!(daemon.send_message("447700900123", "M1", &link.text).await.status, 200);
    let claimed = mint_as(&daemon, "k1").await;
    assert_eq!(keys_of(&daemon).await["look_up"], 1);
    daemon.finish().await;
    let replies = world.gateway.requests().len();

    world.top_level_lines = number(2);
    let daemon = world.start().await;
    assert_eq!(keys_of(&daemon).await["look_up"], 2);
    assert_eq!(daemon.send_message("447700900123", "M1", &link.text).await.status, 200);
    daemon.settle().await;
    assert_eq!(world.gateway.requests().len(), replies, "the message was answered before");
    assert_eq!(mint_as(&daemon, "k1").await, claimed);
    let chat = format!("chat_id={CHAT}");
    assert_eq!(uuids(&daemon, &chat).await, [link.uuid.as_str()]);
    assert_eq!(uuids(&daemon, "client_ref=cart").await, [claimed.as_str(), link.uuid.as_str()]);

    let second = daemon.create_link(json!({"chatId": CHAT, "client_ref": "cart"})).await;
    let refused = daemon.mint(json!({"chatId": CHAT})).await;
    assert_eq!(refused.status, 429, "what was taken before counts: {}", refused.text);
    assert_eq!(daemon.send_message("447700900123", "M2", &second.text).await.status, 200);
    daemon.settle().await;
    assert_eq!(uuids(&daemon, &chat).await, [second.uuid.as_str(), link.uuid.as_str()]);
    assert_eq!(uuids(&daemon, &format!("{chat}&limit=1")).await, [second.uuid.as_str()]);

    daemon.advance_clock(5 * DAY).await;
    let third = daemon.create_link(json!({"chatId": CHAT})).await;
    assert_eq!(daemon.send_message("447700900123", "M3", &third.text).await.status, 200);
    daemon.settle().await;
    end_change(&daemon).await;
    assert_eq!(uuids(&daemon, &chat).await, [third.uuid.as_str()], "what only the old key found is gone by itself");
    let meta = daemon.services.env.store.meta().await.unwrap();
    assert!(meta["look-up.1"].is_empty() && !meta["look-up.2"].is_empty(), "{meta:?}");
    daemon.finish().await;
}

async fn wrong_codes_and_locks_survive_a_key_change(test_store: TestStore) {
    let mut world = World::new(test_store);
    let daemon = world.start().await;
    let miss = async |daemon: &Daemon, typed: &str, count: usize| {
        for _ in 0..count {
            let answer = validate(daemon, CHAT, &wrong(typed)).await;
            assert!(
                ["code_wrong", "attempts_exhausted"].contains(&answer.json["code"].as_str().unwrap()),
                "{answer:?}"
            );
        }
    };
    for _ in 0..2 {
        let typed = code(&daemon, json!({"chatId": CHAT})).await.1;
        miss(&daemon, &typed, 5).await;
    }
    let old = code(&daemon, json!({"chatId": CHAT})).await;
    miss(&daemon, &old.1, 2).await;
    daemon.finish().await;

    world.top_level_lines = number(2);
    let daemon = world.start().await;
    assert_eq!(validate(&daemon, CHAT, &wrong(&old.1)).await.json["attempts_remaining"], 2, "of five");
    let new = code(&daemon, json!({"chatId": CHAT})).await;
    assert_eq!(validate(&daemon, CHAT, &old.1).await.json["code"], "code_wrong", "a new code ends the one before");
    miss(&daemon, &new.1, 1).await;
    let locked = validate(&daemon, CHAT, &new.1).await;
    assert_eq!(locked.status, 429, "fifteen in all: {}", locked.text);
    daemon.finish().await;

    // A replica that does not know of the change yet, and one that has forgotten the old key, agree.
    let daemon = world.start().await;
    assert_eq!(validate(&daemon, CHAT, &new.1).await.status, 429);
    daemon.advance_clock(Duration::from_mins(16)).await;
    let last = code(&daemon, json!({"chatId": CHAT})).await;
    assert_eq!(validate(&daemon, CHAT, &last.1).await.status, 200);
    end_change(&daemon).await;
    let fresh = request(&daemon, json!({"chatId": CHAT})).await;
    assert_eq!(validate(&daemon, CHAT, &fresh.text_of("code")).await.status, 200);
    daemon.finish().await;
}

async fn a_key_change_waits_for_the_previous_one(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.top_level_lines = number(3);
    let daemon = world.start().await;
    let keys = keys_of(&daemon).await;
    assert_eq!((&keys["look_up"], &keys["previous_until"]), (&json!(3), &Value::Null), "the first is no change");
    daemon.services.shared.key_state.request_look_up_key(4);
    assert_eq!(keys_of(&daemon).await["look_up"], 4);
    daemon.services.shared.key_state.request_look_up_key(5);
    let keys = keys_of(&daemon).await;
    assert_eq!((&keys["look_up"], &keys["requested"]), (&json!(4), &json!(5)), "{keys}");
    daemon.advance_clock(30 * DAY).await;
    assert_eq!(keys_of(&daemon).await["look_up"], 4, "wrong tries are kept for thirty days");
    daemon.advance_clock(2 * DAY).await;
    assert_eq!(keys_of(&daemon).await["look_up"], 5);
    daemon.services.shared.key_state.request_look_up_key(1);
    assert_eq!(keys_of(&daemon).await["look_up"], 5, "no key comes back");
    let meta = daemon.services.env.store.meta().await.unwrap();
    assert!(meta["look-up.3"].is_empty() && !meta["look-up.4"].is_empty(), "{meta:?}");
    daemon.finish().await;
}

async fn a_chat_can_be_erased_during_a_key_change(test_store: TestStore) {
    let mut world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    assert_eq!(daemon.send_message("447700900123", "M1", &link.text).await.status, 200);
    daemon.finish().await;
    world.top_level_lines = number(2);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"chatId": CHAT})).await;
    assert_eq!(daemon.send_message("447700900123", "M2", &link.text).await.status, 200);
    daemon.settle().await;
    let instance = daemon.services.env.instances.get(WAHA.parse().unwrap()).unwrap();
    let erased = daemon
        .services
        .support
        .erase(&RequestContext::background(&daemon.services.env.store), &instance, &CHAT.parse().unwrap())
        .await
        .unwrap();
    assert_eq!((erased.requests, erased.messages), (2, 2), "{erased:?}");
    assert!(uuids(&daemon, "limit=10").await.is_empty());
    daemon.finish().await;
}

/// Gives a running replica another number.
fn set_number(process: &Process, wanted: u32) {
    let text = std::fs::read_to_string(process.config.path()).unwrap();
    let rest: String = text
        .lines()
        .filter(|line| !line.starts_with("look_up_key_number"))
        .fold(String::new(), |all, line| all + line + "\n");
    std::fs::write(process.config.path(), number(wanted) + &rest).unwrap();
    process.signal("-HUP");
}

const ENDS: &str = "countersign_look_up_change_ends_timestamp_seconds";

#[tokio::test(flavor = "multi_thread")]
async fn replicas_change_the_key_in_any_order_despite_crashes() {
    let world = World::new(TestStore::redis());
    let (mut one, mut two) = (Process::start(&world).await, Process::start(&world).await);
    let mut minted = Vec::new();
    let mut cross = async |from: &Process, to: &Process| {
        for _ in 0..4 {
            let index = minted.len();
            let link = from.mint(json!({})).await.unwrap();
            let (number, id, text) = (format!("4477009{index:05}"), format!("L{index}"), link.text_of("text"));
            minted.push((link.text_of("uuid"), number.clone(), id.clone(), text.clone()));
            for process in [to, from, to] {
                assert_eq!(webhook_status(process, &number, &id, &text).await, 200, "link {index}");
            }
        }
    };
    cross(&one, &two).await;
    set_number(&two, 2);
    cross(&one, &two).await;
    cross(&two, &one).await;
    two.until_metric(ENDS, |ends| ends > 0.0).await;
    cross(&one, &two).await;
    cross(&two, &one).await;
    two.kill();
    cross(&one, &one).await;
    one.until_metric(ENDS, |ends| ends > 0.0).await;
    two = Process::start(&world).await;
    two.until_metric(ENDS, |ends| ends > 0.0).await;
    cross(&two, &one).await;
    one.kill();
    one = Process::start(&world).await;
    set_number(&one, 2);
    cross(&two, &one).await;
    let all = minted.clone();
    for (_, number, id, text) in &all {
        for process in [&one, &two] {
            assert_eq!(webhook_status(process, number, id, text).await, 200, "every message comes again");
        }
    }
    until("every login has its callback", async || {
        all.iter().all(|(uuid, ..)| callbacks_by_link(&world).contains_key(uuid))
    })
    .await;
    until("every login is answered", async || world.gateway.requests().len() >= all.len()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.gateway.requests().len(), all.len(), "and once");
    one.terminate();
    two.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_the_new_key_rejects_requests_and_names_the_key() {
    let world = World::new(TestStore::redis());
    let (one, two) = (Process::start(&world).await, Process::start(&world).await);
    let link = two.mint(json!({})).await.unwrap();
    // The other replica has never had the key that this one is left with.
    rotate(&one, &[NEXT, crate::daemon::KEY]).await;
    rotate(&one, &[NEXT]).await;
    set_number(&one, 2);
    one.until_metric(ENDS, |ends| ends > 0.0).await;
    two.until_metric("countersign_keys_missing", |keys| keys > 1.5).await;
    until("it is not ready", async || two.operator("/readyz").await.status == 503).await;
    let why = two.operator("/readyz").await.text;
    assert!(why.contains("look-up.2") && why.contains("fingerprint"), "{why}");
    assert_eq!(one.operator("/readyz").await.status, 200);
    assert_eq!(webhook_status(&two, "447700900123", "M1", &link.text_of("text")).await, 503);
    let check = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["check-config", "--running", "--config", one.config.path().to_str().unwrap()])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&check.stdout);
    assert!(
        check.status.code() == Some(1) && printed.contains("key_file lacks the key"),
        "{printed}: the old one made a link"
    );
    rotate(&two, &[NEXT, crate::daemon::KEY]).await;
    two.wait_until_ready().await;
    assert_eq!(webhook_status(&two, "447700900123", "M1", &link.text_of("text")).await, 200);
    assert_eq!(two.metric(ENDS).await.to_bits(), one.metric(ENDS).await.to_bits());
    one.terminate();
    two.terminate();
}
