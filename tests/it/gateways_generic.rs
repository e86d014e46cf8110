//! The generic gateway: the requests its templates build, its classification of responses, and the faults of invalid
//! tables.

use std::sync::Arc;

use countersign::{
    domain::{DeliveryFailure, Subject},
    gateway::{self, Gateway, IgnoreReason, Purpose, Refusal, SendResult, Webhook},
    reader::{Faults, Table},
};
use http::{HeaderMap, Method, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded;

const NASTY: &str = "He said \"hi\\\" & left=100%\r\n\t{digits} {api_key} {{text}} 🙂 ü \u{2028}</a>";

/// A complete table of a fictional gateway.
const FICTIONAL: &str = r#"
kind = "generic"
url = "https://api.tidings.example/v2/"
account = "acc/7"
api_key = "key-of-tidings"
webhook_secret = "a-secret-of-more-than-24-bytes"
webhook_auth = "hmac"
webhook_header = "X-Tidings-Signature"
[mapping]
event = { pointer = "/kind", accept = ["inbound"], status = ["ack"] }
message_id = "/msg/ref"
chat_id = "/msg/thread"
sender = ["/msg/author/id", "/msg/author/phone"]
text = "/msg/body"
timestamp = { pointer = "/msg/at", unit = "s" }
from_me = { pointer = "/msg/direction", equals = "out" }
edit = { pointer = "/msg/editedAt" }
[send]
url = "{url}/{account}/messages"
headers = { Authorization = "Bearer {api_key}" }
body = '{"to": "{chat_id}", "number": "{digits}", "content": [{"text": "{text}"}]}'
success = [202]
message_id = "/ref"
not_on_whatsapp = [{ status = 400, pointer = "/code", equals = ["no_account", 17] }]
window_closed = [{ pointer = "/code", equals = "window" }]
rate_limited = [420]
unauthorized = [{ pointer = "/loggedOut" }]
permanent = [400, 409]
"#;

fn faults_of(text: &str) -> (Option<Arc<dyn Gateway>>, Vec<String>) {
    let table = Table::new("gateway", toml::from_str(text).unwrap());
    let (gateway, faults) = match gateway::build(&table, Purpose::Serve, "https://x.test/hook") {
        Ok(gateway) => (Some(gateway), Faults::default()),
        Err(faults) => (None, faults),
    };
    (gateway, faults.iter().map(|fault| format!("{}: {}", fault.key, fault.problem)).collect())
}

fn built(text: &str) -> Arc<dyn Gateway> {
    let (gateway, faults) = faults_of(text);
    gateway.unwrap_or_else(|| panic!("{faults:#?}"))
}

fn parse(gateway: &dyn Gateway, body: &Value) -> Result<Vec<gateway::WebhookEvent>, gateway::Malformed> {
    let (headers, now) = (HeaderMap::new(), Timestamp::UNIX_EPOCH);
    let body = body.to_string().into_bytes();
    gateway.parse(&Webhook { method: &Method::POST, path_suffix: None, query: "", headers: &headers, body: &body, now })
}

fn form(body: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(body).into_owned().collect()
}

#[test]
fn json_templates_carry_any_text_unchanged() {
    let gateway = built(FICTIONAL);
    let request = gateway.text_message("447700900123@c.us", None, NASTY);
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.uri(), "https://api.tidings.example/v2/acc%2F7/messages");
    assert_eq!(request.headers()["authorization"], "Bearer key-of-tidings");
    assert_eq!(request.headers()["content-type"], "application/json");
    let body = serde_json::from_slice::<Value>(request.body()).unwrap();
    let wanted = json!({ "to": "447700900123@c.us", "number": "447700900123", "content": [{ "text": NASTY }] });
    assert_eq!(body, wanted);
    assert!(!format!("{:?}", request.headers()).contains("key-of-tidings"));
}

#[test]
fn forms_and_urls_carry_any_text_unchanged() {
    let as_form = FICTIONAL.replace(
        r#"body = '{"to": "{chat_id}", "number": "{digits}", "content": [{"text": "{text}"}]}'"#,
        r#"body = { "src.name" = "{account}", Text = "{text}", nested = { say = "{text}" }, key = "{api_key}" }"#,
    );
    let as_form = as_form.replace("{account}/messages\"", "{account}/messages?to={chat_id}\"");
    let request = built(&as_form).text_message("a&b=c/d #@g", None, NASTY);
    assert_eq!(request.uri(), "https://api.tidings.example/v2/acc%2F7/messages?to=a%26b%3Dc%2Fd%20%23%40g");
    assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
    let fields = form(request.body());
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).unwrap().1.clone();
    assert_eq!((field("src.name").as_str(), field("Text").as_str()), ("acc/7", NASTY));
    assert_eq!(field("key"), "key-of-tidings");
    assert_eq!(serde_json::from_str::<Value>(&field("nested")).unwrap(), json!({ "say": NASTY }));

    let by_url = as_form.replace("body = {", "content_type = \"text/plain\"\nbody = {").replace("POST", "GET");
    let by_url = by_url.replace("?to={chat_id}", "?to={chat_id}&text={text}");
    let request = built(&by_url).text_message("1", None, NASTY);
    assert_eq!(request.headers()["content-type"], "text/plain");
    let query = form(request.uri().query().unwrap().as_bytes());
    assert_eq!(query, [("to".to_owned(), "1".to_owned()), ("text".to_owned(), NASTY.to_owned())]);
    let endless = built(&by_url).text_message("1", None, &"🙂".repeat(20_000));
    assert_eq!(endless.uri(), "/", "too long for a URL: no panic, and a request that egress refuses");
}

#[test]
fn digits_are_those_of_a_phone_or_the_whole_chat_id() {
    let gateway = built(FICTIONAL);
    let number = |chat: &str, subject: Option<&Subject>| {
        let request = gateway.text_message(chat, subject, "hello");
        serde_json::from_slice::<Value>(request.body()).unwrap()["number"].as_str().unwrap().to_owned()
    };
    let phone = Subject::Phone("447700900123".parse().unwrap());
    assert_eq!(number("+44 7700 900123", None), "447700900123");
    assert_eq!(number("447700900123:7@s.whatsapp.net", None), "447700900123");
    assert_eq!(number("190000000000117@lid", Some(&phone)), "447700900123");
    assert_eq!(number("190000000000117@lid", Some(&Subject::Lid("190000000000117".into()))), "190000000000117@lid");
    assert_eq!(number("t-1", None), "t-1");
}

#[test]
fn responses_are_classified_by_body_then_by_status() {
    let gateway = built(FICTIONAL);
    let sent = |status: u16, body: &str| {
        let response = Response::builder().status(status);
        gateway.parse_send_response(&response.body(body.as_bytes().to_vec()).unwrap())
    };
    for (status, body, wanted) in [
        (202, r#"{"ref":"m-9"}"#, SendResult::Accepted { id: Some("m-9".to_owned()) }),
        (202, r#"{"ref":12}"#, SendResult::Accepted { id: Some("12".to_owned()) }),
        (202, "oops", SendResult::Accepted { id: None }),
        (200, "{}", SendResult::Refused(Refusal::Permanent)),
        (400, r#"{"code":"no_account"}"#, SendResult::Refused(Refusal::NotOnWhatsApp)),
        (400, r#"{"code":17}"#, SendResult::Refused(Refusal::NotOnWhatsApp)),
        (400, r#"{"code":18}"#, SendResult::Refused(Refusal::Permanent)),
        (409, r#"{"code":"window"}"#, SendResult::Refused(Refusal::WindowClosed)),
        (202, r#"{"loggedOut":true}"#, SendResult::Refused(Refusal::Unauthorized)),
        (202, r#"{"loggedOut":false}"#, SendResult::Accepted { id: None }),
        (420, "{}", SendResult::Retryable { reason: DeliveryFailure::RateLimited }),
        (429, "{}", SendResult::Retryable { reason: DeliveryFailure::RateLimited }),
        (401, "", SendResult::Refused(Refusal::Unauthorized)),
        (504, "<html>", SendResult::Unknown { reason: DeliveryFailure::GatewayTimeout }),
        (503, "<html>", SendResult::Retryable { reason: DeliveryFailure::GatewayError }),
        (302, "", SendResult::Refused(Refusal::Permanent)),
    ] {
        assert_eq!(sent(status, body), wanted, "{status} {body}");
    }
}

#[test]
fn the_state_of_the_number_is_asked_with_the_values_of_the_table() {
    assert!(built(FICTIONAL).queue_check().is_none());
    let ready =
        "ready = { url = \"{url}/{account}/state?key={api_key}\", pointer = \"/state\", equals = \"online\" }\n";
    let gateway = built(&FICTIONAL.replace("[send]\n", &format!("[send]\n{ready}")));
    let request = gateway.queue_check().unwrap();
    assert_eq!(request.method(), Method::GET);
    assert_eq!(request.uri(), "https://api.tidings.example/v2/acc%2F7/state?key=key-of-tidings");
    assert_eq!(request.headers()["authorization"], "Bearer key-of-tidings");
    let answer = |body: &str| {
        gateway.parse_queue_check(&Response::builder().status(200).body(body.as_bytes().to_vec()).unwrap())
    };
    assert_eq!(answer(r#"{"state":"offline"}"#), Some(SendResult::Retryable { reason: DeliveryFailure::NotConnected }));
    for other in [r#"{"state":"online"}"#, "{}", "<html>"] {
        assert_eq!(answer(other), None, "{other}");
    }
    let with_text = ready.replace("{account}", "{chat_id}");
    let (gateway, faults) = faults_of(&FICTIONAL.replace("[send]\n", &format!("[send]\n{with_text}")));
    assert!(gateway.is_none() && faults[0].contains("send.ready.url: {chat_id} is not allowed here"), "{faults:?}");
}

#[test]
fn a_message_without_a_required_field_verifies_nothing() {
    let gateway = built(FICTIONAL);
    let message = |changes: Value| {
        let mut body = json!({ "kind": "inbound", "msg": {
            "ref": 7, "thread": "190000000000117@lid", "body": "[K7QXM2PD]", "at": 1, "direction": "in",
            "author": { "id": "190000000000117@lid", "phone": 447_700_900_123_i64 },
        }});
        for (name, value) in changes.as_object().unwrap() {
            body["msg"][name] = value.clone();
        }
        parse(&*gateway, &body).map(|mut events| events.remove(0))
    };
    let plain = message(json!({})).unwrap();
    assert_eq!((plain.ignored, plain.message_id.as_deref()), (None, Some("7")));
    assert_eq!(plain.sender.phone.as_ref().unwrap().digits(), "447700900123");
    assert_eq!(plain.sender.lid(), Some("190000000000117"));

    for (changes, why) in [
        (json!({ "direction": null }), IgnoreReason::Malformed),
        (json!({ "ref": "" }), IgnoreReason::Malformed),
        (json!({ "direction": "out", "thread": "x@g.us" }), IgnoreReason::FromMe),
        (json!({ "thread": "120363000000000017@g.us" }), IgnoreReason::Group),
        (json!({ "thread": "status@broadcast" }), IgnoreReason::Broadcast),
        (json!({ "editedAt": 5 }), IgnoreReason::Edit),
        (json!({ "body": 123_456 }), IgnoreReason::NonText),
        (json!({ "body": "" }), IgnoreReason::NonText),
    ] {
        assert_eq!(message(changes.clone()).unwrap().ignored, Some(why), "{changes}");
    }
    for id in ["190000000000117@lid", "190000000000117", "447700900123-1589471234", "GB.1", "44 7700 900123", ""] {
        let event = message(json!({ "author": { "id": "190000000000117@lid", "phone": id } })).unwrap();
        assert_eq!(event.sender.phone, None, "{id}");
    }
    for (kind, why) in [("ack", IgnoreReason::Status), ("presence", IgnoreReason::Event)] {
        assert_eq!(parse(&*gateway, &json!({ "kind": kind })).unwrap()[0].ignored, Some(why));
    }
}

#[test]
fn faulty_tables_are_refused_with_every_key() {
    const POINTER: &str = "expected a JSON pointer such as \"/message/id\": it starts with / and writes ~ as ~0";
    for (good, bad, key, problem) in [
        ("message_id = \"/msg/ref\"", "", "mapping.message_id", "is missing: the pointer to a message's id"),
        ("\"/msg/body\"", "\"msg.body\"", "mapping.text", POINTER),
        ("\"/msg/author/phone\"]", "\"/msg/~author\"]", "mapping.sender.1", POINTER),
        (
            "from_me = { pointer = \"/msg/direction\", equals = \"out\" }",
            "",
            "mapping.from_me",
            "is missing: what marks messages sent from the own number, or \"never\" if they are never posted",
        ),
        ("edit = {", "edti = {", "mapping.edti", "is not a key; did you mean edit?"),
        ("\"s\"", "\"sec\"", "mapping.timestamp.unit", "\"sec\" is not one of s, ms, rfc3339, none"),
        ("[\"inbound\"]", "[]", "mapping.event.accept", "is empty: list the event kinds that are messages"),
        (
            "equals = \"out\"",
            "equals = \"out\", when_suffix = \"x\"",
            "mapping.from_me.equals",
            "is given together with when_suffix; remove one of the two",
        ),
        (
            "\"{text}\"",
            "\"{txet}\"",
            "send.body",
            "{txet}: \"txet\" is not one of chat_id, digits, text, url, account, from, api_key, api_secret; did you \
             mean text?",
        ),
        (
            "\"{text}\"",
            "{text}",
            "send.body",
            "expected JSON with placeholders inside quotes, or a table for a form; invalid JSON at line 1 \
             column 65",
        ),
        (
            "{\"text\": \"{text}\"}",
            "",
            "send.body",
            "contains no {text}, and neither does url: the message would be empty",
        ),
        ("Bearer {api_key}", "{text}", "send.headers.Authorization", "{text} is not allowed in a header"),
        ("api_key = \"key-of-tidings\"", "", "api_key", "is missing: send uses {api_key}"),
        ("[400, 409]", "[40]", "send.permanent.0", "expected an HTTP status from 100 to 999"),
        ("{url}/", "x{url}/", "send.url", "{url} is only allowed at the start"),
        (
            "webhook_header = \"X-Tidings-Signature\"",
            "",
            "webhook_header",
            "is missing: the header with the signature or secret",
        ),
        (
            "\"hmac\"",
            "\"none\"",
            "webhook_auth",
            "\"none\" is not one of hmac, standard-webhooks, static-header, url-secret, basic",
        ),
        (
            "\"hmac\"",
            "\"standard-webhooks\"",
            "webhook_secret.0",
            "expected whsec_ and base64, which standard-webhooks needs",
        ),
    ] {
        let bad = FICTIONAL.replacen(good, bad, 1);
        assert_ne!(bad, FICTIONAL, "{key}");
        let (gateway, faults) = faults_of(&bad);
        assert!(gateway.is_none());
        assert_eq!(faults, [format!("gateway.{key}: {problem}")]);
    }
}
