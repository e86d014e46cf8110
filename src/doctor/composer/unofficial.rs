//! Webhooks of gateways that use WhatsApp's client protocol.
#![expect(clippy::unnecessary_wraps, reason = "one signature for all composers")]

use serde_json::{Value, json};

use super::{ComposedBody, Table};
use crate::gateway::{SampleMessage, SampleSender};

const PUSH_NAME: &str = "countersign doctor";
const GROUP: &str = "120363000000000017@g.us";

/// The chat's JID. `suffix` is this gateway's server for phone numbers.
fn chat(sample: &SampleMessage, suffix: &str) -> String {
    match sample.sender {
        SampleSender::Group => GROUP.to_owned(),
        SampleSender::HiddenNumber => format!("{}@lid", sample.lid),
        SampleSender::Person | SampleSender::OwnNumber => format!("{}{suffix}", sample.phone),
    }
}

/// The author's JID, for a message in a group.
fn author(sample: &SampleMessage, suffix: &str) -> Option<String> {
    (sample.sender == SampleSender::Group).then(|| format!("{}{suffix}", sample.phone))
}

fn is_from_me(sample: &SampleMessage) -> bool {
    sample.sender == SampleSender::OwnNumber
}

/// `<fromMe>_<chat>_<HEX>[_<author>]`
fn long_id(sample: &SampleMessage) -> String {
    let (from_me, chat, hex) = (is_from_me(sample), chat(sample, "@c.us"), &sample.id);
    let author = author(sample, "@c.us").map(|author| format!("_{author}")).unwrap_or_default();
    format!("{from_me}_{chat}_{hex}{author}")
}

fn rfc3339(sample: &SampleMessage) -> String {
    jiff::Timestamp::from_second(sample.timestamp).unwrap_or_default().to_string()
}

fn waha_payload(sample: &SampleMessage) -> Value {
    json!({
        "id": long_id(sample), "timestamp": sample.timestamp, "from": chat(sample, "@c.us"), "fromMe": is_from_me(sample),
        "source": "app", "body": sample.text, "participant": author(sample, "@c.us"), "hasMedia": false,
        "_data": { "pushName": PUSH_NAME },
    })
}

pub(super) fn waha(table: &Table, sample: &SampleMessage) -> Option<ComposedBody> {
    // Wawp names its instances sessions.
    let session = table.text("session").or(table.text("instance_id")).unwrap_or_else(|| "default".to_owned());
    Some(ComposedBody::Json(json!({
        "id": format!("evt_{}", sample.id), "event": "message.any", "session": session, "engine": "NOWEB",
        "payload": waha_payload(sample),
    })))
}

pub(super) fn hypersender(table: &Table, sample: &SampleMessage) -> Option<ComposedBody> {
    let data = json!({ "id": format!("evt_{}", sample.id), "event": "message.any", "payload": waha_payload(sample) });
    Some(ComposedBody::Json(
        json!({ "event": "message.any", "data": data, "instanceId": table.text("instance"), "userId": 1 }),
    ))
}

pub(super) fn evolution(table: &Table, sample: &SampleMessage) -> Option<ComposedBody> {
    let key = json!({
        "remoteJid": chat(sample, "@s.whatsapp.net"), "fromMe": is_from_me(sample), "id": sample.id,
        "participant": author(sample, "@s.whatsapp.net"),
    });
    Some(ComposedBody::Json(json!({
        "event": "messages.upsert", "instance": table.text("instance"),
        "sender": format!("{}@s.whatsapp.net", sample.to),
        "data": {
            "key": key, "pushName": PUSH_NAME, "message": { "conversation": sample.text }, "messageType": "conversation",
            "messageTimestamp": sample.timestamp,
        },
    })))
}

pub(super) fn gowa(_: &Table, sample: &SampleMessage) -> Option<ComposedBody> {
    let chat = chat(sample, "@s.whatsapp.net");
    Some(ComposedBody::Json(json!({
        "event": "message", "device_id": format!("{}@s.whatsapp.net", sample.to),
        "payload": {
            "id": sample.id, "from": author(sample, "@s.whatsapp.net").unwrap_or_else(|| chat.clone()), "chat_id": chat,
            "from_name": PUSH_NAME, "timestamp": rfc3339(sample), "is_from_me": is_from_me(sample), "body": sample.text,
        },
    })))
}

pub(super) fn wppconnect(table: &Table, sample: &SampleMessage) -> Option<ComposedBody> {
    let chat = chat(sample, "@c.us");
    Some(ComposedBody::Json(json!({
        "event": if is_from_me(sample) { "onselfmessage" } else { "onmessage" }, "session": table.text("session"), "id": long_id(sample),
        "type": "chat", "body": sample.text, "from": chat, "chatId": chat, "author": author(sample, "@c.us"),
        "fromMe": is_from_me(sample), "isGroupMsg": sample.sender == SampleSender::Group, "t": sample.timestamp, "notifyName": PUSH_NAME,
    })))
}

/// The event of whatsmeow, the library of several gateways.
fn whatsmeow(sample: &SampleMessage) -> Value {
    let chat = chat(sample, "@s.whatsapp.net");
    let info = json!({
        "ID": sample.id, "Sender": author(sample, "@s.whatsapp.net").unwrap_or_else(|| chat.clone()), "Chat": chat,
        "IsFromMe": is_from_me(sample), "IsGroup": sample.sender == SampleSender::Group, "PushName": PUSH_NAME, "Timestamp": rfc3339(sample),
    });
    json!({ "Info": info, "Message": { "conversation": sample.text } })
}

pub(super) fn wuzapi(_: &Table, sample: &SampleMessage) -> Option<ComposedBody> {
    Some(ComposedBody::Json(
        json!({ "type": "Message", "event": whatsmeow(sample), "instanceName": "doctor", "userID": "1" }),
    ))
}

pub(super) fn evolution_go(table: &Table, sample: &SampleMessage) -> Option<ComposedBody> {
    Some(ComposedBody::Json(json!({
        "event": "Message", "data": whatsmeow(sample), "instanceToken": table.text("api_key"), "instanceName": "doctor",
    })))
}

pub(super) fn green_api(_: &Table, sample: &SampleMessage) -> Option<ComposedBody> {
    let chat = chat(sample, "@c.us");
    let event = if is_from_me(sample) { "outgoingMessageReceived" } else { "incomingMessageReceived" };
    Some(ComposedBody::Json(json!({
        "typeWebhook": event, "timestamp": sample.timestamp, "idMessage": sample.id,
        "senderData": {
            "sender": author(sample, "@c.us").unwrap_or_else(|| chat.clone()), "chatId": chat, "senderName": PUSH_NAME,
        },
        "messageData": { "typeMessage": "textMessage", "textMessageData": { "textMessage": sample.text } },
    })))
}

pub(super) fn whapi(_: &Table, sample: &SampleMessage) -> Option<ComposedBody> {
    let from =
        if sample.sender == SampleSender::HiddenNumber { format!("{}@lid", sample.lid) } else { sample.phone.clone() };
    let message = json!({
        "id": sample.id, "from_me": is_from_me(sample), "type": "text", "chat_id": chat(sample, "@s.whatsapp.net"),
        "timestamp": sample.timestamp, "source": "mobile", "text": { "body": sample.text }, "from": from, "from_name": PUSH_NAME,
    });
    Some(ComposedBody::Json(json!({ "messages": [message], "event": { "type": "messages", "event": "post" } })))
}
