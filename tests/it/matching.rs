//! A code verifies once, for any number of senders, messages and replicas.

use std::time::{Duration, Instant};

use countersign::service::RequestContext;
use serde_json::{Value, json};

use crate::{
    daemon::{META, META_SECRET, META_TOKEN, TestStore, WAHA, World, message, signed_waha},
    login_flow::on_both_stores,
    wait::until,
};

on_both_stores! {
    only_one_of_many_senders_succeeds
    a_redelivered_message_has_one_effect
    a_bound_link_accepts_only_its_chat
    expired_and_unknown_codes_have_different_replies
    expiry_is_reported_on_time_without_a_request
    only_direct_text_messages_count
    several_live_codes_verify_nothing
    a_hidden_number_gets_its_own_reply
    messages_without_a_code_get_no_reply_and_guessing_is_limited
    another_instances_code_is_unknown
    an_old_message_is_ignored
    meta_batches_and_senders_without_a_phone
    a_second_message_gets_the_same_link
    a_lid_is_looked_up_once
    an_unknown_lid_is_looked_up_twice_within_three_seconds
    a_record_erased_before_the_commit_makes_the_gateway_retry
    a_redelivery_with_an_expired_code_gets_no_second_reply
}

fn events(world: &World) -> Vec<String> {
    world.receiver.requests().iter().map(|callback| callback.json()["type"].as_str().unwrap().to_owned()).collect()
}

/// The messages that the gateway was asked to send, without LID look-ups.
fn sent(world: &World) -> Vec<Value> {
    world
        .gateway
        .requests()
        .iter()
        .filter(|request| !request.body.is_empty())
        .map(crate::fakes::ReceivedRequest::json)
        .collect()
}

fn replies(world: &World) -> Vec<String> {
    sent(world).iter().map(|reply| reply["text"].as_str().unwrap().to_owned()).collect()
}

async fn only_one_of_many_senders_succeeds(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\nreplies_per_second = 0\n".to_owned();
    let (one, two) = match &world.test_store {
        // The embedded store is for one process.
        TestStore::Directory(_) => (world.start().await, None),
        TestStore::Redis(_) => (world.start().await, Some(world.start().await)),
    };
    let link = one.create_link(json!({})).await;
    let now = one.clock.wall().as_second();
    let mut sending = Vec::new();
    for index in 0..60 {
        let daemon = if index % 2 == 1 { two.as_ref().unwrap_or(&one) } else { &one };
        let message = message(&format!("4477009001{index:02}"), &format!("M{index}"), &link.text, now);
        let request = signed_waha(&daemon.base, &message);
        let client = daemon.client.clone();
        sending.push(tokio::spawn(async move { client.send(request).await.unwrap().status().as_u16() }));
    }
    for sent in sending {
        assert_eq!(sent.await.unwrap(), 200);
    }
    one.settle().await;
    world.receiver.wait_for(1).await;
    assert_eq!(events(&world), ["link.verified"]);
    let successes = replies(&world).iter().filter(|text| text.contains("/o/")).count();
    assert_eq!(successes, 1);
    assert_eq!(replies(&world).len(), 60, "each sender gets one reply");
    if let Some(two) = two {
        two.finish().await;
    }
    one.finish().await;
}

async fn a_redelivered_message_has_one_effect(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    for _ in 0..5 {
        assert_eq!(daemon.send_message("447700900123", "SAME", &link.text).await.status, 200);
    }
    // WAHA also reports one message under its LID and as message.any.
    let now = daemon.clock.wall().as_second();
    let mut lid = message("447700900123", "SAME", &link.text, now);
    lid["payload"]["id"] = json!("false_190000000000117@lid_SAME");
    lid["payload"]["from"] = json!("190000000000117@lid");
    lid["event"] = json!("message.any");
    assert_eq!(daemon.post_waha(&lid).await.status, 200);
    daemon.settle().await;
    assert_eq!(events(&world), ["link.verified"]);
    assert_eq!(replies(&world).len(), 1);
    daemon.finish().await;
}

async fn a_bound_link_accepts_only_its_chat(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\nfailure_replies_per_10m = 0\n".to_owned();
    let daemon = world.start().await;
    let link = daemon
        .create_link(json!({"chatId": "+55 11987654321".replace(' ', ""), "message": {"failed": "not you"}}))
        .await;
    for (id, wrong) in ["447700900100", "447700900101"].iter().enumerate() {
        daemon.send_message(wrong, &format!("W{id}"), &link.text).await;
    }
    assert_eq!(daemon.status(&link.uuid).await, "pending");
    // WhatsApp leaves out the ninth digit.
    daemon.send_message("551187654321", "R1", &link.text).await;
    assert_eq!(daemon.status(&link.uuid).await, "verified");
    daemon.settle().await;
    assert_eq!(events(&world), ["link.verified"]);
    let shown = daemon.get(&format!("/api/otp/v2/{}/requests/{}", crate::daemon::WAHA, link.uuid)).await;
    assert_eq!(shown.data("chat_id"), "+5511987654321");
    assert_eq!(shown.data("attempts"), 2);
    let said = replies(&world);
    assert_eq!(said.iter().filter(|text| *text == "not you").count(), 2, "{said:?}");

    let doomed = daemon.create_link(json!({"chatId": "447700900123@c.us", "max_attempts": 1})).await;
    daemon.send_message("447700900100", "W9", &doomed.text).await;
    assert_eq!(daemon.status(&doomed.uuid).await, "failed");
    daemon.settle().await;
    let last = world.receiver.requests().pop().unwrap().json();
    assert_eq!((&last["type"], &last["data"]["reason"]), (&json!("link.failed"), &json!("sender_mismatch")));
    daemon.finish().await;
}

async fn expired_and_unknown_codes_have_different_replies(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"expires": 60, "message": {"expired": "Code <code> is too old"}})).await;
    daemon.advance(Duration::from_secs(61)).await;
    daemon.send_message("447700900123", "L1", &link.text).await;
    daemon.settle().await;
    assert_eq!(daemon.status(&link.uuid).await, "expired");
    assert_eq!(replies(&world), [format!("Code {} is too old", link.code)]);
    daemon.send_message("447700900123", "L2", "hello [ZZZZZZZZZZZZZZ]").await;
    daemon.settle().await;
    assert_eq!(replies(&world).len(), 1, "an unknown code gets silence");
    daemon.finish().await;
}

async fn expiry_is_reported_on_time_without_a_request(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let failed_url = format!("{}/failed", world.receiver.url);
    let link = daemon.create_link(json!({"expires": 120, "callback": {"failed": failed_url}})).await;
    daemon.advance(Duration::from_secs(60)).await;
    assert!(world.receiver.requests().is_empty());
    daemon.advance_clock(Duration::from_secs(60)).await;
    let due = daemon.clock.wall();
    let callback = &world.receiver.wait_for(1).await[0];
    assert_eq!(callback.json()["type"], "link.expired");
    assert_eq!(callback.json()["data"]["uuid"], link.uuid);
    assert_eq!(callback.path, "/failed", "expired goes to callback.failed when it has no URL of its own");
    let said = callback.json()["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let expires: jiff::Timestamp = callback.json()["data"]["expires_at"].as_str().unwrap().parse().unwrap();
    assert!(expires <= said && expires <= due, "{expires} {said} {due}");
    let late = said.duration_since(due);
    assert!(late.as_secs() <= 15, "{late}");
    daemon.finish().await;
}

async fn only_direct_text_messages_count(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    let now = daemon.clock.wall().as_second();
    let plain = |id: &str| message("447700900123", id, &link.text, now);
    let mut group = plain("G1");
    group["payload"]["id"] = json!("false_120363000000000017@g.us_G1_447700900123@c.us");
    group["payload"]["from"] = json!("120363000000000017@g.us");
    let mut mine = plain("G2");
    mine["payload"]["fromMe"] = json!(true);
    let mut status = plain("G3");
    status["payload"]["from"] = json!("status@broadcast");
    let mut edit = plain("G4");
    edit["event"] = json!("message.edited");
    let mut reaction = plain("G5");
    reaction["event"] = json!("message.reaction");
    let mut quote = message("447700900123", "G6", "what is this?", now);
    quote["payload"]["replyTo"] = json!({"id": "x", "body": link.text});
    for event in [group, mine, status, edit, reaction, quote] {
        assert_eq!(daemon.post_waha(&event).await.status, 200);
    }
    daemon.settle().await;
    assert_eq!(daemon.status(&link.uuid).await, "pending");
    assert!(replies(&world).is_empty());
    daemon.finish().await;
}

async fn several_live_codes_verify_nothing(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (one, two) = (daemon.create_link(json!({})).await, daemon.create_link(json!({})).await);
    daemon.send_message("447700900123", "S1", &format!("[{}] [{}]", one.code, two.code)).await;
    daemon.settle().await;
    assert_eq!((daemon.status(&one.uuid).await, daemon.status(&two.uuid).await), ("pending".into(), "pending".into()));
    assert_eq!(replies(&world).len(), 1);
    daemon.send_message("447700900123", "S2", &format!("[AAAAAAAA] [{}]", one.code.to_lowercase())).await;
    assert_eq!(daemon.status(&one.uuid).await, "verified", "an unknown code beside it does no harm");
    daemon.finish().await;
}

async fn a_hidden_number_gets_its_own_reply(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"chatId": "447700900123@c.us"})).await;
    let now = daemon.clock.wall().as_second();
    let mut hidden = message("447700900123", "H1", &link.text, now);
    hidden["payload"]["from"] = json!("190000000000117@lid");
    hidden["payload"]["id"] = json!("false_190000000000117@lid_H1");
    daemon.post_waha(&hidden).await;
    daemon.settle().await;
    assert_eq!(daemon.status(&link.uuid).await, "pending");
    assert_eq!(replies(&world).len(), 1);
    assert_eq!(sent(&world)[0]["chatId"], "190000000000117@lid");
    let unbound = daemon.create_link(json!({})).await;
    hidden["payload"]["body"] = json!(unbound.text);
    hidden["payload"]["id"] = json!("false_190000000000117@lid_H2");
    daemon.post_waha(&hidden).await;
    daemon.settle().await;
    let callback = world.receiver.wait_for(1).await[0].json();
    assert_eq!(
        callback["data"]["subject"],
        json!({"kind": "lid", "value": "190000000000117", "reported": "190000000000117"})
    );
    daemon.finish().await;
}

async fn messages_without_a_code_get_no_reply_and_guessing_is_limited(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "reply_to_unknown = true\n[instance.limits]\nguesses_per_10m = 5\n".to_owned();
    let daemon = world.start().await;
    daemon.send_message("447700900199", "C0", "hello, is this the shop?").await;
    for guess in 0..8 {
        daemon.send_message("447700900199", &format!("C{guess}x"), &format!("[AAAAAAAAAAAAA{guess}]")).await;
    }
    daemon.settle().await;
    assert_eq!(replies(&world).len(), 1, "one reply in ten minutes");
    let link = daemon.create_link(json!({})).await;
    daemon.send_message("447700900199", "C9", &link.text).await;
    assert_eq!(daemon.status(&link.uuid).await, "pending", "a guesser is not listened to");
    daemon.send_message("447700900123", "C10", &link.text).await;
    assert_eq!(daemon.status(&link.uuid).await, "verified", "others are");
    daemon.finish().await;
}

async fn another_instances_code_is_unknown(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let minted = daemon
        .post_with(
            &format!("/api/otp/v2/{META}/generate-link"),
            json!({}),
            &[("authorization", &format!("Bearer {META_TOKEN}"))],
        )
        .await;
    daemon.send_message("447700900123", "X1", &minted.text_of("text")).await;
    daemon.settle().await;
    assert!(replies(&world).is_empty() && events(&world).is_empty());
    daemon.finish().await;
}

async fn an_old_message_is_ignored(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    let now = daemon.clock.wall().as_second();
    for (id, at) in [("O1", now - 3600 - 660), ("O2", now + 660)] {
        daemon.post_waha(&message("447700900123", id, &link.text, at)).await;
    }
    daemon.settle().await;
    assert_eq!(daemon.status(&link.uuid).await, "pending");
    assert!(replies(&world).is_empty());
    daemon.post_waha(&message("447700900123", "O3", &link.text, now - 3600 - 540)).await;
    assert_eq!(daemon.status(&link.uuid).await, "verified");
    daemon.finish().await;
}

async fn meta_batches_and_senders_without_a_phone(test_store: TestStore) {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let world = World::new(test_store);
    let daemon = world.start().await;
    let bearer = format!("Bearer {META_TOKEN}");
    let mint =
        |body: Value| daemon.post_with("/api/otp/v2/5f0c2a90-0000-4000-8000-000000000002/generate-link", body, &[]);
    assert_eq!(mint(json!({})).await.status, 404, "another tenant's token");
    let mut links = Vec::new();
    for _ in 0..2 {
        let path = format!("/api/otp/v2/{META}/generate-link");
        links.push(daemon.post_with(&path, json!({}), &[("authorization", &bearer)]).await);
    }
    let now = daemon.clock.wall().as_second().to_string();
    let messages: Vec<Value> = vec![
        json!({"from": "447700900123", "id": "wamid.A", "timestamp": now, "type": "text", "text": {"body": links[0].text_of("text")}}),
        json!({"from_user_id": "GB.10000000000001", "id": "wamid.B", "timestamp": now, "type": "text", "text": {"body": links[1].text_of("text")}}),
        json!({"from": "447700900123", "id": "wamid.C", "timestamp": now, "type": "image", "image": {}}),
    ];
    let body = json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [
        {"field": "messages", "value": {"statuses": [{"id": "x", "status": "read"}]}},
        {"field": "messages", "value": {"contacts": [{"wa_id": "447700900123", "profile": {"name": "Mara"}}], "messages": messages}},
    ]}]})
    .to_string()
    .into_bytes();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(META_SECRET.as_bytes()).unwrap();
    mac.update(&body);
    let hex = mac.finalize().into_bytes().iter().fold("sha256=".to_owned(), |out, byte| format!("{out}{byte:02x}"));
    let request = http::Request::post(format!("{}/webhooks/{META}", daemon.base)).header("x-hub-signature-256", hex);
    assert_eq!(daemon.send(request.body(body).unwrap()).await.status, 200);
    daemon.settle().await;
    assert_eq!(events(&world), ["link.verified", "link.verified"]);
    let sent = world.gateway.requests();
    assert_eq!(sent[0].path, "/777/messages");
    assert_eq!(sent[0].header("authorization"), "Bearer meta-access-token-0123456789");
    let to: Vec<Value> = sent.iter().map(|reply| json!([reply.json()["to"], reply.json()["recipient"]])).collect();
    assert!(to.contains(&json!(["447700900123", null])) && to.contains(&json!([null, "GB.10000000000001"])), "{to:?}");

    let hello =
        |token: &str| format!("/webhooks/{META}?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}");
    let answer = daemon.get(&hello(META_SECRET)).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "1158201444"));
    assert_eq!(daemon.get(&hello("guess")).await.status, 403);
    daemon.finish().await;
}

async fn a_second_message_gets_the_same_link(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    daemon.send_message("447700900123", "T1", &link.text).await;
    daemon.send_message("447700900123", "T2", &link.text).await;
    daemon.send_message("447700900124", "T3", &link.text).await;
    daemon.settle().await;
    let said = replies(&world);
    let links: Vec<&String> = said.iter().filter(|text| text.contains("/o/")).collect();
    assert_eq!(links.len(), 2);
    assert_eq!(links[0], links[1], "the same link again");
    assert_eq!(events(&world), ["link.verified"]);
    daemon.finish().await;
}

async fn a_lid_is_looked_up_once(test_store: TestStore) {
    let world = World::new(test_store);
    world.gateway.answer(json!({"lid": "190000000000117@lid", "pn": "447700900123@c.us", "id": "x"}));
    let daemon = world.start().await;
    let now = daemon.clock.wall().as_second();
    for index in 0..2 {
        let link = daemon.create_link(json!({"chatId": "447700900123@c.us"})).await;
        let mut hidden = message("447700900123", &format!("W{index}"), &link.text, now);
        hidden["payload"]["from"] = json!("190000000000117@lid");
        hidden["payload"]["id"] = json!(format!("false_190000000000117@lid_W{index}"));
        daemon.post_waha(&hidden).await;
        assert_eq!(daemon.status(&link.uuid).await, "verified");
        daemon.settle().await;
    }
    let callback = world.receiver.requests()[0].json();
    assert_eq!(
        callback["data"]["subject"],
        json!({"kind": "phone", "value": "+447700900123", "reported": "+447700900123"})
    );
    let asked = world.gateway.requests().iter().filter(|request| request.path.contains("/lids/")).count();
    assert_eq!(asked, 1, "the answer is remembered");
    daemon.finish().await;
}

/// From a person whose phone number is not in the webhook.
fn from_a_lid(id: &str, text: &str, now: i64) -> Value {
    let mut hidden = message("447700900123", id, text, now);
    hidden["payload"]["from"] = json!("190000000000117@lid");
    hidden["payload"]["id"] = json!(format!("false_190000000000117@lid_{id}"));
    hidden
}

async fn an_unknown_lid_is_looked_up_twice_within_three_seconds(test_store: TestStore) {
    let world = World::new(test_store);
    world.gateway.hold();
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"chatId": "447700900123@c.us"})).await;
    let begun = Instant::now();
    let answer = daemon.post_waha(&from_a_lid("W1", &link.text, daemon.clock.wall().as_second())).await;
    let took = begun.elapsed();
    assert_eq!(answer.status, 503, "the gateway delivers it again: {}", answer.text);
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(world.gateway.requests().iter().filter(|request| request.path.contains("/lids/")).count(), 2);
    world.gateway.release();
    daemon.finish().await;
}

/// The person is forgotten while the gateway is asked who wrote.
async fn a_record_erased_before_the_commit_makes_the_gateway_retry(test_store: TestStore) {
    let world = World::new(test_store);
    world.gateway.answer(json!({"lid": "190000000000117@lid", "pn": "447700900123@c.us", "id": "x"}));
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"chatId": "447700900123@c.us"})).await;
    world.gateway.hold();
    let written = from_a_lid("V1", &link.text, daemon.clock.wall().as_second());
    let erases = async {
        until("the gateway is asked", async || world.gateway.count() == 1).await;
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
        assert_eq!(erased.requests, 1);
        world.gateway.release();
    };
    let (answer, ()) = tokio::join!(daemon.post_waha(&written), erases);
    assert_eq!((answer.status, &answer.json["code"]), (503, &json!("store_unavailable")), "{}", answer.text);
    assert_eq!(daemon.post_waha(&written).await.status, 200, "its code is unknown now");
    assert_eq!(daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{}", link.uuid)).await.status, 404);
    daemon.finish().await;
}

async fn a_redelivery_with_an_expired_code_gets_no_second_reply(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let old = daemon.create_link(json!({"expires": 60})).await;
    daemon.advance(Duration::from_secs(61)).await;
    let live = daemon.create_link(json!({})).await;
    let text = format!("[{}] [{}]", old.code, live.code);
    for _ in 0..2 {
        daemon.send_message("447700900123", "E1", &text).await;
        daemon.settle().await;
    }
    assert_eq!(daemon.status(&live.uuid).await, "verified");
    assert_eq!(replies(&world).len(), 1);
    daemon.finish().await;
}
