//! Whapi.cloud: webhooks are authenticated by a secret in a header and contain batches; senders are bare digits.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    ButtonMessage, Gateway, IgnoreReason, Malformed, ReceiptStatus, SampleMessage, SampleSender, SendResult, Webhook,
    WebhookAuth, WebhookEvent, WebhookRequest,
    addressee::Addressee,
    answers::{self, Answer, CLIENT_ANSWERS, NOT_SENT, UNAUTHORIZED},
    auth_scheme::AuthScheme,
    config_reader::ConfigReader,
    jid::{self, Content, MessageFields},
    json::{self, items_at, text_at, time_at},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
};
use crate::domain::Subject;

const DEFAULT_URL: &str = "https://gate.whapi.cloud";

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "whapi",
    build,
    preset: None,
    group: KindGroup::Unofficial,
    proof: "a header (weak)",
    ban_risk: BanRisk::Yes,
    sms: false,
    codes: CodeDelivery::Text,
    delivery_reports: "event *statuses / post*",
    compared: "`channel_id`, if you set it",
    several_numbers: "a webhook URL per channel",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"*Channel → Settings → Webhooks*: the webhook URL, mode **body**, event **messages / post**, header
`x-webhook-secret: <webhook_secret>`.

```toml
[instance.gateway]
kind = "whapi"
api_key = "the-channels-token"
webhook_secret = "0123456789abcdef0123456789abcdef"
```
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    Arc::new(Whapi {
        scheme: reader.scheme(&[("static-header", AuthScheme::StaticHeader { header: "x-webhook-secret".to_owned() })]),
        secrets: reader.webhook_secrets(),
        url: reader.base_url(Some(DEFAULT_URL)),
        api_key: reader.sending_secret("api_key", "the channel's token, to send replies"),
        channel_id: reader.text("channel_id").unwrap_or_default(),
        button: reader.button(),
    })
}

/// support.whapi.cloud/help-desk/troubleshooting/error-codes.
const ANSWERS: &[Answer] = &[
    // The trial has ended, or the bill is unpaid.
    Answer::status(402, UNAUTHORIZED),
    Answer::value("/sent", &["false"], NOT_SENT).at(200),
];

struct Whapi {
    scheme: AuthScheme,
    secrets: Vec<SecretString>,
    url: String,
    api_key: SecretString,
    /// Distinguishes the channels of one account; empty if not configured.
    channel_id: String,
    button: bool,
}

impl Gateway for Whapi {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let body = json::parse(webhook.body)?;
        let kind = text_at(&body, "/event/type").ok_or_else(|| Malformed("no event".to_owned()))?;
        let events: Vec<WebhookEvent> = match (kind, text_at(&body, "/event/event")) {
            ("messages", Some("post")) => items_at(&body, "/messages").map(event_of_message).collect(),
            ("messages", _) => vec![WebhookEvent::ignored(IgnoreReason::Edit)],
            ("statuses", _) => items_at(&body, "/statuses").map(read_status).collect(),
            _ => vec![WebhookEvent::ignored(IgnoreReason::Event)],
        };
        let addressee = Addressee::default().check_id(body.get("channel_id"), &self.channel_id);
        Ok(events.into_iter().map(|event| event.addressed_to(&addressee)).collect())
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let to = jid::recipient(chat_id, subject, "@s.whatsapp.net");
        let message = json!({ "to": to, "body": text, "no_link_preview": true });
        self.post("messages/text", &message)
    }

    /// Source: whapi.readme.io/reference/sendmessageinteractive.
    fn button_message(
        &self,
        chat_id: &str,
        subject: Option<&Subject>,
        message: &ButtonMessage<'_>,
    ) -> Option<Request<Vec<u8>>> {
        let button = json!({ "type": "url", "id": "1", "title": message.label, "url": message.url });
        let body = json!({
            "to": jid::recipient(chat_id, subject, "@s.whatsapp.net"),
            "type": "button",
            "body": { "text": message.full_text },
            "action": { "buttons": [button] },
        });
        self.button.then(|| self.post("messages/interactive", &body))
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        let hidden = sample.sender == SampleSender::HiddenNumber;
        let from = if hidden { format!("{}@lid", sample.lid) } else { sample.phone.clone() };
        let message = json!({
            "id": sample.id, "from_me": sample.is_from_me(), "type": "text", "chat_id": sample.chat("@s.whatsapp.net"),
            "timestamp": sample.timestamp, "source": "mobile", "text": { "body": sample.text }, "from": from,
            "from_name": SampleMessage::PUSH_NAME,
        });
        Some(WebhookRequest::json(&json!({ "messages": [message], "event": { "type": "messages", "event": "post" } })))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, &["/message/id"], &[CLIENT_ANSWERS, ANSWERS])
    }
}

impl Whapi {
    fn post(&self, path: &str, message: &Value) -> Request<Vec<u8>> {
        let bearer = format!("Bearer {}", self.api_key.expose_secret());
        json::post(&format!("{}/{path}", self.url), &[("authorization", &bearer)], message)
    }
}

fn read_status(status: &Value) -> WebhookEvent {
    WebhookEvent::status(text_at(status, "/id"), text_at(status, "/status").and_then(ReceiptStatus::from_word))
}

fn event_of_message(message: &Value) -> WebhookEvent {
    read_message(message).unwrap_or_else(|why| WebhookEvent::malformed(&why))
}

fn read_message(message: &Value) -> Result<WebhookEvent, Malformed> {
    let id = text_at(message, "/id").ok_or_else(|| Malformed("a message has no id".to_owned()))?;
    let chat = text_at(message, "/chat_id").ok_or_else(|| Malformed("a message has no chat id".to_owned()))?;
    let from = text_at(message, "/from").unwrap_or_default();
    // Bare digits are a phone number, except in a LID chat, where they may be the LID.
    let digits = format!("{from}@s.whatsapp.net");
    let from = if from.contains('@') || chat.ends_with("@lid") { from } else { &digits };
    let words = match text_at(message, "/type") {
        Some("text") => text_at(message, "/text/body"),
        Some("link_preview") => text_at(message, "/link_preview/body"),
        _ => None,
    };
    let message = MessageFields {
        id,
        dedupe_key: None,
        chat,
        from_me: message["from_me"].as_bool().unwrap_or_default(),
        group: false,
        senders: if jid::is_group(chat) { vec![from] } else { vec![from, chat] },
        content: Content::from_text(words),
        push_name: text_at(message, "/from_name"),
        timestamp: time_at(message, "/timestamp"),
    };
    Ok(message.into_event())
}
