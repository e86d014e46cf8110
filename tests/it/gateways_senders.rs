//! The sender of a message: only an identity that the gateway vouches for, and never the own number.

use countersign::gateway::{IgnoreReason, ReceiptStatus, Refusal, Webhook, WebhookEvent};
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::gateways_replies::{build, settings};

fn with(kind: &str, more: &Value) -> Value {
    let mut settings = settings(kind);
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    settings
}

fn read(kind: &str, more: &Value, body: &[u8]) -> Result<WebhookEvent, String> {
    let settings = with(kind, more);
    let (headers, now) = (HeaderMap::new(), Timestamp::UNIX_EPOCH);
    let webhook = Webhook { method: &Method::POST, path_suffix: None, query: "", headers: &headers, body, now };
    let events = build(kind, &settings).unwrap().parse(&webhook).map_err(|error| error.to_string())?;
    let [event] = <[WebhookEvent; 1]>::try_from(events).unwrap();
    Ok(event)
}

#[track_caller]
fn expect(event: &WebhookEvent, ignored: Option<IgnoreReason>, phone: Option<&str>) {
    assert_eq!(event.ignored, ignored);
    assert_eq!(event.sender.phone.as_ref().map(countersign::domain::Phone::e164).as_deref(), phone);
}

const NAMED: Option<&str> = Some("+447700900123");

/// `body` with `value` at `pointer`.
fn changed(body: &Value, pointer: &str, value: Value) -> Vec<u8> {
    let mut body = body.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[key] = value;
    body.to_string().into_bytes()
}

fn fixture(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(format!("tests/fixtures/gateways/{path}.json")).unwrap()).unwrap()
}

#[test]
fn twilio() {
    let form = |changes: &[(&str, &str)]| {
        let genuine = [
            ("MessageSid", "SM1"),
            ("SmsStatus", "received"),
            ("From", "whatsapp:+447700900123"),
            ("Body", "[K7QXM2PD]"),
            ("NumMedia", "0"),
            ("MessageType", "text"),
        ];
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(genuine.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| name == changed)));
        body.extend_pairs(changes.iter().filter(|(_, value)| !value.is_empty()));
        body.finish().into_bytes()
    };
    let event = |changes: &[(&str, &str)]| read("twilio", &json!({}), &form(changes)).unwrap();
    expect(&event(&[]), None, NAMED);
    // Short codes, alphanumeric senders, and unknown forms.
    let sms = json!({ "sms_verifies": true });
    for from in ["12345", "8850123", "NORTHWIND", "+12345", "whatsapp:447700900123", "whatsapp:+44x"] {
        expect(&read("twilio", &sms, &form(&[("From", from)])).unwrap(), None, None);
    }
    let unnamed = event(&[("From", "whatsapp:GB.10000000000001")]);
    assert_eq!((unnamed.sender.phone.is_none(), unnamed.sender.bsuid()), (true, Some("GB.10000000000001")));
    assert_eq!(read("twilio", &sms, &form(&[("From", "GB.10000000001")])).unwrap().sender.bsuid(), None);
    let both = event(&[("ExternalUserId", "GB.10000000000001"), ("WaId", "447700900123")]);
    assert_eq!((both.sender.phone.is_some(), both.sender.bsuid()), (true, Some("GB.10000000000001")));
    expect(&event(&[("WaId", "12025550187")]), Some(IgnoreReason::SendersDiffer), None);
    // An image with a caption and a tapped button are not text messages.
    for change in [("NumMedia", "1"), ("MessageType", "button"), ("Body", "")] {
        expect(&event(&[change]), Some(IgnoreReason::NonText), NAMED);
    }
    for change in [("SmsStatus", "delivered"), ("MessageStatus", "read"), ("SmsStatus", "")] {
        expect(&event(&[change]), Some(IgnoreReason::Status), None);
    }
    assert!(read("twilio", &json!({}), &form(&[("From", "+447700900123"), ("From", "+12025550187")])).is_err());
    let forged = form(&[("From", "+447700900123")]);
    for whatsapp in [
        json!({ "from": "whatsapp:+12025550142" }),
        json!({ "from": "+12025550142", "channel": "whatsapp" }),
        json!({ "from": null, "messaging_service_sid": "MG1", "channel": "whatsapp" }),
        json!({ "from": null, "messaging_service_sid": "MG1" }),
        json!({ "from": "+12025550142" }),
    ] {
        expect(&read("twilio", &whatsapp, &form(&[])).unwrap(), None, NAMED);
        expect(&read("twilio", &whatsapp, &forged).unwrap(), Some(IgnoreReason::Sms), None);
    }
    let accepted = read("twilio", &sms, &forged).unwrap();
    expect(&accepted, None, NAMED);
    assert!(accepted.forgeable && !event(&[]).forgeable);
    let refused = with("twilio", &json!({ "from": "whatsapp:+12025550142", "sms_verifies": true }));
    assert!(build("twilio", &refused).is_err_and(|why| why.contains("sms_verifies")));
}

#[test]
fn vonage() {
    let text = fixture("vonage/text");
    let event = |pointer: &str, value: Value| read("vonage", &json!({}), &changed(&text, pointer, value)).unwrap();
    expect(&event("/to", json!("12025550142")), None, NAMED);
    for channel in ["sms", "messenger", "viber_service", "instagram"] {
        expect(&event("/channel", json!(channel)), Some(IgnoreReason::Event), None);
    }
    let unnamed = event("/from", json!("GB.10000000000001"));
    assert_eq!((unnamed.sender.phone.is_none(), unnamed.sender.bsuid()), (true, Some("GB.10000000000001")));
    let unnamed = event("/from", Value::Null);
    assert_eq!((unnamed.sender.subject(), unnamed.chat_id), (None, None));
    for kind in ["reaction", "unsupported", "button", "reply"] {
        expect(&event("/message_type", json!(kind)), Some(IgnoreReason::NonText), NAMED);
    }
    let sms = fixture("vonage/sms_text");
    let forged = changed(&sms, "/from", json!("GB.1000"));
    let sms_verifies = json!({ "channel": "sms", "sms_verifies": true });
    assert_eq!(read("vonage", &sms_verifies, &forged).unwrap().sender.subject(), None);
    assert!(read("vonage", &sms_verifies, sms.to_string().as_bytes()).unwrap().forgeable);
    expect(
        &read("vonage", &json!({ "channel": "sms" }), sms.to_string().as_bytes()).unwrap(),
        Some(IgnoreReason::Sms),
        None,
    );
}

#[test]
fn bird() {
    let text = fixture("bird/text");
    let own = json!({ "channel_id": "60deb2b8-1cba-49c8-8c38-0e0d57fa4500" });
    let event = |pointer: &str, value: Value| read("bird", &own, &changed(&text, pointer, value)).unwrap();
    expect(&event("/service", json!("channels")), None, NAMED);
    expect(&event("/payload/channelId", json!("another")), Some(IgnoreReason::AnotherNumber), NAMED);
    expect(&event("/event", json!("sms.inbound")), Some(IgnoreReason::Event), None);
    expect(&event("/payload/direction", Value::Null), Some(IgnoreReason::FromMe), None);
    expect(&event("/payload/body/type", json!("image")), Some(IgnoreReason::NonText), NAMED);
    expect(&event("/payload/sender/contact/identifierKey", json!("emailaddress")), None, None);
    let bsuid = event("/payload/meta/extraInformation/whatsappbsuid", json!("GB.10000000000001"));
    assert_eq!(bsuid.sender.bsuid(), Some("GB.10000000000001"));
    assert_eq!(event("/payload/status", json!("delivered")).receipt, None, "a received message has no receipt");

    let failed = fixture("bird/delivery_failed");
    let failing = json!({ "channel_id": failed["payload"]["channelId"] });
    let progress = |pointer: &str, value: Value| {
        let event = read("bird", &failing, &changed(&failed, pointer, value)).unwrap();
        assert_eq!(event.ignored, Some(IgnoreReason::FromMe), "a delivery status verifies nothing");
        event.receipt.map(|receipt| receipt.status)
    };
    assert_eq!(
        progress("/payload/failure/source/code", json!("131026")),
        Some(ReceiptStatus::Failed(Refusal::NotOnWhatsApp))
    );
    let permanent = Some(ReceiptStatus::Failed(Refusal::Permanent));
    assert_eq!(progress("/payload/failure/source/name", json!("sms-messagebird")), permanent);
    assert_eq!(progress("/payload/failure", Value::Null), permanent);
    assert_eq!(
        progress("/payload/status", json!("sending_failed")),
        Some(ReceiptStatus::Failed(Refusal::WindowClosed))
    );
    for nothing_new in ["accepted", "processing", "Zugestellt", ""] {
        assert_eq!(progress("/payload/status", json!(nothing_new)), None, "{nothing_new}");
    }
}

#[test]
fn chatwoot() {
    let text = fixture("chatwoot/incoming");
    let event_with =
        |more: &Value, pointer: &str, value: Value| read("chatwoot", more, &changed(&text, pointer, value)).unwrap();
    let event = |pointer: &str, value: Value| event_with(&json!({}), pointer, value);
    expect(&event("/private", json!(false)), None, NAMED);
    expect(&event("/private", json!(true)), Some(IgnoreReason::FromMe), None);
    expect(&event("/sender/type", json!("agent_bot")), Some(IgnoreReason::FromMe), None);
    expect(&event("/message_type", json!("template")), Some(IgnoreReason::FromMe), None);
    expect(&event("/message_type", json!("activity")), Some(IgnoreReason::Event), NAMED);
    expect(&event("/event", json!("message_updated")), Some(IgnoreReason::Event), None);
    expect(&event("/attachments", json!([{ "file_type": "image" }])), Some(IgnoreReason::NonText), NAMED);
    // Agents can edit a contact's number; only the channel's id is trusted.
    expect(&event("/sender/phone_number", json!("+12025550187")), None, NAMED);
    expect(&event("/conversation/contact_inbox/source_id", json!("GB.10000000000001")), None, None);
    // Visitors of a website choose their own numbers and ids.
    for channel in ["Channel::WebWidget", "Channel::Api", "Channel::Sms", "Channel::TwilioSms"] {
        expect(&event("/conversation/channel", json!(channel)), Some(IgnoreReason::Event), None);
    }
    let mut twilio = text.clone();
    twilio["conversation"]["channel"] = json!("Channel::TwilioSms");
    let source = changed(&twilio, "/conversation/contact_inbox/source_id", json!("whatsapp:+447700900123"));
    expect(&read("chatwoot", &json!({}), &source).unwrap(), None, NAMED);
    for channel in ["Channel::WebWidget", "Channel::Api", "Channel::Email"] {
        let inbox = json!({ "inbox_id": 3 });
        expect(&event_with(&inbox, "/conversation/channel", json!(channel)), Some(IgnoreReason::Event), None);
        let trusted = json!({ "inbox_id": 3, "trust_contact_phone": true });
        let event = event_with(&trusted, "/conversation/channel", json!(channel));
        expect(&event, None, NAMED);
        assert!(event.forgeable);
    }
    expect(&event_with(&json!({ "inbox_id": 3 }), "/inbox/id", json!(4)), Some(IgnoreReason::AnotherNumber), NAMED);
    expect(&event("/account/id", json!(2)), Some(IgnoreReason::AnotherNumber), NAMED);
    assert_eq!(event("/source_id", Value::Null).message_id.as_deref(), Some("501"));
    assert_eq!(event("/created_at", json!(1_788_256_800)).timestamp, Some(1_788_256_800));
}

#[test]
fn hypersender_and_wawp() {
    let text = fixture("hypersender/text");
    let own = json!({ "instance": "fixture-instance-uuid" });
    let event = |pointer: &str, value: Value| read("hypersender", &own, &changed(&text, pointer, value)).unwrap();
    expect(&event("/event", json!("messages.any")), None, NAMED);
    expect(&event("/event", Value::Null), None, NAMED);
    expect(&event("/instanceId", json!("another")), Some(IgnoreReason::AnotherNumber), NAMED);
    expect(&event("/event", json!("messages.ack")), Some(IgnoreReason::Status), None);
    for name in ["message.phone.received", "message.revoked", "message.waiting", "poll.vote"] {
        expect(&event("/event", json!(name)), Some(IgnoreReason::Event), None);
    }
    let hidden = event("/data/payload/from", json!("190000000000117@lid"));
    assert_eq!((hidden.sender.phone.is_none(), hidden.sender.lid()), (true, Some("190000000000117")));
    expect(&event("/data/payload/from", json!("status@broadcast")), Some(IgnoreReason::Broadcast), None);
    let mut known = text.clone();
    known["data"]["payload"]["from"] = json!("190000000000117@lid");
    known["data"]["payload"]["_data"]["key"]["remoteJidAlt"] = json!("447700900123@s.whatsapp.net");
    expect(&read("hypersender", &own, known.to_string().as_bytes()).unwrap(), None, NAMED);
    let wawp = fixture("wawp/text");
    expect(
        &read("wawp", &json!({}), &changed(&wawp, "/payload/fromMe", json!(true))).unwrap(),
        Some(IgnoreReason::FromMe),
        None,
    );
}

/// 360dialog does not document whether its signature has Meta's prefix.
#[test]
fn the_prefix_of_360dialog_is_optional() {
    let (body, expect) = (fixture("360dialog/text").to_string(), fixture("360dialog/text.expect"));
    let written = std::fs::read("tests/fixtures/gateways/360dialog/text.json").unwrap();
    let mac = expect["headers"]["x-360dialog-signature"].as_str().unwrap();
    let gateway =
        build("360dialog", &json!({ "api_key": "k", "webhook_secret": expect["signing"]["secret"] })).unwrap();
    let accepts = |signature: String, body: &[u8]| {
        let mut headers = HeaderMap::new();
        headers.insert("x-360dialog-signature", signature.parse().unwrap());
        let (method, now) = (&Method::POST, Timestamp::UNIX_EPOCH);
        let webhook = Webhook { method, path_suffix: None, query: "", headers: &headers, body, now };
        gateway.authenticate(&webhook).is_ok()
    };
    for prefix in ["", "sha256="] {
        assert!(accepts(format!("{prefix}{mac}"), &written));
        assert!(!accepts(format!("{prefix}{}", mac.to_uppercase()), &written));
        assert!(!accepts(format!("{prefix}{mac}"), format!("{body} ").as_bytes()));
    }
    assert!(!accepts(format!("sha256=sha256={mac}"), &written));
    assert!(!accepts(format!("sha1={mac}"), &written));
}

#[test]
fn standby_messages_of_360dialog_are_read() {
    let text = fixture("360dialog/text");
    let standby = changed(&text, "/entry/0/changes/0/field", json!("standby"));
    expect(&read("360dialog", &json!({}), &standby).unwrap(), None, NAMED);
}
