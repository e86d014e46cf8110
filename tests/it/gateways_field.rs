//! What was reported about one gateway, in the form in which the others can meet it: the results must agree.

use countersign::gateway::{Gateway, IgnoreReason, ReceiptStatus, Webhook, WebhookEvent};
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::gateways::{all_cases, build, cases};

fn parse(gateway: &dyn Gateway, body: &[u8]) -> Vec<WebhookEvent> {
    let now = Timestamp::from_second(1_788_256_803).unwrap();
    let headers = HeaderMap::new();
    let webhook = Webhook { method: &Method::POST, path_suffix: None, query: "", headers: &headers, body, now };
    gateway.parse(&webhook).unwrap_or_else(|why| vec![WebhookEvent::malformed(&why)])
}

/// The gateway of a recorded webhook, and its body.
fn recorded(name: &str) -> (std::sync::Arc<dyn Gateway>, Value) {
    let (kind, _) = name.split_once('/').unwrap();
    let case = cases(kind).into_iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no {name}"));
    (build(kind, &case.expect), serde_json::from_slice(&case.decoded()).unwrap())
}

/// The events of a recorded webhook with `value` at `pointer`.
fn changed(name: &str, changes: &[(&str, Value)]) -> Vec<WebhookEvent> {
    let (gateway, mut body) = recorded(name);
    for (pointer, value) in changes {
        *body.pointer_mut(pointer).unwrap_or_else(|| panic!("{name} has no {pointer}")) = value.clone();
    }
    parse(&*gateway, body.to_string().as_bytes())
}

/// Resellers of Meta relay its webhooks unchanged.
#[test]
fn meta_and_its_resellers_read_the_same() {
    let [meta, dialog, gupshup] = ["cloud-api/text_bracketed", "360dialog/text", "gupshup-v3/text"].map(recorded);
    let mut compared = 0;
    for kind in ["cloud-api", "360dialog", "gupshup-v3"] {
        for case in cases(kind).into_iter().filter(|case| case.expect["method"] == "POST") {
            let events = parse(&*meta.0, &case.body);
            assert_eq!(parse(&*dialog.0, &case.body), events, "{}", case.name);
            assert_eq!(parse(&*gupshup.0, &case.body), events, "{}", case.name);
            compared += 1;
        }
    }
    assert!(compared > 30, "{compared}");
}

/// Wawp and Hypersender post WAHA's payloads, Hypersender one level deeper.
#[test]
fn waha_and_its_relatives_read_the_same() {
    let (wawp, _) = recorded("wawp/text");
    let (hypersender, _) = recorded("hypersender/text");
    let mut compared = 0;
    for kind in ["waha", "wawp", "hypersender"] {
        for case in cases(kind) {
            let Ok(read) = serde_json::from_slice::<Value>(&case.decoded()) else { continue };
            let flat = if kind == "hypersender" { &read["data"] } else { &read };
            let (event, me, payload) = (&read["event"], &flat["me"], &flat["payload"]);
            let genuine = parse(&*build(kind, &case.expect), &case.decoded());
            let of_wawp = json!({ "event": event, "session": "FIXTUREINSTANCE", "me": me, "payload": payload });
            let of_hypersender = json!({ "event": event, "instanceId": "fixture-instance-uuid",
                "data": { "event": event, "me": me, "payload": payload } });
            assert_eq!(parse(&*wawp, of_wawp.to_string().as_bytes()), genuine, "{}", case.name);
            assert_eq!(parse(&*hypersender, of_hypersender.to_string().as_bytes()), genuine, "{}", case.name);
            compared += 1;
        }
    }
    assert!(compared > 40, "{compared}");
}

/// Where the gateways that post WhatsApp's own messages put them.
const MESSAGES: &[(&str, &str)] = &[
    ("evolution/text_conversation", "/data/message"),
    ("evolution-go/text", "/data/Message"),
    ("evolution/evolution_go_message", "/data/Message"),
    ("wuzapi/text_json", "/event/Message"),
    ("waha/text_noweb", "/payload/_data/message"),
    ("waha/text_gows_extended", "/payload/_data/Message"),
    ("wawp/text", "/payload/_data/message"),
    ("hypersender/text", "/data/payload/_data/message"),
];

#[test]
fn one_message_of_whatsapp_is_read_alike_by_every_gateway() {
    let text = json!({ "conversation": "[K7QXM2PD]" });
    let image = json!({ "imageMessage": { "caption": "[K7QXM2PD]" } });
    let (none, edit, other) = (None, Some(IgnoreReason::Edit), Some(IgnoreReason::NonText));
    let messages = [
        (text.clone(), none),
        (json!({ "extendedTextMessage": { "text": "[K7QXM2PD]" } }), none),
        (json!({ "ephemeralMessage": { "message": text } }), none),
        (json!({ "viewOnceMessageV2": { "message": { "ephemeralMessage": { "message": text } } } }), none),
        (json!({ "editedMessage": { "message": text } }), edit),
        (json!({ "protocolMessage": { "type": 14, "editedMessage": text } }), edit),
        (json!({ "ephemeralMessage": { "message": { "protocolMessage": { "editedMessage": text } } } }), edit),
        (json!({ "editedMessage": { "message": { "protocolMessage": { "editedMessage": text } } } }), edit),
        (json!({ "secretEncryptedMessage": { "encPayload": "AA==", "secretEncType": 2 } }), other),
        (json!({ "templateButtonReplyMessage": { "selectedDisplayText": "[K7QXM2PD]" } }), other),
        (json!({ "buttonsResponseMessage": { "selectedDisplayText": "[K7QXM2PD]" } }), other),
        (json!({ "listResponseMessage": { "title": "[K7QXM2PD]" } }), other),
        (json!({ "reactionMessage": { "text": "[K7QXM2PD]" } }), other),
        (image.clone(), other),
        (json!({ "ephemeralMessage": { "message": image } }), other),
        (
            json!({ "documentWithCaptionMessage": { "message": { "documentMessage": { "caption": "[K7QXM2PD]" } } } }),
            other,
        ),
        // The text could not be decrypted, and follows under the same id.
        (json!({}), other),
    ];
    for (name, pointer) in MESSAGES {
        for (message, wanted) in &messages {
            let mut changes = vec![(*pointer, message.clone())];
            // WAHA has extracted the text itself; where it has not, `body` is null.
            let body = pointer.strip_suffix("_data/message").or(pointer.strip_suffix("_data/Message"));
            let body = body.map(|payload| format!("{payload}body"));
            changes.extend(body.as_ref().map(|body| (body.as_str(), Value::Null)));
            let events = changed(name, &changes);
            assert_eq!((events.len(), events[0].ignored), (1, *wanted), "{name}: {message}");
            let text = wanted.is_none().then(|| "[K7QXM2PD]".to_owned());
            assert_eq!(events[0].text, text, "{name}: {message}");
        }
    }
}

/// A person taps a button, whose words are ours: nobody wrote them.
#[test]
fn a_tapped_button_verifies_with_no_gateway() {
    const CODE: &str = "[K7QXM2PD]";
    let twilio = |kind: &str| {
        format!("MessageSid=SM1&SmsStatus=received&From=whatsapp%3A%2B447700900123&Body={CODE}&MessageType={kind}")
    };
    for kind in ["button", "interactive"] {
        let case = cases("twilio").remove(0);
        let events = parse(&*build("twilio", &case.expect), twilio(kind).as_bytes());
        assert_eq!(events[0].ignored, Some(IgnoreReason::NonText), "twilio {kind}");
    }
    for (name, changes) in [
        ("vonage/text", vec![("/message_type", json!("button"))]),
        ("vonage/text", vec![("/message_type", json!("reply"))]),
        (
            "bird/text",
            vec![("/payload/body", json!({ "type": "actions", "actions": { "postback": { "text": CODE } } }))],
        ),
        (
            "infobip/text_and_image",
            vec![("/results/0/message", json!({ "type": "BUTTON", "text": CODE, "payload": CODE }))],
        ),
        (
            "infobip/text_and_image",
            vec![("/results/0/message", json!({ "type": "INTERACTIVE_BUTTON_REPLY", "id": "1", "title": CODE }))],
        ),
        (
            "gupshup/text_v2",
            vec![("/payload/type", json!("button_reply")), ("/payload/payload", json!({ "title": CODE }))],
        ),
        (
            "gupshup/text_v2",
            vec![("/payload/type", json!("quick_reply")), ("/payload/payload", json!({ "text": CODE }))],
        ),
        (
            "green-api/text",
            vec![(
                "/messageData",
                json!({ "typeMessage": "templateButtonsReplyMessage", "templateButtonReplyMessage":
                    { "stanzaId": "1", "selectedId": "1", "selectedDisplayText": CODE } }),
            )],
        ),
        ("whapi/text", vec![("/messages/0/type", json!("reply")), ("/messages/0/text", Value::Null)]),
        ("wppconnect/text", vec![("/type", json!("template_button_reply"))]),
        ("wppconnect/text", vec![("/type", json!("buttons_response"))]),
        ("z-api/text", vec![("/text", json!({ "buttonsResponseMessage": { "buttonId": "1", "message": CODE } }))]),
    ] {
        let events = changed(name, &changes);
        assert_eq!(events[0].ignored, Some(IgnoreReason::NonText), "{name} {changes:?}");
        assert_eq!(events.iter().filter(|event| event.ignored.is_none()).count(), 0, "{name} {changes:?}");
    }
}

/// A report of several messages, of which only the last is ours; and one of a message that we read ourselves.
#[test]
fn a_report_of_several_messages_is_read_whole() {
    let ids = json!(["OTHER1", "OTHER2", "OURS"]);
    let each = |item: &dyn Fn(&str) -> Value| Value::Array(["OTHER1", "OTHER2", "OURS"].map(item).to_vec());
    let status = |id: &str| json!({ "id": id, "status": "delivered", "code": 3 });
    let infobip = |id: &str| json!({ "messageId": id, "status": { "groupName": "DELIVERED" }, "to": "447700900123" });
    let update = |id: &str| json!({ "keyId": id, "fromMe": true, "status": "DELIVERY_ACK" });
    for (name, pointer, value) in [
        ("z-api/status_of_several", "/ids", ids.clone()),
        ("gowa/ack", "/payload/ids", ids.clone()),
        ("wuzapi/receipt_json", "/event/MessageIDs", ids.clone()),
        ("evolution-go/receipt_delivered", "/data/MessageIDs", ids),
        ("cloud-api/status_delivered", "/entry/0/changes/0/value/statuses", each(&status)),
        ("360dialog/status_failed", "/entry/0/changes/0/value/statuses", each(&status)),
        ("gupshup-v3/status_failed", "/entry/0/changes/0/value/statuses", each(&status)),
        ("whapi/status", "/statuses", each(&status)),
        ("infobip/delivery_reports", "/results", each(&infobip)),
        ("evolution/update_read", "/data", each(&update)),
    ] {
        let receipts: Vec<_> =
            changed(name, &[(pointer, value)]).into_iter().filter_map(|event| event.receipt).collect();
        let ids: Vec<&str> = receipts.iter().map(|receipt| receipt.message_id.as_str()).collect();
        assert_eq!(ids, ["OTHER1", "OTHER2", "OURS"], "{name}");
        assert!(receipts.iter().all(|receipt| receipt.status == ReceiptStatus::Delivered), "{name}");
    }
    for (name, pointer, word) in [
        ("z-api/status_of_several", "/status", "READ_BY_ME"),
        ("gowa/ack", "/payload/receipt_type", "read-self"),
        ("wuzapi/receipt_json", "/state", "ReadSelf"),
        ("evolution-go/receipt_delivered", "/state", "ReadSelf"),
    ] {
        let events = changed(name, &[(pointer, json!(word))]);
        assert!(events.iter().all(|event| event.receipt.is_none()), "{name} {word}");
        assert!(events.iter().all(|event| event.ignored == Some(IgnoreReason::Status)), "{name} {word}");
    }
}

/// The user ids of a managed portfolio have another form.
#[test]
fn the_longer_form_of_a_user_id_is_known_everywhere() {
    const BSUID: &str = "BR.ENT.10000000000002";
    for name in ["cloud-api/no_phone_anywhere", "360dialog/hidden_number", "gupshup-v3/hidden_number"] {
        let value = "/entry/0/changes/0/value";
        let (contact, sender) = (format!("{value}/contacts/0/user_id"), format!("{value}/messages/0/from_user_id"));
        let event = changed(name, &[(&contact, json!(BSUID)), (&sender, json!(BSUID))]).remove(0);
        assert_eq!((event.sender.phone.is_none(), event.sender.bsuid()), (true, Some(BSUID)), "{name}");
    }
    let vonage = changed("vonage/text", &[("/from", json!(BSUID))]).remove(0);
    assert_eq!((vonage.sender.phone.is_none(), vonage.sender.bsuid()), (true, Some(BSUID)));
    let case = cases("twilio").into_iter().find(|case| case.name.ends_with("bsuid_from_external_user_id")).unwrap();
    let form = String::from_utf8(case.body.clone()).unwrap();
    let known = case.expect["expect"]["bsuid"].as_str().unwrap();
    assert!(form.contains(known), "{form}");
    let event = parse(&*build("twilio", &case.expect), form.replace(known, BSUID).as_bytes()).remove(0);
    assert_eq!((event.sender.phone.is_none(), event.sender.bsuid()), (true, Some(BSUID)));
}

/// Gateways add members without a word.
#[test]
fn unknown_members_change_nothing() {
    let mut messages = 0;
    for (kind, case) in all_cases() {
        let gateway = build(kind, &case.expect);
        let Ok(mut body) = serde_json::from_slice::<Value>(&case.decoded()) else { continue };
        let genuine = parse(&*gateway, body.to_string().as_bytes());
        messages += genuine.iter().filter(|event| event.ignored.is_none()).count();
        add_members(&mut body);
        assert_eq!(parse(&*gateway, body.to_string().as_bytes()), genuine, "{}", case.name);
    }
    assert!(messages > 60, "{messages}");
}

/// Adds a member to every object.
fn add_members(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(add_members);
            members.insert("addedIn2027".to_owned(), json!({ "text": "[ZZZZZZZZ]", "id": 7 }));
        }
        Value::Array(items) => items.iter_mut().for_each(add_members),
        _ => {}
    }
}
