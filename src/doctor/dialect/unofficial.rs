//! Webhooks of gateways that use WhatsApp's client protocol.
#![expect(clippy::unnecessary_wraps, reason = "one signature for all composers")]

use serde_json::{Value, json};

use super::{Body, Table};
use crate::gateway::{Sample, Who};

const NAME: &str = "countersign doctor";
const GROUP: &str = "120363000000000017@g.us";

/// The chat's JID. `suffix` is this gateway's server for phone numbers.
fn chat(sample: &Sample, suffix: &str) -> String {
    match sample.who {
        Who::Group => GROUP.to_owned(),
        Who::Hidden => format!("{}@lid", sample.lid),
        Who::Person | Who::Own => format!("{}{suffix}", sample.phone),
    }
}

/// The author's JID, for a message in a group.
fn author(sample: &Sample, suffix: &str) -> Option<String> {
    (sample.who == Who::Group).then(|| format!("{}{suffix}", sample.phone))
}

fn own(sample: &Sample) -> bool {
    sample.who == Who::Own
}

/// `<fromMe>_<chat>_<HEX>[_<author>]`
fn long_id(sample: &Sample) -> String {
    let (from_me, chat, hex) = (own(sample), chat(sample, "@c.us"), &sample.id);
    let author = author(sample, "@c.us").map(|author| format!("_{author}")).unwrap_or_default();
    format!("{from_me}_{chat}_{hex}{author}")
}

fn rfc3339(sample: &Sample) -> String {
    jiff::Timestamp::from_second(sample.at).unwrap_or_default().to_string()
}

fn payload_of_waha(sample: &Sample) -> Value {
    json!({
        "id": long_id(sample), "timestamp": sample.at, "from": chat(sample, "@c.us"), "fromMe": own(sample),
        "source": "app", "body": sample.text, "participant": author(sample, "@c.us"), "hasMedia": false,
        "_data": { "pushName": NAME },
    })
}

pub(super) fn waha(table: &Table, sample: &Sample) -> Option<Body> {
    // Wawp names its instances sessions.
    let session = table.text("session").or(table.text("instance_id")).unwrap_or_else(|| "default".to_owned());
    Some(Body::Json(json!({
        "id": format!("evt_{}", sample.id), "event": "message.any", "session": session, "engine": "NOWEB",
        "payload": payload_of_waha(sample),
    })))
}

pub(super) fn hypersender(table: &Table, sample: &Sample) -> Option<Body> {
    let data =
        json!({ "id": format!("evt_{}", sample.id), "event": "message.any", "payload": payload_of_waha(sample) });
    Some(Body::Json(json!({ "event": "message.any", "data": data, "instanceId": table.text("instance"), "userId": 1 })))
}

pub(super) fn evolution(table: &Table, sample: &Sample) -> Option<Body> {
    let key = json!({
        "remoteJid": chat(sample, "@s.whatsapp.net"), "fromMe": own(sample), "id": sample.id,
        "participant": author(sample, "@s.whatsapp.net"),
    });
    Some(Body::Json(json!({
        "event": "messages.upsert", "instance": table.text("instance"),
        "sender": format!("{}@s.whatsapp.net", sample.to),
        "data": {
            "key": key, "pushName": NAME, "message": { "conversation": sample.text }, "messageType": "conversation",
            "messageTimestamp": sample.at,
        },
    })))
}

pub(super) fn gowa(_: &Table, sample: &Sample) -> Option<Body> {
    let chat = chat(sample, "@s.whatsapp.net");
    Some(Body::Json(json!({
        "event": "message", "device_id": format!("{}@s.whatsapp.net", sample.to),
        "payload": {
            "id": sample.id, "from": author(sample, "@s.whatsapp.net").unwrap_or_else(|| chat.clone()), "chat_id": chat,
            "from_name": NAME, "timestamp": rfc3339(sample), "is_from_me": own(sample), "body": sample.text,
        },
    })))
}

pub(super) fn wppconnect(table: &Table, sample: &Sample) -> Option<Body> {
    let chat = chat(sample, "@c.us");
    Some(Body::Json(json!({
        "event": if own(sample) { "onselfmessage" } else { "onmessage" }, "session": table.text("session"), "id": long_id(sample),
        "type": "chat", "body": sample.text, "from": chat, "chatId": chat, "author": author(sample, "@c.us"),
        "fromMe": own(sample), "isGroupMsg": sample.who == Who::Group, "t": sample.at, "notifyName": NAME,
    })))
}

pub(super) fn wuzapi(_: &Table, sample: &Sample) -> Option<Body> {
    let chat = chat(sample, "@s.whatsapp.net");
    let info = json!({
        "ID": sample.id, "Sender": author(sample, "@s.whatsapp.net").unwrap_or_else(|| chat.clone()), "Chat": chat,
        "IsFromMe": own(sample), "IsGroup": sample.who == Who::Group, "PushName": NAME, "Timestamp": rfc3339(sample),
    });
    let event = json!({ "Info": info, "Message": { "conversation": sample.text } });
    Some(Body::Json(json!({ "type": "Message", "event": event, "instanceName": "doctor", "userID": "1" })))
}

pub(super) fn green_api(_: &Table, sample: &Sample) -> Option<Body> {
    let chat = chat(sample, "@c.us");
    let event = if own(sample) { "outgoingMessageReceived" } else { "incomingMessageReceived" };
    Some(Body::Json(json!({
        "typeWebhook": event, "timestamp": sample.at, "idMessage": sample.id,
        "senderData": {
            "sender": author(sample, "@c.us").unwrap_or_else(|| chat.clone()), "chatId": chat, "senderName": NAME,
        },
        "messageData": { "typeMessage": "textMessage", "textMessageData": { "textMessage": sample.text } },
    })))
}

pub(super) fn whapi(_: &Table, sample: &Sample) -> Option<Body> {
    let from = if sample.who == Who::Hidden { format!("{}@lid", sample.lid) } else { sample.phone.clone() };
    let message = json!({
        "id": sample.id, "from_me": own(sample), "type": "text", "chat_id": chat(sample, "@s.whatsapp.net"),
        "timestamp": sample.at, "source": "mobile", "text": { "body": sample.text }, "from": from, "from_name": NAME,
    });
    Some(Body::Json(json!({ "messages": [message], "event": { "type": "messages", "event": "post" } })))
}
