//! This version beside the next one on the same store. The next version is played by the test: it adds fields that this
//! version does not know, or writes a format that this version does not know.

use std::collections::HashMap;

use countersign::{
    domain::VerificationId,
    store::{Change, CommitOutcome, RecordChange, RecordId, StoredRecord},
};
use serde_json::json;

use crate::{
    daemon::{CreatedLink, Daemon, TestStore, WAHA, World},
    login_flow::on_both_stores,
};

on_both_stores! {
    fields_of_the_next_version_survive_a_login
    a_record_in_the_next_format_is_left_to_the_next_version
}

const LOGINS: usize = 20;
/// A field number far above those in use.
const FIELD: u8 = 200;

fn record_id(link: &CreatedLink) -> RecordId {
    link.uuid.parse::<VerificationId>().unwrap().into()
}

async fn load(daemon: &Daemon, link: &CreatedLink) -> StoredRecord {
    daemon.services.env.store.load(record_id(link)).await.unwrap().unwrap()
}

fn context(stored: &StoredRecord) -> String {
    format!("record:{}", VerificationId::from(stored.id))
}

fn open(daemon: &Daemon, stored: &StoredRecord) -> Vec<u8> {
    daemon.services.env.keys.open(&context(stored), &stored.bytes[1..]).unwrap()
}

/// Writes a record with other bytes.
async fn write(daemon: &Daemon, stored: &StoredRecord, bytes: Vec<u8>) {
    let retain_until = daemon.services.env.store.now() + std::time::Duration::from_hours(3);
    let change = Change::of(RecordChange::new(stored.id, stored.version, bytes, retain_until));
    assert!(matches!(daemon.services.env.store.commit(&change).await, Ok(CommitOutcome::Applied { .. })));
}

/// Adds a field with this value, as the next version does when it changes a record.
async fn add_field(daemon: &Daemon, link: &CreatedLink, field: u8, value: &[u8]) {
    let stored = load(daemon, link).await;
    let mut plain = open(daemon, &stored);
    plain.extend([&[field, u8::try_from(value.len()).unwrap()], value].concat());
    let sealed = daemon.services.env.keys.seal(&context(&stored), &plain, [7; 24]);
    write(daemon, &stored, [&stored.bytes[..1], &sealed].concat()).await;
}

/// Whether the record holds the field with this value.
async fn has_field(daemon: &Daemon, link: &CreatedLink, field: u8, value: &[u8]) -> bool {
    let plain = open(daemon, &load(daemon, link).await);
    let entry = [&[field, u8::try_from(value.len()).unwrap()], value].concat();
    plain.windows(entry.len()).any(|window| window == entry)
}

#[expect(clippy::print_stdout, reason = "the figures of the test")]
async fn fields_of_the_next_version_survive_a_login(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\nreplies_per_second = 0\n".to_owned();
    let daemon = world.start().await;
    let mut links = Vec::new();
    for index in 0..LOGINS {
        let link = daemon.create_link(json!({})).await;
        add_field(&daemon, &link, FIELD, format!("made-{index}").as_bytes()).await;
        links.push(link);
    }
    for (index, link) in links.iter().enumerate() {
        let number = format!("4477009001{index:02}");
        assert_eq!(daemon.send_message(&number, &format!("V{index}"), &link.text).await.status, 200);
        add_field(&daemon, link, FIELD + 1, format!("verified-{index}").as_bytes()).await;
        // Delivered again, and sent by another chat: the record is written again, or left alone.
        assert_eq!(daemon.send_message(&number, &format!("V{index}"), &link.text).await.status, 200);
        assert_eq!(daemon.send_message("447700900999", &format!("X{index}"), &link.text).await.status, 200);
    }
    daemon.settle().await;
    let mut callbacks: HashMap<String, usize> = HashMap::new();
    for request in world.receiver.requests() {
        let body = request.json();
        assert_eq!(body["type"], "link.verified", "{body}");
        *callbacks.entry(body["data"]["uuid"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let lost = links.iter().filter(|link| !callbacks.contains_key(&link.uuid)).count();
    let double = callbacks.values().filter(|count| **count > 1).count();
    println!("{LOGINS} logins beside the next version: {lost} lost, {double} double");
    assert_eq!((lost, double), (0, 0));
    for (index, link) in links.iter().enumerate() {
        assert_eq!(daemon.status(&link.uuid).await, "verified");
        for (field, value) in [(FIELD, format!("made-{index}")), (FIELD + 1, format!("verified-{index}"))] {
            assert!(has_field(&daemon, link, field, value.as_bytes()).await, "{value} was dropped");
        }
    }
    daemon.finish().await;
}

async fn a_record_in_the_next_format_is_left_to_the_next_version(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    let stored = load(&daemon, &link).await;
    let mut bytes = stored.bytes.clone();
    bytes[0] = u8::MAX;
    write(&daemon, &stored, bytes.clone()).await;

    // An error, so that the gateway delivers the message again, to a replica of the next version at some time.
    let refused = daemon.send_message("447700900123", "N1", &link.text).await;
    assert!(refused.status >= 500, "{}: {}", refused.status, refused.text);
    let read = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{}", link.uuid)).await;
    assert!(read.status >= 500, "{}: {}", read.status, read.text);
    daemon.settle().await;
    let left = load(&daemon, &link).await;
    assert_eq!(left.bytes, bytes);
    assert!(world.receiver.requests().is_empty() && world.gateway.requests().is_empty());

    // The next version handles it.
    write(&daemon, &left, stored.bytes).await;
    assert_eq!(daemon.send_message("447700900123", "N1", &link.text).await.status, 200);
    assert_eq!(daemon.status(&link.uuid).await, "verified");
    daemon.settle().await;
    assert_eq!(world.receiver.requests().len(), 1);
    daemon.finish().await;
}
