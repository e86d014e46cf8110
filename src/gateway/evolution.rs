//! Evolution API: webhooks are not signed; releases write the phone number into different fields.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Gateway, IgnoreReason, Malformed, ReceiptStatus, Refusal, SendResult, Unauthenticated, Webhook, WebhookAuth,
    WebhookEvent,
    addressee::Addressee,
    auth_scheme::AuthScheme,
    config_reader::{ConfigReader, path_segment},
    jid::{self, Content, MessageFields, texts_at},
    json::{self, items, text, unix_seconds},
    send_result_by_status,
};
use crate::domain::Subject;

pub(super) fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    let choices = [
        ("static-header", AuthScheme::StaticHeader { header: "x-webhook-secret".to_owned() }),
        ("url-secret", AuthScheme::UrlSecret { param: "token".to_owned() }),
        ("jwt", AuthScheme::ExpiringJwt),
    ];
    Arc::new(Evolution {
        scheme: reader.scheme(&choices),
        secrets: reader.webhook_secrets(),
        url: reader.base_url(None),
        api_key: reader.sending_secret("api_key", "Evolution's apikey, to send replies"),
        instance: reader.sending_secret("instance", "the name of the Evolution instance").expose_secret().to_owned(),
    })
}

struct Evolution {
    scheme: AuthScheme,
    secrets: Vec<SecretString>,
    url: String,
    api_key: SecretString,
    instance: String,
}

impl Gateway for Evolution {
    fn kind(&self) -> &'static str {
        "evolution"
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.secrets }
    }

    /// With `webhookByEvents`, Evolution appends `/messages-upsert` or the like to the configured URL, even after its
    /// query. Then the secret is what precedes the last `/`.
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
        let data = &body["data"];
        let event = match text(&body, "/event").ok_or_else(|| Malformed("no event".to_owned()))? {
            "messages.upsert" => read_message(data)?,
            "messages.update" => {
                let from_me = data["fromMe"].as_bool().unwrap_or_default();
                let progress = text(data, "/status").and_then(ReceiptStatus::from_word);
                WebhookEvent { from_me, ..WebhookEvent::status(text(data, "/keyId"), progress) }
            }
            "messages.edited" => WebhookEvent::ignored(IgnoreReason::Edit),
            "send.message" => WebhookEvent::ignored(IgnoreReason::FromMe),
            _ => WebhookEvent::ignored(IgnoreReason::Event),
        };
        // Outside `data`, `sender` is the receiving number.
        let addressee =
            Addressee::default().check_id(body.get("instance"), &self.instance).with_phone(text(&body, "/sender"));
        Ok(vec![event.addressed_to(&addressee)])
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let number = jid::recipient(chat_id, subject, "@s.whatsapp.net");
        let message = json!({ "number": number, "text": text, "linkPreview": false });
        Request::post(format!("{}/message/sendText/{}", self.url, path_segment(&self.instance)))
            .header("apikey", self.api_key.expose_secret())
            .header("content-type", "application/json")
            .body(message.to_string().into_bytes())
            .expect("a checked URL and printable credentials make a request")
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let body_contains = |word: &str| String::from_utf8_lossy(response.body()).to_ascii_lowercase().contains(word);
        match response.status() {
            StatusCode::BAD_REQUEST if items(&body, "/response/message").any(|one| one["exists"] == false) => {
                SendResult::Refused(Refusal::NotOnWhatsApp)
            }
            // A connection failure is a 400 whose text names the reason.
            StatusCode::BAD_REQUEST if body_contains("connection closed") => {
                SendResult::Retryable { reason: "not_connected" }
            }
            StatusCode::BAD_REQUEST if body_contains("timed out") => SendResult::Unknown { reason: "gateway_timeout" },
            // Releases from 2.4 on require a licence.
            StatusCode::SERVICE_UNAVAILABLE if body_contains("license") => SendResult::Refused(Refusal::Unauthorized),
            status => match send_result_by_status(status) {
                SendResult::Accepted { .. } => SendResult::Accepted { id: text(&body, "/key/id").map(str::to_owned) },
                other => other,
            },
        }
    }
}

fn read_message(data: &Value) -> Result<WebhookEvent, Malformed> {
    let id = text(data, "/key/id").ok_or_else(|| Malformed("a message without an id".to_owned()))?;
    let chat = text(data, "/key/remoteJid").ok_or_else(|| Malformed("a message without a chat".to_owned()))?;
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
        push_name: text(data, "/pushName"),
        // A 64-bit number may be written as an object.
        timestamp: unix_seconds(data, "/messageTimestamp").or_else(|| unix_seconds(data, "/messageTimestamp/low")),
    };
    Ok(message.into_event())
}
