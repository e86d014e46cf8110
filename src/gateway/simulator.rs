//! The gateway of `dev`'s fake phone, also for the test suites of apps. `serve` refuses it.

use std::sync::Arc;

use http::{Request, Response};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::form_urlencoded::byte_serialize;

use super::{
    CodeMessage, Gateway, IgnoreReason, Malformed, SampleMessage, SampleSender, SendResult, Webhook, WebhookAuth,
    WebhookEvent, WebhookRequest, answers,
    auth_scheme::AuthScheme,
    config_reader::ConfigReader,
    json,
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
};
use crate::domain::{Channel, Chat, Sender, Subject, standard_webhooks};

/// Not one of [`super::kinds`]: its messages are made up.
pub(super) const KIND: GatewayKind = GatewayKind {
    name: "simulator",
    build,
    preset: None,
    group: KindGroup::Configured,
    proof: "Standard Webhooks",
    ban_risk: BanRisk::None,
    sms: true,
    codes: CodeDelivery::Text,
    delivery_reports: "no",
    compared: "",
    several_numbers: "",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: "",
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    let channels = [("whatsapp", Channel::WhatsApp), ("sms", Channel::Sms)];
    let channel = reader.table.choice("channel", &channels).unwrap_or(Channel::WhatsApp);
    Arc::new(Simulator {
        channel,
        secrets: reader.webhook_secrets(),
        url: reader.base_url(None),
        api_key: reader.sending_secret("api_key", "the bearer token that the fake phone expects"),
    })
}

struct Simulator {
    channel: Channel,
    secrets: Vec<SecretString>,
    url: String,
    api_key: SecretString,
}

/// The body of a simulated webhook.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SimulatedMessage {
    pub id: String,
    /// The sender's chat id: digits, E.164, `…@c.us`, `…@lid` or a BSUID.
    pub from: String,
    pub text: String,
    /// Unix seconds.
    pub timestamp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_name: Option<String>,
    /// The group's id, `…@g.us`, for a message in a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_me: bool,
    /// Whether this is an edit of an earlier message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edited: bool,
}

impl SimulatedMessage {
    /// The request body, and the three Standard Webhooks headers that sign it at `now`.
    pub fn sign(&self, secret: &str, now: Timestamp) -> (Vec<u8>, [(&'static str, String); 3]) {
        let body = serde_json::to_vec(self).expect("a message has only string keys");
        let key = standard_webhooks::key(secret).unwrap_or_default();
        let stamp = now.as_second().to_string();
        let signature = standard_webhooks::signature(&key, &self.id, &stamp, &body);
        let headers = [("webhook-id", self.id.clone()), ("webhook-timestamp", stamp), ("webhook-signature", signature)];
        (body, headers)
    }
}

impl Simulator {
    /// `code` marks one-time codes, so that the fake phone can distinguish them from replies.
    fn message(&self, chat_id: &str, text: &str, code: bool) -> Request<Vec<u8>> {
        let body = json!({ "to": chat_id, "text": text, "channel": self.channel.as_str(), "code": code });
        Request::post(format!("{}/messages", self.url))
            .header("authorization", format!("Bearer {}", self.api_key.expose_secret()))
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())
            .expect("the URL and the credentials were validated when the configuration was loaded")
    }
}

impl Gateway for Simulator {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &AuthScheme::StandardWebhooks, secrets: &self.secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let malformed = || Malformed("expected id, from, text and timestamp".to_owned());
        let message: SimulatedMessage = serde_json::from_value(json::parse(webhook.body)?).map_err(|_| malformed())?;
        let from: Chat = message.from.parse().map_err(|_| malformed())?;
        let sender = match from.subject() {
            Subject::Phone(phone) => Sender::new(Some(phone.clone()), None, None),
            Subject::Lid(id) => Sender::new(None, Some(id), None),
            Subject::Bsuid(id) => Sender::new(None, None, Some(id)),
        };
        let ignored = match &message {
            SimulatedMessage { from_me: true, .. } => Some(IgnoreReason::FromMe),
            SimulatedMessage { group: Some(_), .. } => Some(IgnoreReason::Group),
            SimulatedMessage { edited: true, .. } => Some(IgnoreReason::Edit),
            SimulatedMessage { text, .. } if text.is_empty() => Some(IgnoreReason::NonText),
            _ => None,
        };
        Ok(vec![WebhookEvent {
            ignored,
            message_id: Some(message.id),
            dedupe_key: None,
            group: message.group.is_some(),
            chat_id: Some(message.group.unwrap_or(message.from)),
            sender,
            push_name: message.push_name,
            text: Some(message.text),
            timestamp: Some(message.timestamp),
            from_me: message.from_me,
            ..WebhookEvent::default()
        }])
    }

    fn text_message(&self, chat_id: &str, _subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        self.message(chat_id, text, false)
    }

    fn fake_phone(&self, text: &str) -> Option<String> {
        Some(format!("{}/?text={}", self.url, byte_serialize(text.as_bytes()).collect::<String>()))
    }

    fn channel(&self) -> Channel {
        self.channel
    }

    fn code_message(&self, message: &CodeMessage<'_>) -> Option<Request<Vec<u8>>> {
        Some(self.message(&self.recipient(message.subject), message.text, true))
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        let message = SimulatedMessage {
            id: sample.id.clone(),
            from: sample.author("@c.us").unwrap_or_else(|| sample.chat("@c.us")),
            text: sample.text.clone(),
            timestamp: sample.timestamp,
            push_name: Some(SampleMessage::PUSH_NAME.to_owned()),
            group: (sample.sender == SampleSender::Group).then(|| sample.chat("@c.us")),
            from_me: sample.is_from_me(),
            edited: false,
        };
        Some(WebhookRequest::json(&json!(message)))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, &["/id"], &[])
    }
}
