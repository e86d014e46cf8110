//! Recorded requests of every gateway in this process; and the gateways that are only configuration: the requests and
//! receipts of the presets, and the example in the configuration reference.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign::{
    config::{self, REFERENCE},
    domain::{Phone, Subject},
    gateway::{self, Gateway, IgnoreReason, Malformed, Purpose, ReceiptStatus, Refusal, SendResult, Webhook},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Method, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha512;
use url::form_urlencoded;

use crate::gateways::{all_cases, build, cases, headers};

/// Builds the gateway from a configuration file, as `serve` does.
fn served(gateway: &str) -> Result<Arc<dyn Gateway>, Vec<String>> {
    let instance = format!(
        "public_url = \"https://verify.example.test\"\nkey = \"{}\"\n[store]\nurl = \"embedded:/nonexistent\"\n\
         [[instance]]\nid = \"5f0c2a90-0000-4000-8000-000000000001\"\nname = \"N\"\nnumber = \"+12025550142\"\n\
         tokens = [\"sha256:{}\"]\ncallback_secrets = [\"{}\"]\n[instance.gateway]\n{gateway}",
        crate::daemon::KEY,
        "0".repeat(64),
        crate::daemon::CALLBACK_SECRET,
    );
    let config = config::load_text(&instance, [], &[]).into_result().unwrap_or_else(|faults| panic!("{faults}"));
    let gateway = gateway::build(&config.instances[0].gateway, Purpose::Serve, "https://verify.example.test/hook");
    gateway.map_err(|faults| faults.iter().map(|fault| format!("{}: {}", fault.key, fault.problem)).collect())
}

fn preset(kind: &str, more: &str) -> Result<Arc<dyn Gateway>, Vec<String>> {
    let table = format!(
        "kind = \"{kind}\"\nwebhook_secret = \"someone:a-secret-of-more-than-24-bytes\"\naccount = \"acc 7\"\n\
         from = \"12025550142\"\napi_key = \"k&y\"\napi_secret = \"client\"\n{more}"
    );
    served(&table)
}

fn parse(gateway: &dyn Gateway, body: &Value) -> Result<Vec<gateway::WebhookEvent>, Malformed> {
    let (headers, now) = (HeaderMap::new(), Timestamp::UNIX_EPOCH);
    let body = body.to_string().into_bytes();
    gateway.parse(&Webhook { method: &Method::POST, path_suffix: None, query: "", headers: &headers, body: &body, now })
}

#[test]
fn recorded_requests_are_parsed_as_expected() {
    for (kind, case) in all_cases().filter(|(_, case)| case.expect["method"] == "POST") {
        let gateway = build(kind, &case.expect);
        let headers = headers(&case.expect);
        let signing = &case.expect["signing"];
        let url = signing["request_url"].as_str().or(signing["url"].as_str()).unwrap();
        let webhook = Webhook {
            method: &Method::POST,
            path_suffix: None,
            query: url.split_once('?').map_or("", |(_, query)| query),
            headers: &headers,
            body: &case.decoded(),
            now: Timestamp::from_second(case.expect["now"].as_i64().unwrap()).unwrap(),
        };
        let genuine = gateway.authenticate(&webhook).is_ok();
        assert_eq!(genuine, case.expect["auth"] == "accept", "{}", case.name);
        if !genuine {
            continue;
        }
        let wanted = case.expect["expect"].as_array().cloned().unwrap_or(vec![case.expect["expect"].clone()]);
        let Ok(events) = gateway.parse(&webhook) else {
            assert_eq!(wanted[0]["reason"], "malformed", "{}", case.name);
            continue;
        };
        assert_eq!(events.len(), wanted.len(), "{}", case.name);
        for (event, want) in events.iter().zip(&wanted) {
            assert_eq!(event.ignored.map(IgnoreReason::as_str), want["reason"].as_str(), "{}", case.name);
            if event.ignored.is_none() {
                assert_eq!(event.text.as_deref(), want["text"].as_str(), "{}", case.name);
                let phone = event.sender.phone.as_ref().map(Phone::e164);
                assert_eq!(phone.as_deref(), want["phone_e164"].as_str(), "{}", case.name);
                assert_eq!(event.timestamp, want["timestamp"].as_i64(), "{}", case.name);
            }
        }
    }
}

#[test]
fn presets_send_what_their_gateways_document() {
    let send = |kind: &str, more: &str| {
        let gateway = preset(kind, more).unwrap_or_else(|faults| panic!("{faults:#?}"));
        gateway.text_message("447700900123", Some(&Subject::Phone("447700900123".parse().unwrap())), "Hi \"you\" & 🙂")
    };
    let form = |body: &[u8]| form_urlencoded::parse(body).into_owned().collect::<Vec<(String, String)>>();
    let own =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>();

    let ultramsg = send("ultramsg", "");
    assert_eq!(ultramsg.uri(), "https://api.ultramsg.com/acc%207/messages/chat");
    let mut fields = form(ultramsg.body());
    fields.sort();
    assert_eq!(fields, own(&[("body", "Hi \"you\" & 🙂"), ("to", "447700900123"), ("token", "k&y")]));

    let z_api = send("z-api", "");
    assert_eq!(z_api.uri(), "https://api.z-api.io/instances/acc%207/token/k%26y/send-text");
    assert_eq!(z_api.headers()["client-token"], "client");
    let body: Value = serde_json::from_slice(z_api.body()).unwrap();
    assert_eq!(body, json!({ "phone": "447700900123", "message": "Hi \"you\" & 🙂" }));

    let infobip = send("infobip", "url = \"https://abc.api.infobip.com\"");
    assert_eq!(infobip.uri(), "https://abc.api.infobip.com/whatsapp/1/message/text");
    assert_eq!(infobip.headers()["authorization"], "App k&y");
    let body: Value = serde_json::from_slice(infobip.body()).unwrap();
    let content = json!({ "text": "Hi \"you\" & 🙂" });
    assert_eq!(body, json!({ "from": "12025550142", "to": "447700900123", "content": content }));

    let gupshup = send("gupshup", "");
    assert_eq!(gupshup.uri(), "https://api.gupshup.io/wa/api/v1/msg");
    assert_eq!(gupshup.headers()["apikey"], "k&y");
    let fields = form(gupshup.body());
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!((field("channel"), field("src.name")), (Some("whatsapp"), Some("acc 7")));
    assert_eq!((field("source"), field("destination")), (Some("12025550142"), Some("447700900123")));
    let message: Value = serde_json::from_str(field("message").unwrap()).unwrap();
    assert_eq!(message, json!({ "type": "text", "text": "Hi \"you\" & 🙂" }));
}

#[test]
fn settings_override_a_preset_key_by_key() {
    let gateway = preset(
        "ultramsg",
        "webhook_auth = \"static-header\"\nwebhook_header = \"X-Relay\"\n\
         [instance.gateway.mapping]\ntext = \"/data/relayed\"\n[instance.gateway.send]\npermanent = [418]\n",
    );
    let gateway = gateway.unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert!(gateway.webhook_auth().describe().starts_with("a secret in a header") && gateway.webhook_auth().is_weak());
    let body: Value = serde_json::from_slice(&cases("ultramsg")[0].body).unwrap();
    let mut body = body.clone();
    body["data"]["relayed"] = json!("from the relay");
    assert_eq!(parse(&*gateway, &body).unwrap()[0].text.as_deref(), Some("from the relay"));
    let rejected = Response::builder().status(200).body(br#"{"error":"Wrong token","id":"A"}"#.to_vec()).unwrap();
    assert_eq!(
        gateway.parse_send_response(&rejected),
        SendResult::Accepted { id: Some("A".to_owned()) },
        "the list of the preset is replaced"
    );
    let stock = preset("ultramsg", "").unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(stock.parse_send_response(&rejected), SendResult::Refused(Refusal::Permanent));

    let faults = preset("infobip", "[instance.gateway.mapping]\ntxet = \"/x\"\n").err().unwrap();
    let wanted = [
        "instance.0.gateway.mapping.txet: is not a key; did you mean text?",
        "instance.0.gateway.url: is missing: send uses {url}",
    ];
    assert!(wanted.iter().all(|wanted| faults.iter().any(|fault| fault == wanted)), "{faults:#?}");
}

#[test]
fn z_api_messages_without_text_yet_are_ignored() {
    let gateway = preset("z-api", "").unwrap_or_else(|faults| panic!("{faults:#?}"));
    let case = cases("z-api").into_iter().find(|case| case.name == "z-api/text").unwrap();
    let mut body: Value = serde_json::from_slice(&case.body).unwrap();
    assert_eq!(parse(&*gateway, &body).unwrap()[0].ignored, Some(IgnoreReason::AnotherNumber), "another instance's");
    body["instanceId"] = json!("acc 7");
    let whole = parse(&*gateway, &body).unwrap().remove(0);
    assert_eq!((whole.ignored, whole.sender.lid()), (None, Some("190000000000117")));
    body["waitingMessage"] = json!(true);
    body.as_object_mut().unwrap().remove("text");
    let waiting = parse(&*gateway, &body).unwrap().remove(0);
    assert_eq!((waiting.ignored, waiting.message_id), (Some(IgnoreReason::NonText), whole.message_id));
}

#[test]
fn the_example_in_the_reference_works() {
    let (_, example) = REFERENCE.split_once("# Try it with").unwrap();
    let lines = example.lines().skip(1).map(|line| line.strip_prefix('#').unwrap().trim_start());
    let example = lines.collect::<Vec<_>>().join("\n");
    let example =
        example.replacen("[instance.gateway]\n", "", 1).replacen("\"…\"", "\"a-secret-of-more-than-24-bytes\"", 1);
    let gateway = served(&example).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!((gateway.kind(), gateway.webhook_auth().describe()), ("generic", "HMAC of timestamp and raw body"));
    let message = json!({
        "id": "m-1", "chat": "447700900123@c.us", "author": { "lid": "190000000000117@lid", "name": "Mara" },
        "content": { "type": "text", "text": "[K7QXM2PD]" }, "at": 1_788_256_800, "direction": "in",
    });
    let event = parse(&*gateway, &json!({ "kind": "inbound", "messages": [message] })).unwrap().remove(0);
    assert_eq!(event.ignored, None);
    assert_eq!(event.sender.phone.unwrap().digits(), "447700900123");
    let receipt = parse(&*gateway, &json!({ "kind": "ack", "ids": ["m-1"] })).unwrap().remove(0);
    assert_eq!(receipt.ignored, Some(IgnoreReason::Status));
    assert!(parse(&*gateway, &json!({ "kind": "inbound" })).is_err());
}

#[test]
fn basic_and_timed_authentication() {
    let accepts = |gateway: &dyn Gateway, headers: &[(&'static str, &str)], body: &[u8], now: i64| {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect();
        let now = Timestamp::from_second(now).unwrap();
        let webhook = Webhook { method: &Method::POST, path_suffix: None, query: "", headers: &headers, body, now };
        gateway.authenticate(&webhook).is_ok()
    };
    let infobip =
        preset("infobip", "url = \"https://abc.api.infobip.com\"").unwrap_or_else(|faults| panic!("{faults:#?}"));
    let genuine = format!("Basic {}", STANDARD.encode("someone:a-secret-of-more-than-24-bytes"));
    assert!(accepts(&*infobip, &[("authorization", &genuine)], b"{}", 0));
    for wrong in ["Basic", "Basic ", "someone:a-secret-of-more-than-24-bytes", &genuine.to_lowercase()] {
        assert!(!accepts(&*infobip, &[("authorization", wrong)], b"{}", 0), "{wrong}");
    }

    let timed = "webhook_auth = \"hmac\"\nwebhook_header = \"X-Mac\"\nwebhook_algorithm = \"sha512\"\n\
                 webhook_encoding = \"base64\"\nwebhook_signed = \"timestamp.body\"\nwebhook_timestamp_header = \"X-At\"";
    let timed = preset("ultramsg", timed).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let mut mac = Hmac::<Sha512>::new_from_slice(b"someone:a-secret-of-more-than-24-bytes").unwrap();
    mac.update(b"1000.{}");
    let mac = STANDARD.encode(mac.finalize().into_bytes());
    let headers = [("x-mac", mac.as_str()), ("x-at", "1000")];
    assert!(accepts(&*timed, &headers, b"{}", 1300) && accepts(&*timed, &headers, b"{}", 700));
    assert!(!accepts(&*timed, &headers, b"{}", 1301), "too old");
    assert!(!accepts(&*timed, &headers, b"{} ", 1000) && !accepts(&*timed, &headers[..1], b"{}", 1000));
    assert!(!accepts(&*timed, &[headers[0], ("x-at", "1001")], b"{}", 1000));
}

#[test]
fn receipts_of_presets_are_about_the_message_they_name() {
    let receipts = |kind: &str, name: &str, pointer: &str, value: Value| {
        let gateway = preset(kind, "url = \"https://gw.test\"").unwrap_or_else(|faults| panic!("{faults:#?}"));
        let case = cases(kind).into_iter().find(|case| case.name == format!("{kind}/{name}")).unwrap();
        let mut body: Value = serde_json::from_slice(&case.body).unwrap();
        *body.pointer_mut(pointer).unwrap() = value;
        let events = parse(&*gateway, &body).unwrap();
        let results = events.into_iter().map(|event| (event.ignored, event.receipt.map(|receipt| receipt.status)));
        results.collect::<Vec<_>>()
    };
    let (status, failed) = (Some(IgnoreReason::Status), Some(ReceiptStatus::Failed(Refusal::Permanent)));
    let group = |group: &str| receipts("infobip", "delivery_report", "/results/0/status/groupName", json!(group));
    for (word, progress) in [
        ("DELIVERED", Some(ReceiptStatus::Delivered)),
        ("PENDING", None),
        ("UNDELIVERABLE", failed),
        ("EXPIRED", failed),
        ("REJECTED", failed),
    ] {
        assert_eq!(group(word), [(status, progress)], "{word}");
    }
    let two = receipts("infobip", "delivery_reports", "/results/0/bulkId", json!("x"));
    assert_eq!(two, [(status, None), (status, failed)]);
    let unnamed = receipts("infobip", "delivery_report", "/results/0/messageId", Value::Null);
    assert_eq!(unnamed, [(status, None)], "a status without a message id has no receipt");
    let message = receipts("infobip", "text_and_image", "/results/0/contact", json!({"seenAt": "x"}));
    assert_eq!(message, [(None, None), (Some(IgnoreReason::NonText), None)], "a person's message is not a status");
    let of_a_person = receipts("infobip", "text_and_image", "/results/0/price", json!({"status": "DELIVERED"}));
    assert_eq!(of_a_person[0], (None, None));

    let ack = |ack: &str| receipts("ultramsg", "ack_device", "/data/ack", json!(ack));
    for (word, progress) in [
        ("pending", None),
        ("server", Some(ReceiptStatus::Accepted)),
        ("read", Some(ReceiptStatus::Delivered)),
        ("Played", Some(ReceiptStatus::Delivered)),
        ("", None),
    ] {
        assert_eq!(ack(word), [(status, progress)], "{word}");
    }
}
