//! Evolution Go: webhooks are not signed and have no headers of one's own, so a secret in the URL authenticates them.
//! Messages are whatsmeow's events. Source: github.com/EvolutionAPI/evolution-go, docs/wiki.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Gateway, IgnoreReason, Malformed, ReceiptStatus, SampleMessage, SendResult, Webhook, WebhookAuth, WebhookEvent,
    WebhookRequest,
    addressee::Addressee,
    answers::{self, Answer, CLIENT_ANSWERS, NOT_CONNECTED, UNAUTHORIZED},
    auth_scheme::AuthScheme,
    config_reader::ConfigReader,
    jid,
    json::{self, text_at},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
    wuzapi,
};
use crate::domain::Subject;

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "evolution-go",
    build,
    preset: None,
    group: KindGroup::Unofficial,
    proof: "the URL (weak)",
    ban_risk: BanRisk::Yes,
    sms: false,
    codes: CodeDelivery::Text,
    delivery_reports: "events `MESSAGE`, `READ_RECEIPT`",
    compared: "the instance's token",
    several_numbers: "a webhook URL per instance, not the global one",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"`POST /instance/connect` with the instance's token as `apikey` and `{"webhookUrl": "<webhook URL>/<webhook_secret>",
"subscribe": ["MESSAGE", "READ_RECEIPT"]}`. Webhooks carry no header of your own, so the secret is in the URL. `api_key` is
the instance's token, which webhooks repeat: messages of other instances are ignored.

```toml
[instance.gateway]
kind = "evolution-go"
url = "http://evolution-go:4000"
api_key = "the-instances-token"
webhook_secret = "0123456789abcdef0123456789abcdef"
```

Messages are sent with an `id` that is the same in every attempt.
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    Arc::new(EvolutionGo {
        scheme: reader.scheme(&[("url-secret", AuthScheme::UrlSecret { param: "token".to_owned() })]),
        secrets: reader.webhook_secrets(),
        url: reader.base_url(None),
        api_key: reader.sending_secret("api_key", "the instance's token, to send replies"),
    })
}

/// pkg/instance/service and pkg/middleware: whatsmeow's errors are a 500 whose text names the reason.
const ANSWERS: &[Answer] = &[
    Answer::contains("no session found", NOT_CONNECTED),
    Answer::contains("client disconnected", NOT_CONNECTED),
    Answer::contains("no active session", NOT_CONNECTED),
    Answer::contains("not authorized", UNAUTHORIZED).at(401),
];

struct EvolutionGo {
    scheme: AuthScheme,
    secrets: Vec<SecretString>,
    url: String,
    /// Also the recipient of webhooks, which name it.
    api_key: SecretString,
}

impl Gateway for EvolutionGo {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let body = json::parse(webhook.body)?;
        let events = match text_at(&body, "/event").ok_or_else(|| Malformed("no event".to_owned()))? {
            "Message" => vec![wuzapi::read_message(&body["data"])?],
            "Receipt" => {
                let ids = json::items_at(&body, "/data/MessageIDs").filter_map(Value::as_str);
                WebhookEvent::statuses(ids, text_at(&body, "/state").and_then(ReceiptStatus::from_word))
            }
            "SendMessage" => vec![WebhookEvent::ignored(IgnoreReason::FromMe)],
            _ => vec![WebhookEvent::ignored(IgnoreReason::Event)],
        };
        let addressee = Addressee::default().check_id(body.get("instanceToken"), self.api_key.expose_secret());
        Ok(events.into_iter().map(|event| event.addressed_to(&addressee)).collect())
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let message = json!({ "number": jid::recipient(chat_id, subject, ""), "text": text });
        json::post(&format!("{}/send/text", self.url), &[("apikey", self.api_key.expose_secret())], &message)
    }

    fn set_message_id(&self, message: &mut Request<Vec<u8>>, id: &str) -> bool {
        json::insert_field(message, "id", id)
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        Some(WebhookRequest::json(&json!({
            "event": "Message", "data": wuzapi::compose_event(sample), "instanceToken": self.api_key.expose_secret(),
            "instanceName": "doctor",
        })))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, &["/data/Info/ID"], &[CLIENT_ANSWERS, ANSWERS])
    }
}
