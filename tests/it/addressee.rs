//! A message counts for the number it came to, and for the person it came from.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Request;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    daemon::{Daemon, InstanceBlock, META, META_SECRET, META_TOKEN, ReceivedResponse, TestStore, WAHA, World, message},
    login_flow::on_both_stores,
    wait::until,
};

on_both_stores! {
    a_message_to_another_number_verifies_nothing
    one_webhook_serves_all_numbers_of_an_app
    a_phone_number_that_arrives_late_is_waited_for
    a_failed_lid_lookup_creates_no_second_identity
    contradicting_sender_ids_are_rejected
    a_user_id_and_a_phone_prove_the_same_person
}

const SECOND: &str = "5f0c2a90-0000-4000-8000-000000000003";
const SECOND_TOKEN: &str = "cst_test-token-of-the-third-instance";
const FOREIGN: &str = "5f0c2a90-0000-4000-8000-000000000004";
const FOREIGN_TOKEN: &str = "cst_test-token-of-the-fourth-instance";
const LID: &str = "190000000000117";

async fn outcome_count(daemon: &Daemon, outcome: &str) -> u64 {
    let request = Request::get(format!("{}/metrics", daemon.operator)).body(Vec::new()).unwrap();
    let metrics = daemon.send(request).await.text;
    let wanted = format!("result=\"{outcome}\"");
    let lines = metrics.lines().filter(|line| line.contains("webhook_events") && line.contains(&wanted));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

async fn a_message_to_another_number_verifies_nothing(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    let now = daemon.clock.wall().as_second();
    let plain = || message("447700900123", "A1", &link.text, now);
    for (place, value) in [
        ("/session", json!("marketing")),
        ("/me", json!({"id": "12025550187@c.us"})),
        ("/me", json!({"id": "12025550187:4@s.whatsapp.net", "lid": "190000000000331@lid"})),
        ("/payload/to", json!("12025550187@c.us")),
    ] {
        let mut elsewhere = plain();
        let (object, member) = place.rsplit_once('/').unwrap();
        elsewhere.pointer_mut(object).unwrap()[member] = value;
        assert_eq!(daemon.post_waha(&elsewhere).await.status, 200);
        assert_eq!(daemon.status(&link.uuid).await, "pending");
    }
    assert_eq!(outcome_count(&daemon, "another_number").await, 4);
    let explained = daemon.get(&format!("/api/otp/v2/{WAHA}/explain?q=A1")).await;
    assert!(
        explained.text.contains("another_number") && explained.text.contains("another number"),
        "{}",
        explained.text
    );
    daemon.settle().await;
    assert_eq!(world.gateway.count(), 0, "a number must not answer people who did not write to it");
    // Our own LID is not a phone number, and the number of the instance is ours with or without a device.
    for (index, (me, to)) in [
        (json!({"id": "190000000000331@c.us", "lid": "190000000000331@lid"}), "190000000000331@c.us"),
        (json!({"id": "447700900999:12@c.us"}), "190000000000331@lid"),
        (json!({"id": "190000000000331@lid"}), "447700900999@c.us"),
    ]
    .into_iter()
    .enumerate()
    {
        let link = daemon.create_link(json!({})).await;
        let mut ours = message("447700900123", &format!("O{index}"), &link.text, now);
        (ours["me"], ours["payload"]["to"]) = (me, json!(to));
        daemon.post_waha(&ours).await;
        assert_eq!(daemon.status(&link.uuid).await, "verified", "{index}");
    }
    daemon.finish().await;
}

fn meta(number_id: &str, id: &str, text: &str, now: i64) -> Value {
    let value = json!({
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": number_id},
        "contacts": [{"profile": {"name": "Mara"}, "wa_id": "447700900123", "user_id": "GB.10000000000001"}],
        "messages": [{
            "from": "447700900123", "from_user_id": "GB.10000000000001", "id": id, "timestamp": now.to_string(),
            "type": "text", "text": {"body": text},
        }],
    });
    json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]})
}

async fn post_meta(daemon: &Daemon, body: &Value) -> ReceivedResponse {
    let body = body.to_string().into_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(META_SECRET.as_bytes()).unwrap();
    mac.update(&body);
    let hex = mac.finalize().into_bytes().iter().fold(String::new(), |out, byte| format!("{out}{byte:02x}"));
    let request = Request::post(format!("{}/webhooks/{META}", daemon.base))
        .header("x-hub-signature-256", format!("sha256={hex}"));
    daemon.send(request.body(body).unwrap()).await
}

async fn minted(daemon: &Daemon, instance: &str, token: &str, body: Value) -> (String, String) {
    let bearer = format!("Bearer {token}");
    let path = format!("/api/otp/v2/{instance}/generate-link");
    let answer = daemon.post_with(&path, body, &[("authorization", &bearer)]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    (answer.text_of("uuid"), answer.text_of("text"))
}

async fn status(daemon: &Daemon, instance: &str, token: &str, uuid: &str) -> String {
    daemon.get_as(token, &format!("/api/otp/v2/{instance}/requests/{uuid}")).await.text_of("status")
}

async fn one_webhook_serves_all_numbers_of_an_app(test_store: TestStore) {
    let mut world = World::new(test_store);
    let block = |id, token, number_id: &str, secret: &str| {
        let gateway = format!(
            "kind = \"cloud-api\"\nurl = \"{}\"\nphone_number_id = \"{number_id}\"\naccess_token = \"another-token\"\n\
             webhook_secret = \"{secret}\"",
            world.gateway.url
        );
        InstanceBlock { id, name: "Other", number: "+12025550187", token, lines: "", gateway: &gateway }.to_string()
    };
    world.more_instances = block(SECOND, SECOND_TOKEN, "888", META_SECRET)
        + &block(FOREIGN, FOREIGN_TOKEN, "999", "the-secret-of-quite-another-app");
    let daemon = world.start().await;
    let now = daemon.clock.wall().as_second();
    let (second, text) = minted(&daemon, SECOND, SECOND_TOKEN, json!({})).await;
    assert_eq!(post_meta(&daemon, &meta("888", "M1", &text, now)).await.status, 200);
    assert_eq!(status(&daemon, SECOND, SECOND_TOKEN, &second).await, "verified");
    daemon.settle().await;
    let sent = world.gateway.requests();
    assert!(sent.iter().all(|request| request.path.starts_with("/888/")), "the number that was written to answers");
    // The webhook proves nothing to an instance with another secret.
    let (foreign, text) = minted(&daemon, FOREIGN, FOREIGN_TOKEN, json!({})).await;
    post_meta(&daemon, &meta("999", "M2", &text, now)).await;
    post_meta(&daemon, &meta("111", "M3", &text, now)).await;
    assert_eq!(status(&daemon, FOREIGN, FOREIGN_TOKEN, &foreign).await, "pending");
    assert_eq!(outcome_count(&daemon, "another_number").await, 2);
    // A code of one number does not count at another.
    let (own, text) = minted(&daemon, META, META_TOKEN, json!({})).await;
    post_meta(&daemon, &meta("888", "M4", &text, now)).await;
    assert_eq!(status(&daemon, META, META_TOKEN, &own).await, "pending");
    post_meta(&daemon, &meta("777", "M5", &text, now)).await;
    assert_eq!(
        status(&daemon, META, META_TOKEN, &own).await,
        "verified",
        "the id decides, however the number is displayed"
    );
    daemon.finish().await;
}

fn lid_message(id: &str, text: &str, now: i64) -> Value {
    let mut hidden = message("447700900123", id, text, now);
    hidden["payload"]["from"] = json!(format!("{LID}@lid"));
    hidden["payload"]["id"] = json!(format!("false_{LID}@lid_{id}"));
    hidden
}

fn lookup_count(world: &World) -> usize {
    world.gateway.requests().iter().filter(|request| request.path.contains("/lids/")).count()
}

fn lookup_answer(pn: &Value) -> Value {
    json!({"lid": format!("{LID}@lid"), "pn": pn, "id": "x"})
}

async fn subject(daemon: &Daemon, uuid: &str) -> Value {
    daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{uuid}")).await.data("subject")["kind"].clone()
}

async fn a_phone_number_that_arrives_late_is_waited_for(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let now = daemon.clock.wall().as_second();
    // It never comes: a LID, which is asked for again the next time.
    for round in 0..2 {
        world.gateway.answer(lookup_answer(&Value::Null));
        let (link, before) = (daemon.create_link(json!({})).await, lookup_count(&world));
        assert_eq!(daemon.post_waha(&lid_message(&format!("N{round}"), &link.text, now)).await.status, 200);
        assert_eq!(subject(&daemon, &link.uuid).await, "lid");
        assert!(lookup_count(&world) > before + 1, "more than once, and nothing is remembered");
    }
    // It comes a moment later.
    let (link, before) = (daemon.create_link(json!({})).await, lookup_count(&world));
    let body = lid_message("L1", &link.text, now);
    let late = async {
        until("the gateway is asked", async || lookup_count(&world) > before).await;
        world.gateway.answer(lookup_answer(&json!("447700900123@c.us")));
    };
    let (answer, ()) = tokio::join!(daemon.post_waha(&body), late);
    assert_eq!(answer.status, 200);
    assert_eq!(subject(&daemon, &link.uuid).await, "phone");
    daemon.finish().await;
}

async fn a_failed_lid_lookup_creates_no_second_identity(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let now = daemon.clock.wall().as_second();
    world.gateway.answer(lookup_answer(&json!("447700900123@c.us")));
    let link = daemon.create_link(json!({"chatId": "447700900123"})).await;
    let body = lid_message("F1", &link.text, now);
    world.gateway.fail(500, 100);
    let refused = daemon.post_waha(&body).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(daemon.status(&link.uuid).await, "pending");
    world.gateway.fail(200, 0);
    world.gateway.delay(Duration::from_secs(3));
    assert_eq!(daemon.post_waha(&body).await.status, 503, "too late is no answer");
    world.gateway.release();
    assert_eq!(daemon.post_waha(&body).await.status, 200);
    assert_eq!(daemon.status(&link.uuid).await, "verified", "the gateway repeats it");
    assert_eq!(subject(&daemon, &link.uuid).await, "phone");
    daemon.finish().await;

    // What the gateway gives as the phone is the LID once more.
    let world = World::new(TestStore::directory());
    world.gateway.answer(lookup_answer(&json!(format!("{LID}@c.us"))));
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    daemon.post_waha(&lid_message("F2", &link.text, now)).await;
    assert_eq!((subject(&daemon, &link.uuid).await, lookup_count(&world)), (json!("lid"), 1));
    daemon.finish().await;
}

async fn contradicting_sender_ids_are_rejected(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    let now = daemon.clock.wall().as_second();
    let mut odd = message("4477009001233", "X1", &link.text, now);
    odd["payload"]["_data"]["key"] = json!({"remoteJidAlt": "447700900123:3@s.whatsapp.net"});
    assert_eq!(daemon.post_waha(&odd).await.status, 200);
    assert_eq!(daemon.status(&link.uuid).await, "pending");
    assert_eq!(outcome_count(&daemon, "senders_differ").await, 1);
    let explained = daemon.get(&format!("/api/otp/v2/{WAHA}/explain?q=X1")).await;
    assert!(explained.text.contains("two different senders"), "{}", explained.text);
    daemon.finish().await;
}

async fn a_user_id_and_a_phone_prove_the_same_person(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let now = daemon.clock.wall().as_second();
    for (index, (chat, kind)) in [("GB.10000000000001", "bsuid"), ("447700900123", "phone")].iter().enumerate() {
        let (uuid, text) = minted(&daemon, META, META_TOKEN, json!({"chatId": chat})).await;
        post_meta(&daemon, &meta("777", &format!("B{index}"), &text, now)).await;
        let shown = daemon.get_as(META_TOKEN, &format!("/api/otp/v2/{META}/requests/{uuid}")).await;
        assert_eq!((shown.data("status"), &shown.data("subject")["kind"]), (&json!("verified"), &json!(kind)));
    }
    daemon.finish().await;
}
