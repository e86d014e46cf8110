//! Concurrent requests, on both stores: one success, every wrong try counted, one active code.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::{
    codes::{CHAT, code, events, request, validate, wrong},
    daemon::{Daemon, ReceivedResponse, TestStore, WAHA, World},
    login_flow::on_both_stores,
};

on_both_stores! {
    a_thousand_parallel_validations_succeed_once
    a_thousand_parallel_wrong_codes_count_as_five
    right_answers_and_new_codes_race
}

/// So many requests are on their way at once.
const CONCURRENCY: usize = 200;

/// A thousand answers at once. A busy store sends some callers away with 503, as it must: they come again, as apps do.
/// Also how many were sent away, for what became of their first try is not known.
async fn validate_thousand(daemon: &Daemon, code: &str) -> (Vec<ReceivedResponse>, usize) {
    let sent_away = AtomicUsize::new(0);
    let insist = async || {
        loop {
            let answer = validate(daemon, CHAT, code).await;
            if answer.status != 503 {
                return answer;
            }
            sent_away.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let answers = stream::iter(0..1_000).map(|_| insist()).buffer_unordered(CONCURRENCY).collect().await;
    (answers, sent_away.into_inner())
}

async fn a_thousand_parallel_validations_succeed_once(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (uuid, right) = code(&daemon, json!({"chatId": CHAT})).await;
    let (answers, sent_away) = validate_thousand(&daemon, &right).await;
    let successes = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(successes == 1 || (successes == 0 && sent_away > 0), "{successes} successes, {sent_away} sent away");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.status, &answer.json["code"]), (409, &json!("code_used")), "{}", answer.text);
    }
    assert_eq!(daemon.status(&uuid).await, "validated");
    daemon.settle().await;
    assert_eq!(events(&world).iter().filter(|event| *event == "code.validated").count(), 1);
    daemon.finish().await;
}

async fn a_thousand_parallel_wrong_codes_count_as_five(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (uuid, right) = code(&daemon, json!({"chatId": CHAT})).await;
    let guess = wrong(&right);
    let (answers, sent_away) = validate_thousand(&daemon, &guess).await;
    let compared = answers.iter().filter(|answer| answer.json["code"] == "code_wrong").count();
    // A request whose commit was confirmed too late finds an ended code when it is repeated.
    assert!(compared <= 4 && (compared > 0 || sent_away > 0), "{compared} were compared, {sent_away} sent away");
    for answer in answers.iter().filter(|answer| answer.json["code"] != "code_wrong") {
        assert_eq!((answer.status, &answer.json["code"]), (409, &json!("attempts_exhausted")), "{}", answer.text);
    }
    assert_eq!(validate(&daemon, CHAT, &right).await.json["code"], "attempts_exhausted", "right, and too late");
    let record = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{uuid}")).await;
    assert_eq!((record.data("status"), record.data("attempts")), (&json!("failed"), &json!(5)), "{}", record.text);
    daemon.settle().await;
    assert_eq!(events(&world).iter().filter(|event| *event == "code.failed").count(), 1);
    daemon.finish().await;
}

/// Whatever the order: a code succeeds at most once, and after all of it at most one is alive.
async fn right_answers_and_new_codes_race(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\ncodes_per_chat_10m = 0\nwrong_codes_per_chat_15m = 0".to_owned();
    let daemon = world.start().await;
    let mut uuids = Vec::new();
    let mut validated = 0;
    for _ in 0..20 {
        let (uuid, right) = code(&daemon, json!({"chatId": CHAT, "length": 10})).await;
        let tries = stream::iter(0..8).map(|_| validate(&daemon, CHAT, &right)).buffer_unordered(8).collect::<Vec<_>>();
        let (answers, asked) = tokio::join!(tries, request(&daemon, json!({"chatId": CHAT, "length": 10})));
        assert_eq!(asked.status, 200, "{}", asked.text);
        let successes = answers.iter().filter(|answer| answer.status == 200).count();
        assert!(successes <= 1);
        for answer in &answers {
            assert!(matches!(answer.status, 200 | 409 | 422), "{}", answer.text);
        }
        validated += successes;
        let expected = if successes == 1 { "validated" } else { "canceled" };
        assert_eq!(daemon.status(&uuid).await, expected);
        uuids.extend([uuid, asked.text_of("uuid")]);
    }
    daemon.settle().await;
    let mut alive = 0;
    for uuid in &uuids {
        alive += usize::from(matches!(daemon.status(uuid).await.as_str(), "pending" | "sent"));
    }
    // Five of the eight that typed the old code may have come after the new one, and ended it.
    let ended = daemon.status(uuids.last().unwrap()).await == "failed";
    assert_eq!(alive, usize::from(!ended), "one active code per chat");
    assert_eq!(events(&world).iter().filter(|event| *event == "code.validated").count(), validated);
    daemon.finish().await;
}
