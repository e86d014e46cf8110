//! Green-API: webhooks are authenticated by a secret in the Authorization header; each message type has its own text
//! field.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    ButtonMessage, Gateway, IgnoreReason, Malformed, ReceiptStatus, Refusal, SampleMessage, SendResult, Webhook,
    WebhookAuth, WebhookEvent, WebhookRequest,
    addressee::Addressee,
    answers::{self, Answer, NOT_CONNECTED, QUOTA, UNAUTHORIZED},
    auth_scheme::AuthScheme,
    config_reader::{ConfigReader, path_segment},
    jid::{self, Content, MessageFields, texts_at},
    json::{self, text_at, time_at},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
};
use crate::domain::{DeliveryFailure, Subject};

const DEFAULT_URL: &str = "https://api.green-api.com";

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "green-api",
    build,
    preset: None,
    group: KindGroup::Unofficial,
    proof: "a header (weak)",
    ban_risk: BanRisk::Yes,
    sms: false,
    codes: CodeDelivery::Text,
    delivery_reports: "`\"outgoingWebhook\": \"yes\"`",
    compared: "`instance`, its own number",
    several_numbers: "a webhook URL per instance",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"In the console or by `setSettings`: `"webhookUrl": "<webhook URL>"`, `"webhookUrlToken": "<webhook_secret>"` including the
word `Bearer`, `"incomingWebhook": "yes"`. While the instance is offline or suspended, Green-API keeps messages for up to 24 hours:
its state is asked before each code, which then goes to the next channel at once.

```toml
[instance.gateway]
kind = "green-api"
instance = "1100000777"
api_key = "the-apiTokenInstance"
webhook_secret = "Bearer 0123456789abcdef0123456789abcdef"
```
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    Arc::new(GreenApi {
        scheme: reader.scheme(&[("static-header", AuthScheme::StaticHeader { header: "authorization".to_owned() })]),
        secrets: reader.webhook_secrets(),
        url: reader.base_url(Some(DEFAULT_URL)),
        instance: reader.sending_secret("instance", "the idInstance").expose_secret().to_owned(),
        api_key: reader.sending_secret("api_key", "the apiTokenInstance, to send replies"),
        button: reader.button(),
    })
}

/// green-api.com/en/docs/api/common-errors.
const ANSWERS: &[Answer] = &[
    Answer::contains("starting", NOT_CONNECTED).at(400),
    Answer::contains("expired", UNAUTHORIZED).at(400),
    Answer::contains("deleted", UNAUTHORIZED).at(400),
    Answer::contains("not authorized", UNAUTHORIZED).at(400),
    // The number of chats per month, or of messages on a developer's account.
    Answer::status(466, QUOTA),
];

struct GreenApi {
    scheme: AuthScheme,
    /// Complete header values, including `Bearer` or `Basic`.
    secrets: Vec<SecretString>,
    url: String,
    instance: String,
    api_key: SecretString,
    button: bool,
}

impl Gateway for GreenApi {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let body = json::parse(webhook.body)?;
        let event = match text_at(&body, "/typeWebhook").ok_or_else(|| Malformed("no typeWebhook".to_owned()))? {
            "incomingMessageReceived" => read_message(&body, false)?,
            "outgoingMessageReceived" | "outgoingAPIMessageReceived" => read_message(&body, true)?,
            "outgoingMessageStatus" => {
                let progress = text_at(&body, "/status").and_then(ReceiptStatus::from_word);
                WebhookEvent { from_me: true, ..WebhookEvent::status(text_at(&body, "/idMessage"), progress) }
            }
            _ => WebhookEvent::ignored(IgnoreReason::Event),
        };
        let addressee = Addressee::default().check_id(body.pointer("/instanceData/idInstance"), &self.instance);
        Ok(vec![event.addressed_to(&addressee.with_phone(text_at(&body, "/instanceData/wid")))])
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let chat_id = jid::recipient(chat_id, subject, "@c.us");
        let message = json!({ "chatId": chat_id, "message": text, "linkPreview": false });
        self.post("sendMessage", &message)
    }

    /// Source: green-api.com/en/docs/api/sending/SendInteractiveButtons.
    fn button_message(
        &self,
        chat_id: &str,
        subject: Option<&Subject>,
        message: &ButtonMessage<'_>,
    ) -> Option<Request<Vec<u8>>> {
        let button = json!({ "type": "url", "buttonId": "1", "buttonText": message.label, "url": message.url });
        let chat_id = jid::recipient(chat_id, subject, "@c.us");
        let body = json!({ "chatId": chat_id, "body": message.full_text, "buttons": [button] });
        self.button.then(|| self.post("sendInteractiveButtons", &body))
    }

    /// green-api.com/en/docs/api/account/GetStateInstance.
    fn queue_check(&self) -> Option<Request<Vec<u8>>> {
        Request::get(self.method_url("getStateInstance")).body(Vec::new()).ok()
    }

    fn parse_queue_check(&self, response: &Response<Vec<u8>>) -> Option<SendResult> {
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        match text_at(&body, "/stateInstance")? {
            "notAuthorized" | "blocked" => Some(SendResult::Refused(Refusal::Unauthorized)),
            "yellowCard" | "suspended" => Some(SendResult::Refused(Refusal::WindowClosed)),
            "starting" | "sleepMode" => Some(SendResult::Retryable { reason: DeliveryFailure::NotConnected }),
            _ => None,
        }
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        let chat = sample.chat("@c.us");
        let event = if sample.is_from_me() { "outgoingMessageReceived" } else { "incomingMessageReceived" };
        let sender = json!({
            "sender": sample.author("@c.us").unwrap_or_else(|| chat.clone()), "chatId": chat,
            "senderName": SampleMessage::PUSH_NAME,
        });
        let message = json!({ "typeMessage": "textMessage", "textMessageData": { "textMessage": sample.text } });
        Some(WebhookRequest::json(&json!({
            "typeWebhook": event, "timestamp": sample.timestamp, "idMessage": sample.id, "senderData": sender,
            "messageData": message,
        })))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, &["/idMessage"], &[ANSWERS])
    }
}

impl GreenApi {
    /// The URL contains the API token and must not be logged.
    fn post(&self, method: &str, message: &Value) -> Request<Vec<u8>> {
        json::post(&self.method_url(method), &[], message)
    }

    fn method_url(&self, method: &str) -> String {
        let (instance, token) = (path_segment(&self.instance), path_segment(self.api_key.expose_secret()));
        format!("{}/waInstance{instance}/{method}/{token}", self.url)
    }
}

fn read_message(body: &Value, from_me: bool) -> Result<WebhookEvent, Malformed> {
    let id = text_at(body, "/idMessage").ok_or_else(|| Malformed("a message has no id".to_owned()))?;
    let chat = text_at(body, "/senderData/chatId").ok_or_else(|| Malformed("a message has no chat id".to_owned()))?;
    let senders: &[&str] =
        if jid::is_group(chat) { &["/senderData/sender"] } else { &["/senderData/sender", "/senderData/chatId"] };
    let words = match text_at(body, "/messageData/typeMessage") {
        Some("textMessage") => text_at(body, "/messageData/textMessageData/textMessage"),
        Some("extendedTextMessage" | "quotedMessage") => text_at(body, "/messageData/extendedTextMessageData/text"),
        _ => None,
    };
    let edited = text_at(body, "/messageData/typeMessage") == Some("editedMessage");
    let message = MessageFields {
        id,
        dedupe_key: None,
        chat,
        from_me,
        group: false,
        senders: texts_at(body, senders),
        // Green-API writes `{{SWE001}}` and the like for a message that it could not decrypt.
        content: if edited {
            Content::Edit
        } else {
            Content::from_text(words.filter(|text| !text.starts_with("{{SWE")))
        },
        push_name: text_at(body, "/senderData/senderName"),
        timestamp: time_at(body, "/timestamp"),
    };
    Ok(message.into_event())
}
