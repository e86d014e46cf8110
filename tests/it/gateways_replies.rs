//! The request that each hosted gateway is sent for a text message.

use std::sync::Arc;

use countersign::{
    domain::Subject,
    gateway::{self, ButtonMessage, CodeMessage, Gateway, Purpose},
    reader::Table,
};
use http::Method;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

const SECRET: &str = "a-webhook-secret-of-24-bytes-or-more";
const TEXT: &str = "Welcome to Café & Söhne: https://a.example/?b=1\n*ok*";

fn table(kind: &str, settings: &Value) -> Map<String, Value> {
    let mut table = settings.as_object().unwrap().clone();
    table.insert("kind".to_owned(), json!(kind));
    table.entry("webhook_secret").or_insert(json!(SECRET));
    table
}

pub(crate) fn build(kind: &str, settings: &Value) -> Result<Arc<dyn Gateway>, String> {
    let table = Table::new("gateway", table(kind, settings));
    let built = gateway::build(&table, Purpose::Serve, "https://verify.example.test/hook");
    built.map_err(|faults| faults.to_string())
}

/// The settings that sending requires.
pub(crate) fn settings(kind: &str) -> Value {
    match kind {
        "cloud-api" => json!({ "access_token": "key", "phone_number_id": 777 }),
        "360dialog" | "whapi" => json!({ "api_key": "key" }),
        "gupshup-v3" => json!({ "api_key": "key", "app_id": "app-1" }),
        "waha" => json!({ "api_key": "key", "url": "http://waha:3000/" }),
        "hypersender" => json!({ "api_key": "key", "instance": "5f0c2a90" }),
        "wawp" => json!({ "access_token": "key", "instance_id": "I1" }),
        "twilio" => json!({ "account_sid": "AC1", "from": "+12025550142" }),
        "vonage" => json!({ "api_key": "key", "api_secret": "pass", "from": "12025550142" }),
        "bird" => json!({ "workspace_id": "w", "channel_id": "c", "access_key": "key" }),
        "green-api" => json!({ "api_key": "key", "instance": "1100000777" }),
        "chatwoot" => json!({ "url": "https://cw.example.test", "account_id": 1, "api_key": "key" }),
        other => panic!("{other}"),
    }
}

fn with(kind: &str, more: &Value) -> Value {
    let mut settings = settings(kind);
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}

pub(crate) fn gateway(kind: &str) -> Arc<dyn Gateway> {
    build(kind, &settings(kind)).unwrap()
}

/// A form as an object of its fields, else JSON.
fn body(request: &http::Request<Vec<u8>>) -> Value {
    match request.headers()["content-type"].to_str().unwrap() {
        "application/json" => serde_json::from_slice(request.body()).unwrap(),
        "application/x-www-form-urlencoded" => {
            let fields = form_urlencoded::parse(request.body()).into_owned();
            Value::Object(fields.map(|(name, value)| (name, json!(value))).collect())
        }
        other => panic!("{other}"),
    }
}

#[track_caller]
fn sends(kind: &str, more: &Value, chat: &str, url: &str, header: (&str, &str), wanted: &Value) {
    let gateway = build(kind, &with(kind, more)).unwrap();
    let subject = chat.parse::<countersign::domain::Chat>().ok().map(|chat| chat.subject().clone());
    let request = gateway.text_message(chat, subject.as_ref(), TEXT);
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.uri().to_string(), url);
    assert_eq!(body(&request), *wanted);
    if !header.0.is_empty() {
        assert_eq!(request.headers()[header.0], header.1);
    }
}

#[test]
fn meta_and_its_resellers_send_the_same_body() {
    let message = |to: &str, chat: &str| {
        json!({ "messaging_product": "whatsapp", "recipient_type": "individual", to: chat, "type": "text",
                "text": { "preview_url": false, "body": TEXT } })
    };
    let places = [
        ("cloud-api", "https://graph.facebook.com/v26.0/777/messages", ("authorization", "Bearer key")),
        ("360dialog", "https://waba-v2.360dialog.io/messages", ("d360-api-key", "key")),
        ("gupshup-v3", "https://partner.gupshup.io/partner/app/app-1/v3/message", ("authorization", "key")),
    ];
    for (kind, url, header) in places {
        sends(kind, &json!({}), "447700900123", url, header, &message("to", "447700900123"));
        sends(kind, &json!({}), "GB.10000000000001", url, header, &message("recipient", "GB.10000000000001"));
    }
}

#[test]
fn a_reply_with_a_link_has_a_button_where_the_gateway_can() {
    const URL: &str = "https://wa.example.org/o/token";
    let long = "x".repeat(1025);
    let button = |text: &'static str| ButtonMessage { text, full_text: "Tap:\nlink", label: "Continue", url: URL };
    let of = |kind: &str, more: &Value, chat: &str, message: &ButtonMessage<'_>| {
        let subject = chat.parse::<countersign::domain::Chat>().ok().map(|chat| chat.subject().clone());
        build(kind, &with(kind, more)).unwrap().button_message(chat, subject.as_ref(), message)
    };
    let meta = |to: &str, chat: &str| {
        json!({ "messaging_product": "whatsapp", "recipient_type": "individual", to: chat, "type": "interactive",
                "interactive": { "type": "cta_url", "body": { "text": "Tap:" }, "action": { "name": "cta_url",
                    "parameters": { "display_text": "Continue", "url": URL } } } })
    };
    let whapi = json!({ "to": "447700900123@s.whatsapp.net", "type": "button", "body": { "text": "Tap:\nlink" },
        "action": { "buttons": [{ "type": "url", "id": "1", "title": "Continue", "url": URL }] } });
    let green = json!({ "chatId": "447700900123@c.us", "body": "Tap:\nlink",
        "buttons": [{ "type": "url", "buttonId": "1", "buttonText": "Continue", "url": URL }] });
    for kind in ["cloud-api", "360dialog", "gupshup-v3"] {
        let sent = of(kind, &json!({}), "447700900123", &button("Tap:")).unwrap();
        assert_eq!(body(&sent), meta("to", "447700900123"), "{kind}");
        assert_eq!(sent.uri(), gateway(kind).text_message("447700900123", None, TEXT).uri(), "{kind}");
        let sent = of(kind, &json!({}), "GB.10000000000001", &button("Tap:")).unwrap();
        assert_eq!(body(&sent), meta("recipient", "GB.10000000000001"), "{kind}");
        let long = ButtonMessage { text: &long, ..button("") };
        assert!(of(kind, &json!({}), "447700900123", &long).is_none(), "{kind}: Meta's limit");
    }
    for (kind, path, wanted) in
        [("whapi", "/messages/interactive", &whapi), ("green-api", "/sendInteractiveButtons/", &green)]
    {
        let sent = of(kind, &json!({}), "447700900123@s.whatsapp.net", &button("Tap:")).unwrap();
        assert_eq!(&body(&sent), wanted, "{kind}");
        assert!(sent.uri().path().contains(path), "{kind}: {}", sent.uri());
    }
    for kind in ["cloud-api", "360dialog", "gupshup-v3", "whapi", "green-api"] {
        let off = of(kind, &json!({ "button": false }), "447700900123@s.whatsapp.net", &button("Tap:"));
        assert!(off.is_none(), "{kind}");
    }
    assert!(of("waha", &json!({}), "447700900123@c.us", &button("Tap:")).is_none());
}

#[test]
fn twilio_sends_content_templates_by_their_sid() {
    const URL: &str = "https://wa.example.org/o/token?x=1";
    let (code_sid, button_sid) = ("HX0123456789abcdef0123456789abcdef", "HXfedcba98765432100123456789abcdef");
    let sids = json!({ "content_sid": code_sid, "button_content_sid": button_sid });
    let of = |more: &Value| build("twilio", &with("twilio", more)).unwrap();
    let whatsapp = |more: &Value| {
        let mut more = more.clone();
        more["from"] = json!("whatsapp:+12025550142");
        of(&more)
    };
    let subject = Subject::Phone("447700900123".parse().unwrap());
    let language = countersign::domain::Language::ENGLISH;
    let code = CodeMessage { subject: &subject, code: "508214", text: "508214 is your code", language };
    let sent = body(&whatsapp(&sids).code_message(&code).unwrap());
    let (to, from) = ("whatsapp:+447700900123", "whatsapp:+12025550142");
    assert_eq!(
        sent,
        json!({ "To": to, "From": from, "ContentSid": code_sid, "ContentVariables": "{\"1\":\"508214\"}" })
    );
    assert_eq!(
        body(&of(&sids).code_message(&code).unwrap())["Body"],
        "508214 is your code",
        "an SMS needs no template"
    );
    assert_eq!(body(&whatsapp(&json!({})).code_message(&code).unwrap())["Body"], "508214 is your code");

    let message = ButtonMessage { text: "Tap:\n\"x\"", full_text: "Tap:\nlink", label: "Continue", url: URL };
    let sent = body(&whatsapp(&sids).button_message(to, Some(&subject), &message).unwrap());
    let variables: Value = serde_json::from_str(sent["ContentVariables"].as_str().unwrap()).unwrap();
    assert_eq!((&sent["ContentSid"], &sent["To"]), (&json!(button_sid), &json!(to)));
    assert_eq!(variables, json!({ "1": "Tap:\n\"x\"", "2": "o/token?x=1" }));
    for (gateway, chat) in [
        (of(&sids), "+447700900123"),
        (whatsapp(&json!({})), to),
        (whatsapp(&json!({ "button_content_sid": button_sid, "button": false })), to),
    ] {
        assert!(gateway.button_message(chat, Some(&subject), &message).is_none(), "{chat}");
    }
    for key in ["content_sid", "button_content_sid"] {
        for wrong in ["HX1", "MG0123456789abcdef0123456789abcdef", "HX0123456789abcdef0123456789abcdeg"] {
            let faults = build("twilio", &with("twilio", &json!({ key: wrong }))).err().unwrap_or_default();
            assert!(faults.contains(&format!("gateway.{key}")), "{wrong}: {faults:?}");
        }
    }
}

#[test]
fn a_hidden_number_is_asked_for_with_one_tap_where_the_gateway_can() {
    let (bsuid, phone) =
        (Subject::Bsuid("GB.10000000000001".to_owned()), Subject::Phone("447700900123".parse().unwrap()));
    let wanted = json!({ "messaging_product": "whatsapp", "recipient_type": "individual", "type": "interactive",
        "recipient": "GB.10000000000001", "interactive": { "type": "request_contact_info",
            "body": { "text": "Share" }, "action": { "name": "request_contact_info" } } });
    for kind in ["cloud-api", "360dialog", "gupshup-v3"] {
        let sent = gateway(kind).contact_request("GB.10000000000001", Some(&bsuid), "Share").unwrap();
        assert_eq!(body(&sent), wanted, "{kind}");
        assert!(gateway(kind).contact_request("447700900123", Some(&phone), "Share").is_none(), "{kind}: it is known");
        let off = build(kind, &with(kind, &json!({ "request_contact_info": false }))).unwrap();
        assert!(off.contact_request("GB.10000000000001", Some(&bsuid), "Share").is_none(), "{kind}");
    }
    assert!(gateway("twilio").contact_request("whatsapp:GB.10000000000001", Some(&bsuid), "Share").is_none());
}

#[test]
fn waha_and_its_relatives_send_to_the_chat_of_the_message() {
    for chat in ["447700900123@c.us", "190000000000117@lid"] {
        let text = json!({ "session": "default", "chatId": chat, "text": TEXT, "linkPreview": false });
        sends("waha", &json!({}), chat, "http://waha:3000/api/sendText", ("x-api-key", "key"), &text);
        let url = "https://app.hypersender.com/api/whatsapp/v2/5f0c2a90/send-text";
        let text = json!({ "chatId": chat, "text": TEXT, "link_preview": false });
        sends("hypersender", &json!({}), chat, url, ("authorization", "Bearer key"), &text);
        let text = json!({ "instance_id": "I1", "access_token": "key", "chatId": chat, "message": TEXT });
        sends("wawp", &json!({}), chat, "https://api.wawp.net/v2/send/text", ("", ""), &text);
    }
}

#[test]
fn twilio_replies_on_the_channel_of_the_message() {
    let url = "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json";
    let by_account = ("authorization", "Basic QUMxOmEtd2ViaG9vay1zZWNyZXQtb2YtMjQtYnl0ZXMtb3ItbW9yZQ==");
    let (whatsapp, sms) = ("whatsapp:+447700900123", "+12025550187");
    for from in ["+12025550142", "whatsapp:+12025550142"] {
        let from = json!({ "from": from });
        let text = json!({ "To": whatsapp, "From": "whatsapp:+12025550142", "Body": TEXT });
        sends("twilio", &from, whatsapp, url, by_account, &text);
        let text = json!({ "To": sms, "From": "+12025550142", "Body": TEXT });
        sends("twilio", &from, sms, url, by_account, &text);
    }
    let service = json!({ "messaging_service_sid": "MG1", "api_key": "SK1", "api_secret": "pass" });
    let text = json!({ "To": sms, "MessagingServiceSid": "MG1", "Body": TEXT });
    sends("twilio", &service, sms, url, ("authorization", "Basic U0sxOnBhc3M="), &text);
    assert_eq!(gateway("twilio").acknowledgement(), ("text/xml", "<Response/>"));
}

#[test]
fn vonage_bird_and_chatwoot_send_as_documented() {
    let header = ("authorization", "Basic a2V5OnBhc3M=");
    for channel in ["whatsapp", "sms"] {
        let text = json!({ "message_type": "text", "text": TEXT, "to": "447700900123", "from": "12025550142",
                           "channel": channel });
        let channel = json!({ "channel": channel });
        sends("vonage", &channel, "447700900123", "https://api.nexmo.com/v1/messages", header, &text);
    }
    let url = "https://api.bird.com/workspaces/w/channels/c/messages";
    for (chat, key) in [("+447700900123", "phonenumber"), ("GB.10000000000001", "whatsappbsuid")] {
        let text = json!({ "receiver": { "contacts": [{ "identifierKey": key, "identifierValue": chat }] },
                           "body": { "type": "text", "text": { "text": TEXT } } });
        sends("bird", &json!({}), chat, url, ("authorization", "AccessKey key"), &text);
    }
    let url = "https://cw.example.test/api/v1/accounts/1/conversations/42/messages";
    let text = json!({ "content": TEXT, "message_type": "outgoing" });
    sends("chatwoot", &json!({}), "42", url, ("api_access_token", "key"), &text);
}

/// No stored chat id and no text prevents a request from being built.
#[test]
fn no_chat_id_breaks_a_request() {
    for kind in ["cloud-api", "360dialog", "hypersender", "wawp", "twilio", "vonage", "bird", "chatwoot"] {
        for chat in ["", "../7", "a b", "é\r\nx: y", "%2e%2e"] {
            let bsuid = Subject::Bsuid(chat.to_owned());
            let request = gateway(kind).text_message(chat, Some(&bsuid), "a\r\nb\u{0}");
            assert!(!request.uri().path().contains("/../"), "{kind}");
        }
    }
}

#[test]
fn missing_settings_for_sending_are_reported_at_start() {
    for kind in ["360dialog", "gupshup-v3", "hypersender", "wawp", "twilio", "vonage", "bird", "chatwoot"] {
        let all = settings(kind);
        for key in all.as_object().unwrap().keys() {
            let mut less = all.clone();
            less.as_object_mut().unwrap().remove(key);
            let faults = build(kind, &less).err().unwrap_or_default();
            assert!(faults.contains(&format!("gateway.{key}")), "{kind} without {key}: {faults:?}");
        }
    }
    for (kind, more, key) in [
        ("wawp", json!({ "webhook_auth": "hmac" }), "webhook_header"),
        ("twilio", json!({ "api_key": "SK1" }), "api_secret"),
        ("twilio", json!({ "account_sid": "AC1/../AC2" }), "account_sid"),
        ("360dialog", json!({ "api_key": "a\nb" }), "api_key"),
        ("vonage", json!({ "channel": "viber" }), "channel"),
    ] {
        let faults = build(kind, &with(kind, &more)).err().unwrap_or_default();
        assert!(faults.contains(&format!("gateway.{key}")), "{kind}: {faults:?}");
    }
}
