//! Gateway for WAHA (WhatsApp HTTP API). Webhooks carry an HMAC-SHA512 of the raw body. WAHA can resolve a LID, the id
//! that WhatsApp uses to hide a phone number, to that number.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Gateway, IgnoreReason, LidLookup, Malformed, ReceiptStatus, SampleMessage, SendResult, Unauthenticated, Webhook,
    WebhookAuth, WebhookEvent, WebhookRequest,
    addressee::Addressee,
    answers::{self, Answer, CLIENT_ANSWERS, NOT_CONNECTED, UNAUTHORIZED},
    auth_scheme::{AuthScheme, Encoding, Hash},
    config_reader::{ConfigReader, path_segment},
    jid::{self, Content, MessageFields, texts_at},
    json::{self, id_at, text_at, time_at},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
};
use crate::domain::Subject;

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "waha",
    build,
    preset: None,
    group: KindGroup::Unofficial,
    proof: "HMAC-SHA512 of the body",
    ban_risk: BanRisk::Yes,
    sms: false,
    codes: CodeDelivery::Text,
    delivery_reports: "event `message.ack`",
    compared: "`session`, the own number in `me` or `to`",
    several_numbers: "webhooks in the session's configuration, not `WHATSAPP_HOOK_URL`",
    issues_webhook_secret: false,
    shared_secrets: &[("api_key", "")],
    setup: r#"In the session's configuration: `"webhooks": [{"url": "<webhook URL>", "events": ["message"], "hmac": {"key":
"<webhook_secret>"}, "retries": {"policy": "exponential", "attempts": 15}}]`, or with one session
`WHATSAPP_HOOK_URL`, `WHATSAPP_HOOK_EVENTS=message` and `WHATSAPP_HOOK_HMAC_KEY`. Numbers behind a LID are looked up at WAHA,
which learns some of them only a moment after the message. While the look-up fails, the webhook is answered with 503 and
delivered again: keep the retries. An API key that is scoped to the session is enough.

Webhooks of all engines are read: WEBJS, WPP, NOWEB and GOWS. With NOWEB or GOWS and release 2026.4.3 or later, set
`message_ids = true`: a message then has the same id in every attempt, so that retrying after a lost response does not create a
second one.

```toml
[instance.gateway]
kind = "waha"
url = "http://waha:3000"
api_key = "the-X-Api-Key"
session = "default"
webhook_secret = "0123456789abcdef0123456789abcdef"
# message_ids = true                     # NOWEB and GOWS, release 2026.4.3 or later
```
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    Arc::new(Waha {
        scheme: AuthScheme::BodyHmac {
            header: "x-webhook-hmac".to_owned(),
            prefix: String::new(),
            hash: Hash::Sha512,
            encoding: Encoding::Hex,
        },
        hmac_keys: reader.webhook_secrets(),
        base_url: reader.base_url(None),
        api_key: reader.sending_secret("api_key", "WAHA's X-Api-Key, to send replies"),
        session: reader.text("session").unwrap_or_else(|| "default".to_owned()),
        message_ids: reader.table.flag("message_ids", false),
    })
}

/// If the session is not WORKING, WAHA responds with 422 and the session's state in `status`. See
/// waha.devlike.pro/docs/how-to/send-messages and /docs/how-to/sessions.
const ANSWERS: &[Answer] = &[
    Answer::value("/status", &["STARTING"], NOT_CONNECTED).at(422),
    Answer::value("/status", &["SCAN_QR_CODE", "STOPPED", "FAILED"], UNAUTHORIZED).at(422),
    // The session does not exist; for a wrong path the body is "Cannot POST /…" instead.
    Answer::contains("session", UNAUTHORIZED).at(404),
];

struct Waha {
    scheme: AuthScheme,
    hmac_keys: Vec<SecretString>,
    base_url: String,
    api_key: SecretString,
    session: String,
    /// Sends the message's id, which the engines NOWEB and GOWS accept from 2026.4.3 on.
    message_ids: bool,
}

impl Gateway for Waha {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.hmac_keys }
    }

    fn authenticate(&self, webhook: &Webhook<'_>) -> Result<(), Unauthenticated> {
        if webhook.header("x-webhook-hmac-algorithm").is_some_and(|name| name != "sha512") {
            return Err(Unauthenticated("x-webhook-hmac-algorithm is not sha512"));
        }
        self.scheme.verify(webhook, &self.hmac_keys)
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let body = json::parse(webhook.body)?;
        let addressee = addressee(&body).check_id(body.get("session"), &self.session);
        Ok(vec![read_event(text_at(&body, "/event"), &body["payload"])?.addressed_to(&addressee)])
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let chat_id = jid::recipient(chat_id, subject, "@c.us");
        let message = json!({ "session": self.session, "chatId": chat_id, "text": text, "linkPreview": false });
        Request::post(format!("{}/api/sendText", self.base_url))
            .header("x-api-key", self.api_key.expose_secret())
            .header("content-type", "application/json")
            .body(message.to_string().into_bytes())
            .expect("the URL and the credentials were validated when the configuration was loaded")
    }

    fn set_message_id(&self, message: &mut Request<Vec<u8>>, id: &str) -> bool {
        self.message_ids && json::insert_field(message, "id", id)
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        Some(compose_body(sample, &self.session))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, &["/id", "/key/id"], &[CLIENT_ANSWERS, ANSWERS])
    }

    fn lid_lookup(&self, lid: &str) -> Option<Request<Vec<u8>>> {
        let lid = path_segment(lid.strip_suffix("@lid").unwrap_or(lid));
        Request::get(format!("{}/api/{}/lids/{lid}", self.base_url, path_segment(&self.session)))
            .header("x-api-key", self.api_key.expose_secret())
            .body(Vec::new())
            .ok()
    }

    /// `pn` (phone number) is null until WhatsApp has disclosed it, with the first message at the earliest. Older
    /// releases lack this endpoint and respond 404 with `Cannot GET …`.
    fn parse_lid_lookup(&self, response: &Response<Vec<u8>>) -> LidLookup {
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let endpoint_missing = || text_at(&body, "/message").is_some_and(|why| why.starts_with("Cannot GET"));
        match (response.status().as_u16(), body.get("pn")) {
            (200..=299, Some(Value::Null)) => LidLookup::Pending,
            (200..=299, Some(pn)) => jid::parse_lookup_jid(pn.as_str().unwrap_or_default()),
            (404, _) if endpoint_missing() => LidLookup::NotResolvable,
            _ => LidLookup::Failed,
        }
    }
}

/// The receiving number. Also for Wawp and Hypersender, which use WAHA's format.
pub(super) fn addressee(body: &Value) -> Addressee {
    let number = |pointer: &str| text_at(body, pointer).filter(|id| !has_own_lid_user(body, id));
    // Only the engine WEBJS has `to`. In messages from the own number and their receipts it is the other person.
    let to = number("/payload/to").filter(|_| !body["payload"]["fromMe"].as_bool().unwrap_or_default());
    Addressee::default().with_phone(number("/me/id")).with_phone(to)
}

/// Whether `id` has the digits of the receiving account's own LID, on any server.
fn has_own_lid_user(body: &Value, id: &str) -> bool {
    let user = |id: &str| id.split([':', '@']).next().map(str::to_owned);
    text_at(body, "/me/lid").is_some_and(|lid| user(lid) == user(id))
}

/// Parses one event. Also for Wawp and Hypersender, which sometimes send `messages.any` instead of `message.any`.
pub(super) fn read_event(name: Option<&str>, payload: &Value) -> Result<WebhookEvent, Malformed> {
    Ok(match name.ok_or_else(|| Malformed("missing \"event\"".to_owned()))? {
        "message" | "message.any" | "messages.any" => read_message(payload)?,
        "message.ack" | "message.ack.group" | "messages.ack" => {
            let from_me = payload["fromMe"].as_bool().unwrap_or_default();
            let progress = ReceiptStatus::from_ack(payload["ack"].as_i64());
            WebhookEvent { from_me, ..WebhookEvent::status(id_at(payload, "/id").filter(|_| from_me), progress) }
        }
        "message.edited" => WebhookEvent::ignored(IgnoreReason::Edit),
        "message.reaction" => WebhookEvent::ignored(IgnoreReason::NonText),
        _ => WebhookEvent::ignored(IgnoreReason::Event),
    })
}

fn read_message(payload: &Value) -> Result<WebhookEvent, Malformed> {
    let id = id_at(payload, "/id").ok_or_else(|| Malformed("a message has no id".to_owned()))?;
    // <fromMe>_<chat>_<HEX>[_<participant>]
    let parts: Vec<&str> = id.split('_').collect();
    let chat = text_at(payload, "/from").or(parts.get(1).copied()).unwrap_or_default();
    let group = jid::is_group(chat) || parts.get(1).is_some_and(|chat| jid::is_group(chat));
    // Which field has the sender's alternative id depends on WAHA's engine.
    let authors: &[&str] = if group { &["/participant", "/author"] } else { &[] };
    let alternatives = [
        "/_data/key/remoteJidAlt",
        "/_data/key/participantAlt",
        "/_data/key/senderPn",
        "/_data/key/participantPn",
        "/_data/Info/SenderAlt",
    ];
    let mut senders = if group { Vec::new() } else { vec![chat] };
    senders.extend(texts_at(payload, authors).first());
    senders.extend(texts_at(payload, &alternatives));
    let names = ["/_data/pushName", "/_data/Info/PushName", "/_data/notifyName"];
    let message = MessageFields {
        id,
        dedupe_key: parts.get(2).copied(),
        chat,
        from_me: payload["fromMe"].as_bool().unwrap_or_default() || parts.first() == Some(&"true"),
        group,
        senders,
        content: content(payload),
        push_name: texts_at(payload, &names).first().copied(),
        timestamp: time_at(payload, "/timestamp"),
    };
    Ok(message.into_event())
}

/// The text of a message. Engines leave `body` empty for some texts that `_data`, the engine's own message, has; the
/// body of media is a caption.
fn content(payload: &Value) -> Content<'_> {
    // NOWEB writes `message`, GOWS `Message`; WEBJS and WPP have the fields of WhatsApp Web.
    let original =
        ["message", "Message"].iter().find_map(|name| payload["_data"].get(*name).filter(|it| it.is_object()));
    let original = original.map(Content::from_message);
    let edited = original == Some(Content::Edit) || text_at(payload, "/_data/subtype") == Some("message_edit");
    match text_at(payload, "/body") {
        _ if edited => Content::Edit,
        _ if payload["hasMedia"] == true => Content::Other,
        Some(body) => Content::Text(body),
        None => original.unwrap_or_else(|| {
            let is_text = text_at(payload, "/_data/type") == Some("chat");
            Content::from_text(text_at(payload, "/_data/body").filter(|_| is_text))
        }),
    }
}

/// A webhook with a message, also for Wawp.
pub(super) fn compose_body(sample: &SampleMessage, session: &str) -> WebhookRequest {
    WebhookRequest::json(&json!({
        "id": format!("evt_{}", sample.id), "event": "message.any", "session": session, "engine": "NOWEB",
        "payload": compose_payload(sample),
    }))
}

/// The payload of a message, also for Hypersender.
pub(super) fn compose_payload(sample: &SampleMessage) -> Value {
    json!({
        "id": sample.long_id(), "timestamp": sample.timestamp, "from": sample.chat("@c.us"),
        "fromMe": sample.is_from_me(), "source": "app", "body": sample.text, "participant": sample.author("@c.us"),
        "hasMedia": false, "_data": { "pushName": SampleMessage::PUSH_NAME },
    })
}
