//! Hypersender: WAHA's payload one level deeper; webhooks are authenticated by a static header.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{
    Gateway, Malformed, SendResult, Webhook, WebhookAuth, WebhookEvent,
    answers::{self, Answer, CLIENT_ANSWERS, NOT_ON_WHATSAPP, WINDOW_CLOSED},
    auth_scheme::AuthScheme,
    config_reader::ConfigReader,
    jid,
    json::{self, text},
    waha,
};
use crate::domain::Subject;

const DEFAULT_URL: &str = "https://app.hypersender.com/api/whatsapp/v2";

pub(super) fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
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
        "hypersender"
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.secrets }
    }

    /// `instanceId` is either in `data` or beside it.
    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let body = json::parse(webhook.body)?;
        let name = text(&body, "/event").or(text(&body, "/data/event"));
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

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        // A queued message has no id yet.
        answers::read(response, &["/key/id"], &[ANSWERS, CLIENT_ANSWERS])
    }
}
