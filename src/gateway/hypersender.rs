//! Hypersender: WAHA's payload one level deeper; webhooks are authenticated by a static header.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{
    Gateway, Malformed, SampleMessage, SendResult, Webhook, WebhookAuth, WebhookEvent, WebhookRequest,
    answers::{self, Answer, CLIENT_ANSWERS, NOT_ON_WHATSAPP, WINDOW_CLOSED},
    auth_scheme::AuthScheme,
    config_reader::ConfigReader,
    jid,
    json::{self, text_at},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
    waha,
};
use crate::domain::Subject;

const DEFAULT_URL: &str = "https://app.hypersender.com/api/whatsapp/v2";

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "hypersender",
    build,
    preset: None,
    group: KindGroup::Unofficial,
    proof: "a header (weak)",
    ban_risk: BanRisk::Yes,
    sms: false,
    codes: CodeDelivery::Text,
    delivery_reports: "event `message.ack`",
    compared: "`instance`, the own number in `me` or `to`",
    several_numbers: "a webhook per instance",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"*Instance → Webhooks*: the webhook URL, event `message.any`, authorization = `webhook_secret`, exactly.

```toml
[instance.gateway]
kind = "hypersender"
instance = "5f0c2a90-3333-4000-8000-000000000001"
api_key = "the-API-token"
webhook_secret = "0123456789abcdef0123456789abcdef"
```
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    Arc::new(Hypersender {
        scheme: AuthScheme::StaticHeader { header: "authorization".to_owned() },
        secrets: reader.webhook_secrets(),
        url: reader.base_url(Some(DEFAULT_URL)),
        api_key: reader.sending_secret("api_key", "Hypersender's API token, to send replies"),
        instance: reader.identifier("instance", "the id of the instance at Hypersender"),
    })
}

/// docs.hypersender.com, WhatsApp API v2, "Errors".
const ANSWERS: &[Answer] = &[
    Answer::value("/errors/exists", &["false"], NOT_ON_WHATSAPP).at(422),
    // WhatsApp has restricted this number from starting chats, for some hours.
    Answer::status(423, WINDOW_CLOSED),
];

struct Hypersender {
    scheme: AuthScheme,
    secrets: Vec<SecretString>,
    url: String,
    api_key: SecretString,
    instance: String,
}

impl Gateway for Hypersender {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.secrets }
    }

    /// `instanceId` is either in `data` or beside it.
    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let body = json::parse(webhook.body)?;
        let name = text_at(&body, "/event").or(text_at(&body, "/data/event"));
        let addressee = waha::addressee(&body["data"]);
        let named = body.get("instanceId").or(body["data"].get("instanceId"));
        Ok(vec![
            waha::read_event(name, &body["data"]["payload"])?.addressed_to(&addressee.check_id(named, &self.instance)),
        ])
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let chat_id = jid::recipient(chat_id, subject, "@c.us");
        let message = json!({ "chatId": chat_id, "text": text, "link_preview": false });
        let bearer = format!("Bearer {}", self.api_key.expose_secret());
        json::post(&format!("{}/{}/send-text", self.url, self.instance), &[("authorization", &bearer)], &message)
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        let (event, payload) = ("message.any", waha::compose_payload(sample));
        let data = json!({ "id": format!("evt_{}", sample.id), "event": event, "payload": payload });
        let body = json!({ "event": event, "data": data, "instanceId": self.instance, "userId": 1 });
        Some(WebhookRequest::json(&body))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        // A queued message has no id yet.
        answers::read(response, &["/key/id"], &[ANSWERS, CLIENT_ANSWERS])
    }
}
