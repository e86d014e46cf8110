//! Rotation of keys: records that a configured key can decrypt are not lost.

use std::time::Duration;

use countersign::{clock::Clock, service::RequestContext};
use serde_json::json;

use crate::{
    daemon::{Daemon, KEY, TestStore, WAHA, World, message, signed_waha},
    login_flow::on_both_stores,
    process::{Process, callbacks_by_link},
    wait::until,
};

on_both_stores! {
    records_without_a_key_are_skipped_and_reported
    an_unknown_code_is_answered_503_while_a_missing_key_may_have_created_it
}

pub(crate) const NEXT: &str = "TGYIQOKMkm8MJb/rN9wfD1jKjtM4GfJbdX3Awfgrlo0=";

/// `key`, the first of which makes.
fn keys(keys: &[&str]) -> String {
    format!("{keys:?}")
}

async fn shown(daemon: &Daemon, path: &str) -> String {
    let answer = daemon.get(&format!("/api/otp/v2/{WAHA}/{path}")).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.text
}

async fn records_without_a_key_are_skipped_and_reported(test_store: TestStore) {
    let mut world = World::new(test_store);
    let daemon = world.start().await;
    let gone = daemon.create_link(json!({"chatId": "447700900123@c.us"})).await;
    assert_eq!(daemon.send_message("447700900123", "U1", &gone.text).await.status, 200);
    let code = json!({"chatId": "447700900456@c.us"});
    assert_eq!(daemon.post(&format!("/api/otp/v2/{WAHA}/request-code"), code.clone()).await.status, 200);
    daemon.finish().await;

    world.key = keys(&[NEXT, KEY]);
    let daemon = world.start().await;
    let kept = daemon.create_link(json!({"chatId": "447700900123@c.us"})).await;
    assert_eq!(daemon.send_message("447700900123", "U2", &kept.text).await.status, 200);
    daemon.finish().await;

    // It has leaked: it is dropped at once.
    world.key = keys(&[NEXT]);
    let daemon = world.start().await;
    let last = daemon.create_link(json!({})).await;
    for path in ["requests?limit=100", "requests?limit=1", "requests?phone_last=0123", "callbacks", "explain?q=0123"] {
        let text = shown(&daemon, path).await;
        assert!(!text.contains(&gone.uuid), "{path}: {text}");
        assert!(text.contains(if path.ends_with("=1") { &last.uuid } else { &kept.uuid }), "{path}: {text}");
    }
    assert!(!shown(&daemon, &format!("explain?q={}", gone.uuid)).await.contains("447700900123"));
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = daemon.get(&format!("/api/otp/v2/{WAHA}/requests?limit=1{cursor}")).await;
        pages.push(page.text.clone());
        let Some(next) = page.data("next_cursor").as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert!(pages.len() <= 4 && pages.iter().any(|page| page.contains(&kept.uuid)), "{pages:?}");
    let metrics = daemon.services.env.metrics.render();
    for kind in ["record", "job"] {
        let counted = format!("countersign_unreadable_total{{kind=\"{kind}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&counted)).unwrap();
        assert_ne!(line, "0", "{kind}");
    }
    let status = serde_json::to_value(countersign::ops::Ops::new(&daemon.services).status(true)).unwrap();
    let named = status["failures"].as_array().unwrap().iter().filter(|one| one["reason"] == "unreadable");
    assert_eq!(named.count(), 2, "{status}");

    // The person can be forgotten all the same.
    let instance = daemon.services.env.instances.get(WAHA.parse().unwrap()).unwrap();
    let erased = daemon
        .services
        .support
        .erase(
            &RequestContext::background(&daemon.services.env.store),
            &instance,
            &"447700900123@c.us".parse().unwrap(),
        )
        .await
        .unwrap();
    assert_eq!(erased.requests, 2);
    assert!(daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{}", gone.uuid)).await.status == 404);

    // Once no replica can be about to read it: a chat's record is lost, and the chat can be used again.
    daemon.clock.advance(std::time::Duration::from_secs(2 * 3600));
    let again = daemon.post(&format!("/api/otp/v2/{WAHA}/request-code"), code).await;
    assert_eq!(again.status, 200, "{}", again.text);
    daemon.finish().await;
}

async fn an_unknown_code_is_answered_503_while_a_missing_key_may_have_created_it(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.start().await.finish().await;
    world.key = keys(&[NEXT, KEY]);
    world.start().await.finish().await;

    world.key = keys(&[KEY]);
    let daemon = world.start().await;
    let instance = daemon.services.env.instances.get(WAHA.parse().unwrap()).unwrap();
    let status = async |id: &str| daemon.send_message("447700900888", id, "[0BCDEFGHJKMNPQ]").await.status;
    assert_eq!(status("L1").await, 503, "the other key may have made it");
    daemon.advance(instance.config.longest_life() + Duration::from_mins(9)).await;
    assert_eq!(status("L2").await, 503, "it may come late");
    daemon.advance(Duration::from_mins(3)).await;
    assert_eq!(status("L3").await, 200, "nothing of that key is alive");
    daemon.finish().await;
}

/// Gives a running replica other keys, and waits until it uses them.
pub(crate) async fn rotate(process: &Process, to: &[&str]) {
    const APPLIED: &str = "countersign_config_reloads_total{result=\"applied\"}";
    let before = process.metric(APPLIED).await;
    let text = std::fs::read_to_string(process.config.path()).unwrap();
    let line = text.lines().find(|line| line.starts_with("key = ")).unwrap();
    std::fs::write(process.config.path(), text.replace(line, &format!("key = {}", keys(to)))).unwrap();
    process.signal("-HUP");
    until("the keys are in use", async || process.metric(APPLIED).await > before).await;
}

/// The status that a message is answered with.
pub(crate) async fn webhook_status(process: &Process, number: &str, id: &str, text: &str) -> u16 {
    let body = message(number, id, text, Clock::default().wall().as_second());
    process.client.send(signed_waha(&process.base, &body)).await.unwrap().status().as_u16()
}

/// A link that one replica creates is matched by the other: at once if it has the key, otherwise once it has it.
struct KeyRotation {
    minted: Vec<String>,
    refused: usize,
}

impl KeyRotation {
    async fn cross(&mut self, from: &Process, to: &Process, refuses: bool) -> Vec<(String, String, String)> {
        let mut links = Vec::new();
        for _ in 0..5 {
            let index = self.minted.len();
            let minted = from.mint(json!({})).await.unwrap();
            let (number, id, text) = (format!("4477009{index:05}"), format!("K{index}"), minted.text_of("text"));
            let status = webhook_status(to, &number, &id, &text).await;
            assert_eq!(status, if refuses { 503 } else { 200 }, "link {index}");
            self.minted.push(minted.text_of("uuid"));
            self.refused += usize::from(refuses);
            links.push((number, id, text));
        }
        links
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_rotate_keys_in_any_order_and_lose_nothing() {
    const LAST: &str = "Z6hZttbd3btUUzksKFHoiwFquppqP8OnwH5OljJdYsM=";
    let world = World::new(TestStore::redis());
    let (one, two) = (Process::start(&world).await, Process::start(&world).await);
    let mut fleet = KeyRotation { minted: Vec::new(), refused: 0 };
    fleet.cross(&one, &two, false).await;

    // Without the step between: one makes with a key that the other has not read yet.
    rotate(&one, &[NEXT, KEY]).await;
    let waiting = fleet.cross(&one, &two, true).await;
    fleet.cross(&two, &one, false).await;
    two.until_metric("countersign_keys_missing", |keys| keys > 0.5).await;
    assert_eq!(
        webhook_status(&two, "447700900888", "STRANGER", "[0BCDEFGHJKMNPQ]").await,
        503,
        "it may be the other's"
    );
    rotate(&two, &[NEXT, KEY]).await;
    for (number, id, text) in &waiting {
        assert_eq!(webhook_status(&two, number, id, text).await, 200, "the gateway repeats it");
    }
    assert_eq!(webhook_status(&two, "447700900888", "STRANGER", "[0BCDEFGHJKMNPQ]").await, 200);
    two.until_metric("countersign_keys_missing", |keys| keys < 0.5).await;

    // With it, in another order, and the oldest goes at once.
    rotate(&two, &[NEXT, LAST]).await;
    fleet.cross(&one, &two, false).await;
    rotate(&one, &[NEXT, LAST]).await;
    fleet.cross(&two, &one, false).await;
    rotate(&one, &[LAST, NEXT]).await;
    fleet.cross(&one, &two, false).await;
    fleet.cross(&two, &one, false).await;
    rotate(&two, &[LAST, NEXT]).await;
    fleet.cross(&two, &one, false).await;

    until("every login has a callback", async || {
        fleet.minted.iter().all(|uuid| callbacks_by_link(&world).contains_key(uuid))
    })
    .await;
    assert_eq!((fleet.minted.len(), fleet.refused), (40, 5));
    one.terminate();
    two.terminate();
}
