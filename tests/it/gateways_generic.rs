//! The generic gateway: what its templates write, what it reads from answers, and what it says about a faulty
//! table.

use std::sync::Arc;

use countersign::{
    domain::Subject,
    gateway::{self, Gateway, Ignored, Purpose, Refusal, Sent, Webhook},
    reader::{Faults, Table},
};
use http::{HeaderMap, Method, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded;

const NASTY: &str = "He said \"hi\\\" & left=100%\r\n\t{digits} {api_key} {{text}} 🙂 ü \u{2028}</a>";

/// A complete table of a made-up gateway.
const TIDINGS: &str = r#"
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

fn parse(gateway: &dyn Gateway, body: &Value) -> Result<Vec<gateway::Event>, gateway::Malformed> {
    let (headers, now) = (HeaderMap::new(), Timestamp::UNIX_EPOCH);
    let body = body.to_string().into_bytes();
    gateway.parse(&Webhook { method: &Method::POST, path_secret: None, query: "", headers: &headers, body: &body, now })
}

fn form(body: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(body).into_owned().collect()
}

#[test]
fn json_templates_carry_any_text_unharmed() {
    let gateway = built(TIDINGS);
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
fn forms_and_urls_carry_any_text_unharmed() {
    let as_form = TIDINGS.replace(
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
    assert_eq!(endless.uri(), "/", "too long for a URL: no panic, and nothing that could be sent");
}

#[test]
fn digits_are_a_phones_or_nobodys() {
    let gateway = built(TIDINGS);
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
fn answers_are_classified_by_body_then_by_status() {
    let gateway = built(TIDINGS);
    let sent = |status: u16, body: &str| {
        let response = Response::builder().status(status);
        gateway.sent(&response.body(body.as_bytes().to_vec()).unwrap())
    };
    for (status, body, wanted) in [
        (202, r#"{"ref":"m-9"}"#, Sent::Accepted { id: Some("m-9".to_owned()) }),
        (202, r#"{"ref":12}"#, Sent::Accepted { id: Some("12".to_owned()) }),
        (202, "oops", Sent::Accepted { id: None }),
        (200, "{}", Sent::Refused(Refusal::Permanent)),
        (400, r#"{"code":"no_account"}"#, Sent::Refused(Refusal::NotOnWhatsApp)),
        (400, r#"{"code":17}"#, Sent::Refused(Refusal::NotOnWhatsApp)),
        (400, r#"{"code":18}"#, Sent::Refused(Refusal::Permanent)),
        (409, r#"{"code":"window"}"#, Sent::Refused(Refusal::WindowClosed)),
        (202, r#"{"loggedOut":true}"#, Sent::Refused(Refusal::Unauthorized)),
        (202, r#"{"loggedOut":false}"#, Sent::Accepted { id: None }),
        (420, "{}", Sent::NotSent { why: "rate_limited" }),
        (429, "{}", Sent::NotSent { why: "rate_limited" }),
        (401, "", Sent::Refused(Refusal::Unauthorized)),
        (504, "<html>", Sent::Unknown { why: "gateway_timeout" }),
        (503, "<html>", Sent::NotSent { why: "gateway_error" }),
        (302, "", Sent::Refused(Refusal::Permanent)),
    ] {
        assert_eq!(sent(status, body), wanted, "{status} {body}");
    }
}

#[test]
fn a_message_that_tells_too_little_is_nobodys() {
    let gateway = built(TIDINGS);
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

    assert!(message(json!({ "direction": null })).is_err(), "nobody says that it is not ours");
    assert!(message(json!({ "ref": "" })).is_err(), "no id");
    for (changes, why) in [
        (json!({ "direction": "out", "thread": "x@g.us" }), Ignored::FromMe),
        (json!({ "thread": "120363000000000017@g.us" }), Ignored::Group),
        (json!({ "thread": "status@broadcast" }), Ignored::Broadcast),
        (json!({ "editedAt": 5 }), Ignored::Edit),
        (json!({ "body": 123_456 }), Ignored::NonText),
        (json!({ "body": "" }), Ignored::NonText),
    ] {
        assert_eq!(message(changes.clone()).unwrap().ignored, Some(why), "{changes}");
    }
    for id in ["190000000000117@lid", "190000000000117", "447700900123-1589471234", "GB.1", "44 7700 900123", ""] {
        let event = message(json!({ "author": { "id": "190000000000117@lid", "phone": id } })).unwrap();
        assert_eq!(event.sender.phone, None, "{id}");
    }
    for (kind, why) in [("ack", Ignored::Status), ("presence", Ignored::Event)] {
        assert_eq!(parse(&*gateway, &json!({ "kind": kind })).unwrap()[0].ignored, Some(why));
    }
}

#[test]
fn faulty_tables_are_refused_with_every_key() {
    const POINTER: &str = "expected a JSON pointer such as \"/message/id\": it starts with / and writes ~ as ~0";
    for (good, bad, key, problem) in [
        ("message_id = \"/msg/ref\"", "", "mapping.message_id", "is missing: where a message's id stands"),
        ("\"/msg/body\"", "\"msg.body\"", "mapping.text", POINTER),
        ("\"/msg/author/phone\"]", "\"/msg/~author\"]", "mapping.sender.1", POINTER),
        (
            "from_me = { pointer = \"/msg/direction\", equals = \"out\" }",
            "",
            "mapping.from_me",
            "is missing: what marks our own messages, or \"never\" if they are never posted here",
        ),
        ("edit = {", "edti = {", "mapping.edti", "is not a key; did you mean edit?"),
        ("\"s\"", "\"sec\"", "mapping.timestamp.unit", "\"sec\" is not one of s, ms, rfc3339, none"),
        ("[\"inbound\"]", "[]", "mapping.event.accept", "is empty: no event would be a message"),
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
            "expected JSON in which {names} stand within quotes, or a table for a form; it stops being JSON at line 1 \
             column 65",
        ),
        ("{\"text\": \"{text}\"}", "", "send.body", "holds no {text}, and neither does url: nothing would be said"),
        ("Bearer {api_key}", "{text}", "send.headers.Authorization", "{text} cannot stand in a header"),
        ("api_key = \"key-of-tidings\"", "", "api_key", "is missing: send uses {api_key}"),
        ("[400, 409]", "[40]", "send.permanent.0", "expected an HTTP status from 100 to 999"),
        ("{url}/", "x{url}/", "send.url", "{url} can only stand at the start"),
        (
            "webhook_header = \"X-Tidings-Signature\"",
            "",
            "webhook_header",
            "is missing: the header that carries the proof",
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
        let bad = TIDINGS.replacen(good, bad, 1);
        assert_ne!(bad, TIDINGS, "{key}");
        let (gateway, faults) = faults_of(&bad);
        assert!(gateway.is_none());
        assert_eq!(faults, [format!("gateway.{key}: {problem}")]);
    }
}
