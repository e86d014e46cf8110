//! Bird, formerly `MessageBird`: webhooks are signed with HMAC-SHA256 over timestamp, URL and body.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    DeliveryReceipt, Gateway, IgnoreReason, Malformed, ReceiptStatus, SampleMessage, SampleSender, SendResult, Webhook,
    WebhookAuth, WebhookEvent, WebhookRequest,
    addressee::Addressee,
    answers,
    auth_scheme::AuthScheme,
    cloud_api,
    config_reader::ConfigReader,
    json::{self, text_at, time_at},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
    sender_ids::SenderIds,
};
use crate::domain::Subject;

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "bird",
    build,
    preset: None,
    group: KindGroup::Official,
    proof: "HMAC-SHA256 of time, URL and body",
    ban_risk: BanRisk::None,
    sms: false,
    codes: CodeDelivery::DayWindow,
    delivery_reports: "event *whatsapp.outbound*",
    compared: "`channel_id`",
    several_numbers: "a subscription per instance; events of other channels are ignored",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"*Developer → Webhook subscriptions → Create*: service **channels**, event **whatsapp.inbound**, URL = the webhook URL,
signing key = `webhook_secret`; for delivery reports a second one with event **whatsapp.outbound** and the same URL and
key. Bird signs the URL as entered there (set `webhook_url` if it differs). The access key needs permission to send
messages. Users who hide their number are answered by their business-scoped id.

```toml
[instance.gateway]
kind = "bird"
workspace_id = "5f0c2a90-1111-4000-8000-000000000001"
channel_id = "5f0c2a90-2222-4000-8000-000000000001"
access_key = "the-access-key"
webhook_secret = "0123456789abcdef0123456789abcdef"       # the signing key
```
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    let workspace = reader.identifier("workspace_id", "the id of the workspace");
    let channel = reader.identifier("channel_id", "the id of the WhatsApp channel");
    let url = reader.base_url(Some("https://api.bird.com"));
    Arc::new(Bird {
        scheme: AuthScheme::Bird { url: reader.webhook_url() },
        signing_keys: reader.webhook_secrets(),
        endpoint: format!("{url}/workspaces/{workspace}/channels/{channel}/messages"),
        channel,
        access_key: reader.sending_secret("access_key", "Bird's AccessKey, to send replies"),
    })
}

/// Bird's identifier keys.
const PHONE: &str = "phonenumber";
const BSUID: &str = "whatsappbsuid";

struct Bird {
    scheme: AuthScheme,
    signing_keys: Vec<SecretString>,
    endpoint: String,
    channel: String,
    access_key: SecretString,
}

impl Gateway for Bird {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.signing_keys }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let body = json::parse(webhook.body)?;
        let event = match text_at(&body, "/event").ok_or_else(|| Malformed("no event".to_owned()))? {
            // Senders on other channels are not verified by WhatsApp.
            "whatsapp.inbound" | "whatsapp.outbound" => read_message(&body["payload"])?,
            _ => WebhookEvent::ignored(IgnoreReason::Event),
        };
        let addressee = Addressee::default().check_id(body.pointer("/payload/channelId"), &self.channel);
        Ok(vec![event.addressed_to(&addressee)])
    }

    fn recipient(&self, subject: &Subject) -> String {
        subject.value()
    }

    fn text_message(&self, chat_id: &str, _subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let key = if chat_id.starts_with('+') { PHONE } else { BSUID };
        let message = json!({
            "receiver": { "contacts": [{ "identifierKey": key, "identifierValue": chat_id }] },
            "body": { "type": "text", "text": { "text": text } },
        });
        let key = format!("AccessKey {}", self.access_key.expose_secret());
        json::post(&self.endpoint, &[("authorization", &key)], &message)
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        let (key, value) = match sample.sender {
            SampleSender::Group => return None,
            SampleSender::HiddenNumber => ("whatsappusername", "doctor".to_owned()),
            _ => (PHONE, format!("+{}", sample.phone)),
        };
        let name = json!({ "name": SampleMessage::PUSH_NAME });
        let contact = json!({ "identifierKey": key, "identifierValue": value, "annotations": name });
        let mut extra = json!({ "timestamp": sample.timestamp.to_string() });
        if sample.sender == SampleSender::HiddenNumber {
            extra[BSUID] = json!(sample.bsuid());
        }
        let (event, direction) =
            if sample.is_from_me() { ("whatsapp.outbound", "outgoing") } else { ("whatsapp.inbound", "incoming") };
        let mut payload = json!({
            "id": sample.id, "body": { "type": "text", "text": { "text": sample.text } },
            "meta": { "extraInformation": extra }, "createdAt": sample.rfc3339(), "direction": direction,
        });
        if sample.is_from_me() {
            payload["receiver"] = json!({ "contacts": [contact] });
        } else {
            payload["sender"] = json!({ "contact": contact });
        }
        Some(WebhookRequest::json(&json!({ "service": "channels", "event": event, "payload": payload })))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, &["/id"], &[])
    }
}

fn read_message(payload: &Value) -> Result<WebhookEvent, Malformed> {
    let id = text_at(payload, "/id").ok_or_else(|| Malformed("a message has no id".to_owned()))?;
    let from_me = text_at(payload, "/direction") != Some("incoming");
    let other = if from_me { "/receiver/contacts/0" } else { "/sender/contact" };
    let of = |field: &str| text_at(payload, &format!("{other}/{field}"));
    let bsuid = text_at(payload, "/meta/extraInformation/whatsappbsuid");
    let number = of("identifierValue").filter(|_| of("identifierKey").is_none_or(|key| key == PHONE));
    let phone = number.filter(|_| of("identifierKey").is_some()).and_then(|number| number.parse().ok());
    let is_text = text_at(payload, "/body/type") == Some("text");
    let words = text_at(payload, "/body/text/text").filter(|_| is_text);
    let ignored = if from_me { Some(IgnoreReason::FromMe) } else { words.is_none().then_some(IgnoreReason::NonText) };
    let event = WebhookEvent {
        ignored,
        message_id: Some(id.to_owned()),
        // Without a phone, the contact is identified by a username, which can change; the BSUID cannot.
        chat_id: number.or(bsuid).or(of("identifierValue")).map(str::to_owned),
        push_name: of("annotations/name").map(str::to_owned),
        text: words.map(str::to_owned),
        timestamp: time_at(payload, "/meta/extraInformation/timestamp").or(time_at(payload, "/createdAt")),
        from_me,
        receipt: if from_me { receipt(payload, id) } else { None },
        ..WebhookEvent::default()
    };
    Ok(event.with_sender(SenderIds::default().phone(phone).bsuid(bsuid)))
}

/// The delivery receipt in a `whatsapp.outbound` event, which repeats a sent message with its new status. If WhatsApp
/// rejected it, Bird passes on Meta's code: docs.bird.com/api, Channels API, "Message Failure Sources".
fn receipt(payload: &Value, id: &str) -> Option<DeliveryReceipt> {
    let source = payload.pointer("/failure/source").filter(|source| text_at(source, "/name") == Some("whatsapp"));
    let why = source.and_then(|source| text_at(source, "/code"));
    let progress = ReceiptStatus::from_word(text_at(payload, "/status")?)?.with_code(cloud_api::ANSWERS, why);
    Some(DeliveryReceipt { message_id: id.to_owned(), status: progress })
}
