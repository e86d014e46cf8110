//! Operations to which gateways deliver.

use serde_json::{Value, json};

use super::{
    operation::{Area, Credentials, Operation, operation},
    schema::text,
    values,
};
use crate::http::problem::Code;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        receive("/webhooks/{instance}", "receiveWebhook", "Take a message"),
        receive("/webhooks/{instance}/{secret}", "receiveWebhookWithSecret", "Take a message, secret in the path"),
        receive("/webhooks/{instance}/{secret}/{tail}", "receiveWebhookWithTail", "Take a message, more in the path"),
        handshake("/webhooks/{instance}", "handshake", "Answer the gateway's handshake"),
        handshake(
            "/webhooks/{instance}/{secret}",
            "handshakeWithSecret",
            "Answer the gateway's handshake, secret in the path",
        ),
    ]
}

fn receive(path: &'static str, id: &'static str, title: &'static str) -> Operation {
    let about = "In the dialect of the instance's gateway; the example is WAHA's. The proof depends on the gateway: a \
        signature over the raw bytes, a header, or the secret in the path. `Content-Encoding` may be gzip or deflate. 200 \
        means that the decision is stored; with 503 the gateway delivers again. A message is answered once, however often \
        it is delivered.";
    let any = json!({ "description": "Whatever the gateway sends, up to 3 MiB." });
    operation(Area::Webhooks, "POST", path, id, title)
        .open_to(Credentials::Gateway)
        .about(about)
        .header("x-webhook-hmac", text("WAHA: hex HMAC-SHA512 of the raw body."), Some(values::WEBHOOK_SIGNATURE))
        .body("application/json", any, message())
        .optional_body()
        .without(&[Code::InvalidRequest, Code::MalformedBody, Code::UnsupportedMediaType])
        .problems(&[Code::WebhookUnauthenticated, Code::MalformedBody, Code::UnsupportedMediaType])
        .answer(200, "Stored, in the words that the gateway expects", "*/*", json!({}), json!(""))
}

fn message() -> Value {
    json!({
        "id": "evt_01",
        "event": "message",
        "session": "default",
        "payload": {
            "id": format!("false_{}_3EB0", values::CHAT),
            "timestamp": values::SENT,
            "from": values::CHAT,
            "fromMe": false,
            "body": format!("Sign me in to Harbour [{}] - DO NOT CHANGE THIS MESSAGE", values::CODE),
            "_data": { "pushName": "Mara" },
        },
    })
}

fn handshake(path: &'static str, id: &'static str, title: &'static str) -> Operation {
    operation(Area::Webhooks, "GET", path, id, title)
        .open_to(Credentials::Gateway)
        .about("Meta asks this once, when the webhook is set up; other gateways never do.")
        .query("hub.mode", text("`subscribe`."), Some("subscribe"))
        .query("hub.verify_token", text("The instance's `verify_token`."), Some(values::WEBHOOK_SECRET))
        .query("hub.challenge", text("Comes back as the answer's body."), Some("1158201444"))
        .problems(&[Code::HandshakeRefused])
        .answer(200, "The challenge", "text/plain", json!({ "type": "string" }), json!("1158201444"))
}
