//! Bird, once `MessageBird`: a signature over time, URL and body.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Event, Gateway, Ignored, Malformed, Sent, Unauthenticated, Webhook,
    credentials::Reader,
    json::{self, instant, seconds, text},
    scheme::Scheme,
    sent_with_id,
};
use crate::domain::{Sender, Subject};

pub(super) fn build(reader: &mut Reader<'_>) -> Arc<dyn Gateway> {
    let workspace = reader.identifier("workspace_id", "the id of the workspace");
    let channel = reader.identifier("channel_id", "the id of the WhatsApp channel");
    let url = reader.base_url(Some("https://api.bird.com"));
    Arc::new(Bird {
        scheme: Scheme::Bird { url: reader.webhook_url() },
        signing_keys: reader.webhook_secrets(),
        endpoint: format!("{url}/workspaces/{workspace}/channels/{channel}/messages"),
        access_key: reader.sending("access_key", "Bird's AccessKey, to send replies"),
    })
}

struct Bird {
    scheme: Scheme,
    signing_keys: Vec<SecretString>,
    endpoint: String,
    access_key: SecretString,
}

impl Gateway for Bird {
    fn kind(&self) -> &'static str {
        "bird"
    }

    fn authenticity(&self) -> &'static str {
        self.scheme.describe()
    }

    fn authenticate(&self, webhook: &Webhook<'_>) -> Result<(), Unauthenticated> {
        self.scheme.verify(webhook, &self.signing_keys)
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<Event>, Malformed> {
        let body = json::parse(webhook.body)?;
        let event = match text(&body, "/event").ok_or_else(|| Malformed("no event".to_owned()))? {
            // Other channels have other senders, whom nobody proved.
            "whatsapp.inbound" | "whatsapp.outbound" => read_message(&body["payload"])?,
            _ => Event::ignored(Ignored::Event),
        };
        Ok(vec![event])
    }

    fn text_message(&self, chat_id: &str, _subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let message = json!({
            "receiver": { "contacts": [{ "identifierValue": chat_id }] },
            "body": { "type": "text", "text": { "text": text } },
        });
        let key = format!("AccessKey {}", self.access_key.expose_secret());
        json::post(&self.endpoint, &[("authorization", &key)], &message)
    }

    fn sent(&self, response: &Response<Vec<u8>>) -> Sent {
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        sent_with_id(response, &body, &["/id"])
    }
}

fn read_message(payload: &Value) -> Result<Event, Malformed> {
    let id = text(payload, "/id").ok_or_else(|| Malformed("a message without an id".to_owned()))?;
    let from_me = text(payload, "/direction") != Some("incoming");
    let other = if from_me { "/receiver/contacts/0" } else { "/sender/contact" };
    let of = |field: &str| text(payload, &format!("{other}/{field}"));
    let chat = of("identifierValue");
    let bsuid = text(payload, "/meta/extraInformation/whatsappbsuid");
    let phone = chat.filter(|_| of("identifierKey") == Some("phonenumber")).and_then(|number| number.parse().ok());
    let is_text = text(payload, "/body/type") == Some("text");
    let words = text(payload, "/body/text/text").filter(|_| is_text);
    let ignored = if from_me { Some(Ignored::FromMe) } else { words.is_none().then_some(Ignored::NonText) };
    Ok(Event {
        ignored,
        message_id: Some(id.to_owned()),
        chat_id: chat.or(bsuid).map(str::to_owned),
        sender: if from_me { Sender::default() } else { Sender::new(phone, None, bsuid) },
        push_name: of("annotations/name").map(str::to_owned),
        text: words.map(str::to_owned),
        timestamp: seconds(payload, "/meta/extraInformation/timestamp").or(instant(payload, "/createdAt")),
        from_me,
        ..Event::default()
    })
}
