//! Chatwoot as a gateway: HMAC-SHA256 of time and body. Its webhooks cover every inbox of an account, and
//! agents and visitors can write numbers into contacts, so a phone counts only where the channel names it.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    CodeMessage, Event, Gateway, Ignored, Malformed, Proof, Sent, Webhook,
    addressee::Addressee,
    credentials::Reader,
    ids::Ids,
    json::{self, instant, items, seconds, text},
    scheme::{Encoding, Hash, Scheme},
    sent_by_status,
};
use crate::domain::Subject;

pub(super) fn build(reader: &mut Reader<'_>) -> Arc<dyn Gateway> {
    let trust_contact_phone = reader.table.flag("trust_contact_phone", false);
    if trust_contact_phone && !reader.table.has("inbox_id") {
        reader.table.fault("trust_contact_phone", "needs inbox_id: the one inbox whose contacts are believed");
    }
    Arc::new(Chatwoot {
        trust_contact_phone,
        scheme: Scheme::TimedHmac {
            header: "x-chatwoot-signature".to_owned(),
            timestamp_header: "x-chatwoot-timestamp".to_owned(),
            prefix: "sha256=".to_owned(),
            hash: Hash::Sha256,
            encoding: Encoding::Hex,
        },
        secrets: reader.webhook_secrets(),
        url: reader.base_url(None),
        api_key: reader.sending("api_key", "an agent's or bot's access token, to send replies"),
        account_id: reader.identifier("account_id", "the number in /app/accounts/<number>"),
        inbox_id: reader.text("inbox_id"),
    })
}

struct Chatwoot {
    scheme: Scheme,
    secrets: Vec<SecretString>,
    url: String,
    api_key: SecretString,
    account_id: String,
    /// The only inbox that counts.
    inbox_id: Option<String>,
    /// Numbers of contacts are believed where the inbox is none of WhatsApp's.
    trust_contact_phone: bool,
}

impl Gateway for Chatwoot {
    fn kind(&self) -> &'static str {
        "chatwoot"
    }

    fn proof(&self) -> Proof<'_> {
        Proof { scheme: &self.scheme, secrets: &self.secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<Event>, Malformed> {
        let body = json::parse(webhook.body)?;
        let event = match text(&body, "/event").ok_or_else(|| Malformed("no event".to_owned()))? {
            "message_created" => self.read_message(&body)?,
            _ => Event::ignored(Ignored::Event),
        };
        Ok(vec![event])
    }

    fn believes(&self) -> Option<&'static str> {
        self.trust_contact_phone.then_some("numbers of Chatwoot's contacts count, which agents and visitors can write")
    }

    /// Messages go to conversations, and only a person can begin one.
    fn code_message(&self, _message: &CodeMessage<'_>) -> Option<Request<Vec<u8>>> {
        None
    }

    fn text_message(&self, chat_id: &str, _subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let conversation: String = form_urlencoded::byte_serialize(chat_id.as_bytes()).collect();
        let url = format!("{}/api/v1/accounts/{}/conversations/{conversation}/messages", self.url, self.account_id);
        let message = json!({ "content": text, "message_type": "outgoing" });
        json::post(&url, &[("api_access_token", self.api_key.expose_secret())], &message)
    }

    fn sent(&self, response: &Response<Vec<u8>>) -> Sent {
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        match sent_by_status(response.status()) {
            Sent::Accepted { .. } => Sent::Accepted { id: number(&body, "/id") },
            other => other,
        }
    }
}

impl Chatwoot {
    fn read_message(&self, body: &Value) -> Result<Event, Malformed> {
        let id = text(body, "/source_id").map(str::to_owned).or(number(body, "/id"));
        let id = id.ok_or_else(|| Malformed("a message without an id".to_owned()))?;
        let kind = text(body, "/message_type");
        let by_agent = text(body, "/sender/type").is_some_and(|kind| kind != "contact");
        let private = body["private"].as_bool().unwrap_or_default();
        let from_me = matches!(kind, Some("outgoing" | "template")) || by_agent || private;
        let is_text = text(body, "/content_type").is_none_or(|kind| kind == "text")
            && items(body, "/attachments").next().is_none();
        let sender = self.sender(body);
        let inbox = self.inbox_id.as_deref().unwrap_or_default();
        let addressee =
            Addressee::default().id(body.pointer("/account/id"), &self.account_id).id(body.pointer("/inbox/id"), inbox);
        let ignored = if from_me {
            Some(Ignored::FromMe)
        } else if kind != Some("incoming") || sender.is_none() {
            Some(Ignored::Event)
        } else {
            (!is_text || text(body, "/content").is_none()).then_some(Ignored::NonText)
        };
        let event = Event {
            ignored,
            message_id: Some(id),
            chat_id: number(body, "/conversation/id"),
            weak: sender.as_ref().is_some_and(|(_, weak)| *weak),
            push_name: text(body, "/sender/name").map(str::to_owned),
            text: text(body, "/content").map(str::to_owned),
            timestamp: seconds(body, "/created_at").or(instant(body, "/created_at")),
            from_me,
            ..Event::default()
        };
        Ok(event.sent_by(sender.map(|(ids, _)| ids).unwrap_or_default()).to(&addressee))
    }

    /// Who wrote, and whether that is only what somebody entered. `None` for an inbox that does not count: the visitors of
    /// a web page choose their own numbers.
    fn sender(&self, body: &Value) -> Option<(Ids, bool)> {
        let source = text(body, "/conversation/contact_inbox/source_id").unwrap_or_default();
        let named = match text(body, "/conversation/channel") {
            Some("Channel::Whatsapp") => Some(source),
            Some("Channel::TwilioSms") => source.strip_prefix("whatsapp:"),
            _ => None,
        };
        let phone = |number: &str| number.parse().ok();
        match named {
            Some(id) => Some((Ids::default().phone(phone(id)).bsuid(Some(id)), false)),
            None if self.trust_contact_phone => {
                Some((Ids::default().phone(text(body, "/sender/phone_number").and_then(phone)), true))
            }
            None => None,
        }
    }
}

/// Ids are numbers there.
fn number(body: &Value, pointer: &str) -> Option<String> {
    body.pointer(pointer)?.as_i64().map(|id| id.to_string())
}
