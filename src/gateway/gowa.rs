//! GOWA (go-whatsapp-web-multidevice): webhooks are signed with HMAC-SHA256 over the raw body; messages are flat
//! objects.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Gateway, IgnoreReason, Malformed, ReceiptStatus, SampleMessage, SendResult, Webhook, WebhookAuth, WebhookEvent,
    WebhookRequest,
    addressee::Addressee,
    answers::{self, Answer, CLIENT_ANSWERS, NOT_CONNECTED, NOT_ON_WHATSAPP, UNAUTHORIZED, WINDOW_CLOSED},
    auth_scheme::AuthScheme,
    config_reader::{ConfigReader, path_segment},
    jid::{self, Content, MessageFields, texts_at},
    json::{self, text_at, time_at},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
};
use crate::domain::Subject;

/// Keys that mark a message as media, whose `body` is a caption.
const MEDIA: &[&str] = &["audio", "document", "image", "sticker", "video", "video_note"];

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "gowa",
    build,
    preset: None,
    group: KindGroup::Unofficial,
    proof: "HMAC-SHA256 of the body",
    ban_risk: BanRisk::Yes,
    sms: false,
    codes: CodeDelivery::Text,
    delivery_reports: "event `message.ack`",
    compared: "the device's number, or `device`",
    several_numbers: "`device` for sending; all devices share one webhook URL, so one server per number is simplest",
    issues_webhook_secret: false,
    shared_secrets: &[("basic_auth", "countersign:")],
    setup: r#"go-whatsapp-web-multidevice, release 8 or later: `WHATSAPP_WEBHOOK=<webhook URL>`,
`WHATSAPP_WEBHOOK_SECRET=<webhook_secret>` (its default `secret` is rejected), `WHATSAPP_WEBHOOK_EVENTS=message`,
`APP_BASIC_AUTH=user:password`.

```toml
[instance.gateway]
kind = "gowa"
url = "http://gowa:3000"
basic_auth = "user:password"
webhook_secret = "0123456789abcdef0123456789abcdef"
```
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    Arc::new(Gowa {
        scheme: AuthScheme::hub_sha256(),
        secrets: reader.webhook_secrets(),
        url: reader.base_url(None),
        basic_auth: reader.sending_secret("basic_auth", "user:password of GOWA's API, to send replies"),
        device: reader.text("device"),
    })
}

/// github.com/aldinokemal/go-whatsapp-web-multidevice, src/pkg/error and src/ui/rest/middleware.
const ANSWERS: &[Answer] = &[
    Answer::value("/code", &["INVALID_JID"], NOT_ON_WHATSAPP),
    Answer::value("/code", &["WA_REACHOUT_TIMELOCK"], WINDOW_CLOSED),
    Answer::value("/code", &["DEVICE_NOT_FOUND", "DEVICE_ID_REQUIRED"], UNAUTHORIZED),
    // "Not connected" and "not logged in" share a code; only the former is temporary.
    Answer::contains("you are not connect", NOT_CONNECTED).at(401),
];

struct Gowa {
    scheme: AuthScheme,
    secrets: Vec<SecretString>,
    url: String,
    basic_auth: SecretString,
    /// Selects one of several devices of a server.
    device: Option<String>,
}

impl Gateway for Gowa {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let body = json::parse(webhook.body)?;
        // Releases before 8 name no event and do not mark messages sent from the own number.
        let event = match text_at(&body, "/event").ok_or_else(|| Malformed("no event: GOWA before 8".to_owned()))? {
            "message" => read_message(&body["payload"])?,
            "message.ack" => {
                let ids = json::items_at(&body, "/payload/ids").filter_map(Value::as_str);
                return Ok(WebhookEvent::statuses(
                    ids,
                    text_at(&body, "/payload/receipt_type").and_then(ReceiptStatus::from_word),
                ));
            }
            "message.edited" | "message.revoked" | "message.deleted" => WebhookEvent::ignored(IgnoreReason::Edit),
            "message.reaction" => WebhookEvent::ignored(IgnoreReason::NonText),
            _ => WebhookEvent::ignored(IgnoreReason::Event),
        };
        // The id of a device that is logged in is its JID; a name that the operator chose may be in `session_id`.
        let id = text_at(&body, "/device_id");
        let addressee = Addressee::default().with_phone(id.filter(|id| id.contains('@')));
        let names = [id, text_at(&body, "/session_id")];
        let device = self.device.as_deref().unwrap_or_default();
        let known = addressee == Addressee::default() && !names.contains(&Some(device));
        let addressee = if known { addressee.check_id(body.get("device_id"), device) } else { addressee };
        Ok(vec![event.addressed_to(&addressee)])
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let message = json!({ "phone": jid::recipient(chat_id, subject, "@s.whatsapp.net"), "message": text });
        let credentials = STANDARD.encode(self.basic_auth.expose_secret());
        let mut request = Request::post(format!("{}/send/message", self.url))
            .header("authorization", format!("Basic {credentials}"))
            .header("content-type", "application/json");
        if let Some(device) = &self.device {
            request = request.header("x-device-id", path_segment(device));
        }
        request
            .body(message.to_string().into_bytes())
            .expect("the URL and the credentials were validated when the configuration was loaded")
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        let chat = sample.chat("@s.whatsapp.net");
        let payload = json!({
            "id": sample.id, "from": sample.author("@s.whatsapp.net").unwrap_or_else(|| chat.clone()), "chat_id": chat,
            "from_name": SampleMessage::PUSH_NAME, "timestamp": sample.rfc3339(), "is_from_me": sample.is_from_me(),
            "body": sample.text,
        });
        let device = format!("{}@s.whatsapp.net", sample.to);
        Some(WebhookRequest::json(&json!({ "event": "message", "device_id": device, "payload": payload })))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, &["/results/message_id"], &[ANSWERS, CLIENT_ANSWERS])
    }
}

fn read_message(payload: &Value) -> Result<WebhookEvent, Malformed> {
    let id = text_at(payload, "/id").ok_or_else(|| Malformed("a message has no id".to_owned()))?;
    let chat = text_at(payload, "/chat_id").ok_or_else(|| Malformed("a message has no chat id".to_owned()))?;
    let senders: &[&str] =
        if jid::is_group(chat) { &["/from", "/from_lid"] } else { &["/from", "/chat_id", "/from_lid", "/chat_lid"] };
    let is_media = MEDIA.iter().any(|kind| payload.get(kind).is_some());
    let message = MessageFields {
        id,
        dedupe_key: None,
        chat,
        from_me: payload["is_from_me"].as_bool().unwrap_or_default(),
        group: false,
        senders: texts_at(payload, senders),
        content: Content::from_text(text_at(payload, "/body").filter(|_| !is_media)),
        push_name: text_at(payload, "/from_name"),
        timestamp: time_at(payload, "/timestamp"),
    };
    Ok(message.into_event())
}
