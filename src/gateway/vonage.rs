//! Vonage's Messages API: webhooks carry a signed token with the body's hash. Vonage retries a webhook for a day until
//! it is answered with 200.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Gateway, IgnoreReason, Malformed, ReceiptStatus, SampleMessage, SampleSender, SendResult, Webhook, WebhookAuth,
    WebhookEvent, WebhookRequest,
    addressee::Addressee,
    answers,
    auth_scheme::AuthScheme,
    cloud_message,
    config_reader::{self, ConfigReader, Purpose, basic_auth},
    json::{self, text_at, time_at},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
    sender_ids::SenderIds,
};
use crate::domain::{Channel, Subject};

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "vonage",
    build,
    preset: None,
    group: KindGroup::Official,
    proof: "a token with the body's hash",
    ban_risk: BanRisk::None,
    sms: true,
    codes: CodeDelivery::SmsOrDayWindow,
    delivery_reports: "status URL",
    compared: "`from`",
    several_numbers: "an application per number, each with its inbound URL",
    issues_webhook_secret: true,
    shared_secrets: &[],
    setup: r#"*Dashboard → Applications → your application → Messages*: inbound URL = the webhook URL; *API Settings → SMS/Messages
settings*: signed webhooks. `webhook_secret` is the **signature secret** (HS256). For SMS, use a separate instance with
`channel = "sms"`. A token is accepted for a day, because Vonage retries for that long.

```toml
[instance.gateway]
kind = "vonage"
channel = "whatsapp"
from = "12025550142"
api_key = "abcd1234"
api_secret = "the-API-secret"
webhook_secret = "0123456789abcdef0123456789abcdef"       # the signature secret
```
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    let channels = [("whatsapp", Channel::WhatsApp), ("sms", Channel::Sms)];
    let channel = reader.table.choice("channel", &channels).unwrap_or(Channel::WhatsApp);
    let sms_verifies = reader.sms_verifies(channel);
    let from = reader.text("from");
    if from.is_none() && reader.purpose != Purpose::Inspect {
        reader.table.fault("from", "is missing: the sending number");
    }
    let api_key = reader.sending_secret("api_key", "Vonage's API key, to send replies");
    let api_secret = reader.sending_secret("api_secret", "the secret of api_key");
    Arc::new(Vonage {
        signature_secrets: reader.webhook_secrets(),
        url: reader.base_url(Some("https://api.nexmo.com")),
        authorization: basic_auth(api_key.expose_secret(), &api_secret).into(),
        channel,
        sms_verifies,
        from: from.unwrap_or_default(),
    })
}

struct Vonage {
    signature_secrets: Vec<SecretString>,
    url: String,
    authorization: SecretString,
    channel: Channel,
    sms_verifies: bool,
    from: String,
}

impl Gateway for Vonage {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &AuthScheme::BodyJwt, secrets: &self.signature_secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let body = json::parse(webhook.body)?;
        let event = match text_at(&body, "/message_type") {
            None if body.get("status").is_some() => WebhookEvent::status(
                text_at(&body, "/message_uuid"),
                text_at(&body, "/status").and_then(ReceiptStatus::from_word),
            ),
            // Senders on other channels are not phone numbers.
            Some(_) if text_at(&body, "/channel") != Some(self.channel.as_str()) => {
                WebhookEvent::ignored(IgnoreReason::Event)
            }
            Some(_) if self.channel == Channel::Sms && !self.sms_verifies => WebhookEvent::ignored(IgnoreReason::Sms),
            Some(kind) => read_message(&body, kind)?,
            None => WebhookEvent::ignored(IgnoreReason::Event),
        };
        let addressee = Addressee::default()
            .check_phone(text_at(&body, "/to").filter(|_| event.ignored.is_none()), Some(&self.from));
        Ok(vec![event.addressed_to(&addressee)])
    }

    fn channel(&self) -> Channel {
        self.channel
    }

    fn sender_warning(&self) -> Option<&'static str> {
        self.sms_verifies.then_some(config_reader::SMS_WARNING)
    }

    fn recipient(&self, subject: &Subject) -> String {
        cloud_message::recipient_of(subject)
    }

    fn text_message(&self, chat_id: &str, _subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let message = json!({
            "message_type": "text", "text": text, "to": chat_id, "from": self.from, "channel": self.channel.as_str(),
        });
        let authorization = ("authorization", self.authorization.expose_secret());
        json::post(&format!("{}/v1/messages", self.url), &[authorization], &message)
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        let channel = if self.channel == Channel::Sms { "sms" } else { "whatsapp" };
        let own = if self.from.is_empty() { &sample.to } else { &self.from };
        let tail = sample.id.get(sample.id.len().saturating_sub(12)..).unwrap_or_default().to_lowercase();
        let uuid = format!("00000000-0000-4000-8000-{tail:0>12}");
        let from = match sample.sender {
            SampleSender::HiddenNumber if self.channel == Channel::WhatsApp => sample.bsuid(),
            SampleSender::Group | SampleSender::HiddenNumber => return None,
            SampleSender::OwnNumber => {
                return Some(WebhookRequest::json(&json!({
                    "message_uuid": uuid, "status": "delivered", "channel": channel, "timestamp": sample.rfc3339(),
                    "to": sample.phone, "from": own,
                })));
            }
            SampleSender::Person => sample.phone.clone(),
        };
        Some(WebhookRequest::json(&json!({
            "channel": channel, "message_uuid": uuid, "to": own, "from": from, "timestamp": sample.rfc3339(),
            "message_type": "text", "text": sample.text, "profile": { "name": SampleMessage::PUSH_NAME },
        })))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, &["/message_uuid"], &[])
    }
}

fn read_message(body: &Value, kind: &str) -> Result<WebhookEvent, Malformed> {
    let id = text_at(body, "/message_uuid").ok_or_else(|| Malformed("a message has no id".to_owned()))?;
    let user = text_at(body, "/whatsapp/sender/user_id");
    let from = text_at(body, "/from").or(user);
    let on_whatsapp = text_at(body, "/channel") == Some("whatsapp");
    let words = text_at(body, "/text").filter(|_| kind == "text");
    let ids = SenderIds::default().phone(from.and_then(|digits| digits.parse().ok()));
    let ids = [user, from].into_iter().fold(ids, |ids, id| ids.bsuid(id.filter(|_| on_whatsapp)));
    let event = WebhookEvent {
        ignored: words.is_none().then_some(IgnoreReason::NonText),
        message_id: Some(id.to_owned()),
        chat_id: from.map(str::to_owned),
        forgeable: !on_whatsapp,
        push_name: text_at(body, "/profile/name").map(str::to_owned),
        text: words.map(str::to_owned),
        timestamp: time_at(body, "/timestamp"),
        ..WebhookEvent::default()
    };
    Ok(event.with_sender(ids))
}
