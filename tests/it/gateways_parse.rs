//! Parsing that the fixtures do not cover: LIDs, nested messages, edits, history, and secrets in URLs.

use countersign::{
    domain::Phone,
    gateway::{Gateway, IgnoreReason, Malformed, Webhook, WebhookEvent},
};
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::gateways_send::build;

const LID: &str = "190000000000117@lid";
const PHONE: &str = "447700900123@s.whatsapp.net";
const SECRET: &str = "a-webhook-secret-of-more-than-24-bytes";

fn gateway(kind: &str) -> std::sync::Arc<dyn Gateway> {
    let mut settings = json!({ "kind": kind, "url": "http://gw.test" });
    let keys: &[&str] = match kind {
        "gowa" => &["basic_auth"],
        "wppconnect" => &["api_key", "session"],
        "evolution" | "green-api" => &["api_key", "instance"],
        _ => &["api_key"],
    };
    for key in keys {
        settings[*key] = json!("x");
    }
    build(settings)
}

fn parse(kind: &str, body: &Value) -> Result<Vec<WebhookEvent>, Malformed> {
    let (headers, now, body) = (HeaderMap::new(), Timestamp::UNIX_EPOCH, body.to_string());
    let webhook =
        Webhook { method: &Method::POST, path_suffix: None, query: "", headers: &headers, body: body.as_bytes(), now };
    gateway(kind).parse(&webhook)
}

fn one(kind: &str, body: &Value) -> WebhookEvent {
    parse(kind, body).unwrap().remove(0)
}

fn evolution(key: Value, message: Value) -> Value {
    let mut key = key;
    key["id"] = json!("3A");
    let mut body = json!({ "event": "messages.upsert", "data": { "messageTimestamp": 1 } });
    (body["data"]["key"], body["data"]["message"]) = (key, message);
    body
}

fn overwrite(target: &mut Value, with: Value) {
    let Value::Object(with) = with else { unreachable!() };
    for (name, value) in with {
        target[name] = value;
    }
}

fn wuzapi(info: Value, extra: Value) -> Value {
    let mut event =
        json!({ "Info": { "ID": "3A", "Chat": PHONE, "Sender": PHONE }, "Message": { "conversation": "x" } });
    overwrite(&mut event["Info"], info);
    overwrite(&mut event, extra);
    json!({ "type": "Message", "event": event })
}

fn gowa(payload: Value) -> Value {
    let mut payload = payload;
    payload["id"] = json!("3A");
    payload["body"] = json!("x");
    payload["timestamp"] = json!("2026-09-01T13:00:00.9+03:00");
    json!({ "event": "message", "payload": payload })
}

fn wpp(from: &str) -> Value {
    json!({ "event": "onmessage", "id": format!("false_{from}_3A"), "from": from, "type": "chat", "body": "x", "t": 1 })
}

fn green(chat: &str) -> Value {
    json!({
        "typeWebhook": "incomingMessageReceived", "idMessage": "3A", "senderData": { "chatId": chat, "sender": chat },
        "messageData": { "typeMessage": "textMessage", "textMessageData": { "textMessage": "x" } },
    })
}

fn whapi(chat: &str, from: &str) -> Value {
    let message = json!({ "id": "3A", "chat_id": chat, "from": from, "type": "text", "text": { "body": "x" } });
    json!({ "event": { "type": "messages", "event": "post" }, "messages": [message] })
}

#[test]
fn a_lid_alone_never_becomes_a_phone() {
    let text = json!({ "conversation": "x" });
    for (kind, body) in [
        ("evolution", evolution(json!({ "remoteJid": LID }), text)),
        ("gowa", gowa(json!({ "chat_id": LID, "from": LID, "from_lid": LID }))),
        ("wuzapi", wuzapi(json!({ "Chat": LID, "Sender": "190000000000117:3@lid", "SenderAlt": "" }), json!({}))),
        ("wppconnect", wpp(LID)),
        ("green-api", green(LID)),
        ("whapi", whapi(LID, LID)),
        ("whapi", whapi(LID, "190000000000117")),
    ] {
        let event = one(kind, &body);
        assert_eq!((event.ignored, &event.sender.phone), (None, &None), "{kind}");
        assert_eq!(event.sender.lid(), Some("190000000000117"), "{kind}");
        assert_eq!(event.chat_id.as_deref(), Some(LID), "{kind}");
    }
}

#[test]
fn the_phone_is_found_in_every_field_that_can_hold_it() {
    let text = json!({ "conversation": "x" });
    for (kind, body) in [
        ("evolution", evolution(json!({ "remoteJid": LID, "remoteJidAlt": PHONE }), text.clone())),
        ("evolution", evolution(json!({ "remoteJid": LID, "senderPn": PHONE }), text.clone())),
        ("evolution", evolution(json!({ "remoteJid": PHONE, "remoteJidAlt": LID }), text.clone())),
        ("evolution", evolution(json!({ "remoteJid": PHONE, "previousRemoteJid": LID }), text)),
        ("gowa", gowa(json!({ "chat_id": PHONE, "from": LID }))),
        ("wuzapi", wuzapi(json!({ "Chat": LID, "Sender": LID, "SenderAlt": PHONE }), json!({}))),
    ] {
        let event = one(kind, &body);
        assert_eq!(event.sender.phone.as_ref().map(Phone::e164).as_deref(), Some("+447700900123"), "{body}");
        assert_eq!(event.sender.lid(), Some("190000000000117"), "{body}");
    }
}

#[test]
fn only_a_new_text_message_of_a_person_verifies() {
    let key = || json!({ "remoteJid": PHONE });
    let words = json!({ "conversation": "x" });
    let status = json!({ "Chat": "status@broadcast", "IsGroup": true });
    let mut picture = gowa(json!({ "chat_id": PHONE, "from": PHONE }));
    picture["payload"]["image"] = json!("statics/a.jpe");
    let mut undecrypted = green("447700900123@c.us");
    undecrypted["messageData"]["textMessageData"]["textMessage"] = json!("{{SWE001}}");
    let mut unread = wpp("447700900123@c.us");
    unread["event"] = json!("unreadmessages");
    let mut patch = whapi(PHONE, "447700900123");
    patch["event"]["event"] = json!("patch");
    for (kind, body, why) in [
        ("evolution", evolution(key(), json!({ "editedMessage": { "message": words } })), IgnoreReason::Edit),
        ("evolution", evolution(key(), json!({ "reactionMessage": { "text": "x" } })), IgnoreReason::NonText),
        ("evolution", evolution(json!({ "remoteJid": "status@broadcast" }), words.clone()), IgnoreReason::Broadcast),
        ("evolution", evolution(json!({ "remoteJid": "1@newsletter" }), words), IgnoreReason::Broadcast),
        ("evolution", json!({ "event": "messages.set", "data": [] }), IgnoreReason::Event),
        ("evolution", json!({ "event": "send.message", "data": {} }), IgnoreReason::FromMe),
        ("gowa", picture, IgnoreReason::NonText),
        ("gowa", json!({ "event": "message.edited", "payload": {} }), IgnoreReason::Edit),
        ("gowa", json!({ "event": "newsletter.message", "payload": {} }), IgnoreReason::Event),
        ("wuzapi", wuzapi(status, json!({})), IgnoreReason::Broadcast),
        ("wuzapi", wuzapi(json!({ "Edit": "1" }), json!({})), IgnoreReason::Edit),
        ("wuzapi", wuzapi(json!({}), json!({ "IsEdit": true })), IgnoreReason::Edit),
        ("wuzapi", wuzapi(json!({}), json!({ "SourceWebMsg": {} })), IgnoreReason::Event),
        ("wuzapi", wuzapi(json!({ "DeviceSentMeta": {} }), json!({})), IgnoreReason::FromMe),
        ("wuzapi", json!({ "type": "HistorySync", "event": {} }), IgnoreReason::Event),
        ("wppconnect", unread, IgnoreReason::Event),
        ("wppconnect", wpp("status@broadcast"), IgnoreReason::Broadcast),
        ("green-api", undecrypted, IgnoreReason::NonText),
        ("whapi", patch, IgnoreReason::Edit),
    ] {
        assert_eq!(one(kind, &body).ignored, Some(why), "{kind} {body}");
    }
}

#[test]
fn nested_texts_and_times_with_offsets_are_read() {
    let inner = json!({ "message": { "extendedTextMessage": { "text": "x" } } });
    let event = one("evolution", &evolution(json!({ "remoteJid": PHONE }), json!({ "ephemeralMessage": inner })));
    assert_eq!((event.ignored, event.text.as_deref()), (None, Some("x")));
    let event = one("gowa", &gowa(json!({ "chat_id": PHONE, "from": PHONE })));
    assert_eq!(event.timestamp, Some(1_788_256_800));
    let mut long = evolution(json!({ "remoteJid": PHONE }), json!({ "conversation": "x" }));
    long["data"]["messageTimestamp"] = json!({ "low": 1_788_256_800, "high": 0, "unsigned": true });
    assert_eq!(one("evolution", &long).timestamp, Some(1_788_256_800));
}

#[test]
fn messages_of_gowa_before_8_are_malformed() {
    let body = json!({ "sender_id": "447700900123", "from": PHONE, "message": { "text": "x", "id": "3A" } });
    assert!(parse("gowa", &body).is_err());
}

#[test]
fn evolution_appends_the_event_to_the_url() {
    let settings = json!({
        "kind": "evolution", "url": "http://gw.test", "api_key": "k", "instance": "i", "webhook_auth": "url-secret",
    });
    let (gateway, headers, now) = (build(settings), HeaderMap::new(), Timestamp::UNIX_EPOCH);
    let ok = |path_secret: Option<&str>, query: &str| {
        let webhook =
            Webhook { method: &Method::POST, path_suffix: path_secret, query, headers: &headers, body: b"", now };
        gateway.authenticate(&webhook).is_ok()
    };
    let (token, appended) = (format!("token={SECRET}"), format!("token={SECRET}/messages-upsert"));
    assert!(ok(Some(SECRET), "") && ok(None, &token) && ok(None, &appended));
    assert!(ok(Some("messages-upsert"), &token));
    for (path, query) in
        [(None, ""), (Some("messages-upsert"), ""), (None, "token=/"), (None, "token=x/messages-upsert")]
    {
        assert!(!ok(path, query), "{path:?} {query}");
    }
}
