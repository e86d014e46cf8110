//! WAHA: HMAC-SHA512 of the raw body, and chats that hide the number behind a LID.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Event, Gateway, Ignored, Malformed, Sent, Unauthenticated, Webhook,
    credentials::Reader,
    json::{self, seconds, text},
    retry_after,
    scheme::{Encoding, Hash, Scheme},
    sent_by_status,
};
use crate::domain::{Sender, Subject, subject::phone_of_jid};

pub(super) fn build(reader: &mut Reader<'_>) -> Arc<dyn Gateway> {
    Arc::new(Waha {
        scheme: Scheme::BodyHmac {
            header: "x-webhook-hmac".to_owned(),
            prefix: String::new(),
            hash: Hash::Sha512,
            encoding: Encoding::Hex,
        },
        hmac_keys: reader.webhook_secrets(),
        url: reader.base_url(None),
        api_key: reader.sending("api_key", "WAHA's X-Api-Key, to send replies"),
        session: reader.text("session").unwrap_or_else(|| "default".to_owned()),
    })
}

struct Waha {
    scheme: Scheme,
    hmac_keys: Vec<SecretString>,
    url: String,
    api_key: SecretString,
    session: String,
}

impl Gateway for Waha {
    fn kind(&self) -> &'static str {
        "waha"
    }

    fn authenticity(&self) -> &'static str {
        "HMAC-SHA512 of the raw body (X-Webhook-Hmac)"
    }

    fn authenticate(&self, webhook: &Webhook<'_>) -> Result<(), Unauthenticated> {
        if webhook.header("x-webhook-hmac-algorithm").is_some_and(|name| name != "sha512") {
            return Err(Unauthenticated("another algorithm"));
        }
        self.scheme.verify(webhook, &self.hmac_keys)
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<Event>, Malformed> {
        let body = json::parse(webhook.body)?;
        Ok(vec![read_event(text(&body, "/event"), &body["payload"])?])
    }

    fn text_message(&self, chat_id: &str, _subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let message = json!({ "session": self.session, "chatId": chat_id, "text": text, "linkPreview": false });
        Request::post(format!("{}/api/sendText", self.url))
            .header("x-api-key", self.api_key.expose_secret())
            .header("content-type", "application/json")
            .body(message.to_string().into_bytes())
            .expect("a checked URL and printable credentials make a request")
    }

    fn sent(&self, response: &Response<Vec<u8>>) -> Sent {
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        match sent_by_status(response.status(), retry_after(response)) {
            Sent::Accepted { .. } => {
                let id = ["/id/_serialized", "/key/id", "/id"].iter().find_map(|pointer| text(&body, pointer));
                Sent::Accepted { id: id.map(str::to_owned) }
            }
            other => other,
        }
    }
}

/// One event of the family; relatives say `messages.any` for `message.any`.
pub(super) fn read_event(name: Option<&str>, payload: &Value) -> Result<Event, Malformed> {
    Ok(match name.ok_or_else(|| Malformed("no event".to_owned()))? {
        "message" | "message.any" | "messages.any" => read_message(payload)?,
        "message.ack" | "message.ack.group" | "messages.ack" => {
            let from_me = payload["fromMe"].as_bool().unwrap_or_default();
            Event { from_me, ..Event::ignored(Ignored::Status) }
        }
        "message.edited" => Event::ignored(Ignored::Edit),
        "message.reaction" => Event::ignored(Ignored::NonText),
        _ => Event::ignored(Ignored::Event),
    })
}

fn read_message(payload: &Value) -> Result<Event, Malformed> {
    let id = text(payload, "/id").ok_or_else(|| Malformed("a message without an id".to_owned()))?;
    // <fromMe>_<chat>_<HEX>[_<participant>]
    let parts: Vec<&str> = id.split('_').collect();
    let chat = text(payload, "/from").or(parts.get(1).copied()).unwrap_or_default();
    let from_me = payload["fromMe"].as_bool().unwrap_or_default() || parts.first() == Some(&"true");
    let group = chat.ends_with("@g.us") || parts.get(1).is_some_and(|chat| chat.ends_with("@g.us"));
    let broadcast = chat.ends_with("@broadcast") || chat.ends_with("@newsletter");
    let body = text(payload, "/body");
    let ignored = if from_me {
        Some(Ignored::FromMe)
    } else if group {
        Some(Ignored::Group)
    } else if broadcast {
        Some(Ignored::Broadcast)
    } else if body.is_none() {
        Some(Ignored::NonText)
    } else {
        None
    };
    Ok(Event {
        ignored,
        message_id: Some(id.to_owned()),
        dedupe_key: parts.get(2).map(|part| (*part).to_owned()),
        chat_id: Some(chat.to_owned()),
        sender: if from_me { Sender::default() } else { read_sender(payload, chat, group) },
        push_name: ["/_data/pushName", "/_data/Info/PushName", "/_data/notifyName"]
            .iter()
            .find_map(|pointer| text(payload, pointer))
            .map(str::to_owned),
        text: body.map(str::to_owned),
        timestamp: seconds(payload, "/timestamp"),
        from_me,
        group,
    })
}

/// The first id that is a phone's; the engines put the other one in different places.
fn read_sender(payload: &Value, chat: &str, group: bool) -> Sender {
    let author = if group { text(payload, "/participant").or(text(payload, "/author")) } else { Some(chat) };
    let alternatives = ["/_data/key/remoteJidAlt", "/_data/key/participantAlt", "/_data/Info/SenderAlt"];
    let ids = || author.into_iter().chain(alternatives.iter().filter_map(|pointer| text(payload, pointer)));
    Sender::new(ids().find_map(phone_of_jid), ids().find(|id| id.ends_with("@lid")), None)
}
