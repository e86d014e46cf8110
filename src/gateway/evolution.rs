//! Gateway for Evolution API. Webhooks are not signed. Which field has the sender's phone number depends on the
//! release.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Gateway, IgnoreReason, Malformed, ReceiptStatus, SampleMessage, SendResult, Unauthenticated, Webhook, WebhookAuth,
    WebhookEvent, WebhookRequest,
    addressee::Addressee,
    answers::{self, Answer, CLIENT_ANSWERS, GATEWAY_TIMEOUT, NOT_CONNECTED, NOT_ON_WHATSAPP, UNAUTHORIZED},
    auth_scheme::AuthScheme,
    config_reader::{ConfigReader, path_segment},
    jid::{self, Content, MessageFields, texts_at},
    json::{self, text_at, time_at},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
    wuzapi,
};
use crate::domain::Subject;

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "evolution",
    build,
    preset: None,
    group: KindGroup::Unofficial,
    proof: "a header, a token or the URL (weak)",
    ban_risk: BanRisk::Yes,
    sms: false,
    codes: CodeDelivery::Text,
    delivery_reports: "event `MESSAGES_UPDATE`",
    compared: "`instance`, its own number",
    several_numbers: "a webhook per instance, not the global one",
    issues_webhook_secret: false,
    shared_secrets: &[("api_key", "")],
    setup: r#"`POST /webhook/set/<instance>` with `{"webhook": {"enabled": true, "url": "<webhook URL>", "events":
["MESSAGES_UPSERT"], "headers": {"x-webhook-secret": "<webhook_secret>"}}}`. `webhookByEvents` may be on or off. The
global webhook (`WEBHOOK_GLOBAL_URL`) sends no headers: set it to `<webhook URL>/<webhook_secret>`, with
`webhook_auth = "url-secret"`. A wrong secret loses messages: Evolution does not retry webhooks that were answered with 401.

```toml
[instance.gateway]
kind = "evolution"
url = "http://evolution:8080"
instance = "main"
api_key = "the-apikey"
webhook_secret = "0123456789abcdef0123456789abcdef"
```
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    let choices = [
        ("static-header", AuthScheme::StaticHeader { header: "x-webhook-secret".to_owned() }),
        ("url-secret", AuthScheme::UrlSecret { param: "token".to_owned() }),
        ("jwt", AuthScheme::ExpiringJwt),
    ];
    Arc::new(Evolution {
        scheme: reader.scheme(&choices),
        secrets: reader.webhook_secrets(),
        base_url: reader.base_url(None),
        api_key: reader.sending_secret("api_key", "Evolution's apikey, to send replies"),
        instance: reader.sending_secret("instance", "the name of the Evolution instance").expose_secret().to_owned(),
    })
}

/// A failure of the connection to WhatsApp is a 400 with the reason in its text. See
/// github.com/EvolutionAPI/evolution-api, src/api/guards and src/api/integrations.
const ANSWERS: &[Answer] = &[
    Answer::value("/response/message/*/exists", &["false"], NOT_ON_WHATSAPP).at(400),
    Answer::contains("connection closed", NOT_CONNECTED).at(400),
    Answer::contains("sessionerror: no sessions", NOT_CONNECTED).at(400),
    Answer::contains("timed out", GATEWAY_TIMEOUT).at(400),
    Answer::contains("instance does not exist", UNAUTHORIZED).at(404),
    // Releases from 2.4 on require a licence.
    Answer::contains("license", UNAUTHORIZED).at(503),
];

struct Evolution {
    scheme: AuthScheme,
    secrets: Vec<SecretString>,
    base_url: String,
    api_key: SecretString,
    instance: String,
}

impl Gateway for Evolution {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.secrets }
    }

    /// With `webhookByEvents`, Evolution appends `/messages-upsert` or the like to the configured URL, even after its
    /// query. Then the secret ends before the last `/`.
    fn authenticate(&self, webhook: &Webhook<'_>) -> Result<(), Unauthenticated> {
        let query = webhook.query.rsplit_once('/').map_or(webhook.query, |(before, _)| before);
        let bare = Webhook { path_suffix: None, query, ..*webhook };
        self.scheme.verify(webhook, &self.secrets).or_else(|why| match self.scheme {
            AuthScheme::UrlSecret { .. } => self.scheme.verify(&bare, &self.secrets),
            _ => Err(why),
        })
    }

    /// With `webhookByEvents`: `messages-upsert` and the like.
    fn accepts_path_suffix(&self, tail: &str) -> bool {
        tail.len() <= 64 && tail.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let body = json::parse(webhook.body)?;
        let events: Vec<WebhookEvent> =
            match text_at(&body, "/event").ok_or_else(|| Malformed("missing \"event\"".to_owned()))? {
                "messages.upsert" => each(&body["data"])
                    .map(|data| read_message(data).unwrap_or_else(|why| WebhookEvent::malformed(&why)))
                    .collect(),
                "messages.update" => each(&body["data"]).map(read_status).collect(),
                // Evolution Go, whose API has its own kind `evolution-go`.
                "Message" => vec![wuzapi::read_message(&body["data"])?],
                "messages.edited" => vec![WebhookEvent::ignored(IgnoreReason::Edit)],
                "send.message" => vec![WebhookEvent::ignored(IgnoreReason::FromMe)],
                _ => vec![WebhookEvent::ignored(IgnoreReason::Event)],
            };
        // Outside `data`, `sender` is the receiving number.
        let addressee =
            Addressee::default().check_id(body.get("instance"), &self.instance).with_phone(text_at(&body, "/sender"));
        Ok(events.into_iter().map(|event| event.addressed_to(&addressee)).collect())
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let number = jid::recipient(chat_id, subject, "@s.whatsapp.net");
        let message = json!({ "number": number, "text": text, "linkPreview": false });
        Request::post(format!("{}/message/sendText/{}", self.base_url, path_segment(&self.instance)))
            .header("apikey", self.api_key.expose_secret())
            .header("content-type", "application/json")
            .body(message.to_string().into_bytes())
            .expect("the URL and the credentials were validated when the configuration was loaded")
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        let key = json!({
            "remoteJid": sample.chat("@s.whatsapp.net"), "fromMe": sample.is_from_me(), "id": sample.id,
            "participant": sample.author("@s.whatsapp.net"),
        });
        let data = json!({
            "key": key, "pushName": SampleMessage::PUSH_NAME, "message": { "conversation": sample.text },
            "messageType": "conversation", "messageTimestamp": sample.timestamp,
        });
        Some(WebhookRequest::json(&json!({
            "event": "messages.upsert", "instance": self.instance, "sender": format!("{}@s.whatsapp.net", sample.to),
            "data": data,
        })))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, &["/key/id"], &[CLIENT_ANSWERS, ANSWERS])
    }
}

/// `data` is one object, or in some releases a list of objects.
fn each(data: &Value) -> impl Iterator<Item = &Value> {
    let list = data.as_array().filter(|list| !list.is_empty());
    list.map_or(std::slice::from_ref(data), Vec::as_slice).iter()
}

fn read_status(data: &Value) -> WebhookEvent {
    let from_me = data["fromMe"].as_bool().unwrap_or_default();
    let progress = text_at(data, "/status").and_then(ReceiptStatus::from_word);
    WebhookEvent { from_me, ..WebhookEvent::status(text_at(data, "/keyId"), progress) }
}

fn read_message(data: &Value) -> Result<WebhookEvent, Malformed> {
    let id = text_at(data, "/key/id").ok_or_else(|| Malformed("a message has no id".to_owned()))?;
    let chat = text_at(data, "/key/remoteJid").ok_or_else(|| Malformed("a message has no chat id".to_owned()))?;
    let senders: &[&str] = if jid::is_group(chat) {
        &["/key/participant", "/key/participantAlt", "/key/participantPn"]
    } else {
        &["/key/remoteJid", "/key/remoteJidAlt", "/key/senderPn", "/key/senderLid", "/key/previousRemoteJid"]
    };
    let message = MessageFields {
        id,
        dedupe_key: None,
        chat,
        from_me: data["key"]["fromMe"].as_bool().unwrap_or_default(),
        group: false,
        senders: texts_at(data, senders),
        content: Content::from_message(&data["message"]),
        push_name: text_at(data, "/pushName"),
        timestamp: time_at(data, "/messageTimestamp"),
    };
    Ok(message.into_event())
}
