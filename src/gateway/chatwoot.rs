//! Chatwoot: webhooks are signed with HMAC-SHA256 over timestamp and body. They cover every inbox of an account, and
//! agents and website visitors can edit the phone number of a contact. So the sender is taken from the channel, not
//! from the contact, unless `trust_contact_phone` is set.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    CodeMessage, Gateway, IgnoreReason, Malformed, SampleMessage, SampleSender, SendResult, Webhook, WebhookAuth,
    WebhookEvent, WebhookRequest,
    addressee::Addressee,
    answers,
    auth_scheme::{AuthScheme, Encoding, Hash},
    config_reader::ConfigReader,
    json::{self, items_at, text_at, time_at},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
    sender_ids::SenderIds,
};
use crate::domain::Subject;

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "chatwoot",
    build,
    preset: None,
    group: KindGroup::Official,
    proof: "HMAC-SHA256 of time and body",
    ban_risk: BanRisk::OfItsInbox,
    sms: false,
    codes: CodeDelivery::None,
    delivery_reports: "no: it can only answer",
    compared: "`account_id`, `inbox_id`",
    several_numbers: "set `inbox_id`; a webhook per instance",
    issues_webhook_secret: true,
    shared_secrets: &[],
    setup: r#"*Settings → Integrations → Webhooks → Add*: the webhook URL, event **message_created**; copy its secret (releases from
4.x show one). `api_key` is an agent's or bot's access token (*Profile settings*). Only WhatsApp inboxes
count. With `trust_contact_phone = true`, the contacts' numbers in the inbox `inbox_id` are trusted even if it is not a
WhatsApp inbox. That is weak, because visitors enter their own numbers and agents can edit them; it is logged at every start
and never counts for `prove_phone`.

```toml
[instance.gateway]
kind = "chatwoot"
url = "https://chatwoot.example.org"
account_id = "1"
inbox_id = "3"
api_key = "an-agents-access-token"
webhook_secret = "0123456789abcdef0123456789abcdef"
```
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    let trust_contact_phone = reader.table.flag("trust_contact_phone", false);
    if trust_contact_phone && !reader.table.has("inbox_id") {
        reader.table.fault("trust_contact_phone", "needs inbox_id: the inbox whose contacts are trusted");
    }
    Arc::new(Chatwoot {
        trust_contact_phone,
        scheme: AuthScheme::TimedHmac {
            header: "x-chatwoot-signature".to_owned(),
            timestamp_header: "x-chatwoot-timestamp".to_owned(),
            prefix: "sha256=".to_owned(),
            hash: Hash::Sha256,
            encoding: Encoding::Hex,
        },
        secrets: reader.webhook_secrets(),
        url: reader.base_url(None),
        api_key: reader.sending_secret("api_key", "an agent's or bot's access token, to send replies"),
        account_id: reader.identifier("account_id", "the number in /app/accounts/<number>"),
        inbox_id: reader.text("inbox_id"),
    })
}

struct Chatwoot {
    scheme: AuthScheme,
    secrets: Vec<SecretString>,
    url: String,
    api_key: SecretString,
    account_id: String,
    /// Messages of other inboxes are ignored.
    inbox_id: Option<String>,
    /// Accepts the contact's phone number as the sender if the inbox is not a WhatsApp channel.
    trust_contact_phone: bool,
}

impl Gateway for Chatwoot {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let body = json::parse(webhook.body)?;
        let event = match text_at(&body, "/event").ok_or_else(|| Malformed("no event".to_owned()))? {
            "message_created" => self.read_message(&body)?,
            _ => WebhookEvent::ignored(IgnoreReason::Event),
        };
        Ok(vec![event])
    }

    fn sender_warning(&self) -> Option<&'static str> {
        self.trust_contact_phone
            .then_some("Chatwoot's agents and visitors can edit the phone numbers of contacts (trust_contact_phone)")
    }

    /// Messages are sent to conversations, and only the contact can start one.
    fn code_message(&self, _message: &CodeMessage<'_>) -> Option<Request<Vec<u8>>> {
        None
    }

    fn text_message(&self, chat_id: &str, _subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let conversation: String = form_urlencoded::byte_serialize(chat_id.as_bytes()).collect();
        let url = format!("{}/api/v1/accounts/{}/conversations/{conversation}/messages", self.url, self.account_id);
        let message = json!({ "content": text, "message_type": "outgoing" });
        json::post(&url, &[("api_access_token", self.api_key.expose_secret())], &message)
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        if sample.sender == SampleSender::Group {
            return None;
        }
        let number = |id: &str| id.parse().unwrap_or(1_i64);
        let (inbox, account) = (number(self.inbox_id.as_deref().unwrap_or_default()), number(&self.account_id));
        let (own, hidden) = (sample.is_from_me(), sample.sender == SampleSender::HiddenNumber);
        let source = if hidden { sample.bsuid() } else { sample.phone.clone() };
        let phone = (!hidden).then(|| format!("+{}", sample.phone));
        let writer = if own { "user" } else { "contact" };
        Some(WebhookRequest::json(&json!({
            "event": "message_created", "id": 501, "source_id": format!("wamid.{}", sample.id),
            "content": sample.text, "content_type": "text", "message_type": if own { "outgoing" } else { "incoming" },
            "private": false, "created_at": sample.rfc3339(), "account": { "id": account }, "inbox": { "id": inbox },
            "conversation": { "id": 42, "channel": "Channel::Whatsapp", "contact_inbox": { "source_id": source } },
            "sender": { "type": writer, "name": SampleMessage::PUSH_NAME, "phone_number": phone },
        })))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, &["/id"], &[])
    }
}

/// The direction of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MessageType {
    Incoming,
    Outgoing,
    /// An activity, such as the assignment of an agent.
    Other,
}

impl Chatwoot {
    fn read_message(&self, body: &Value) -> Result<WebhookEvent, Malformed> {
        let id = text_at(body, "/source_id").map(str::to_owned).or(number(body, "/id"));
        let id = id.ok_or_else(|| Malformed("a message has no id".to_owned()))?;
        // Some releases post the number of the type.
        let kind = match json::id_text_at(body, "/message_type").as_deref() {
            Some("0" | "incoming") => MessageType::Incoming,
            Some("1" | "outgoing" | "3" | "template") => MessageType::Outgoing,
            _ => MessageType::Other,
        };
        let by_agent = text_at(body, "/sender/type").is_some_and(|kind| kind != "contact");
        let private = body["private"].as_bool().unwrap_or_default();
        let from_me = kind == MessageType::Outgoing || by_agent || private;
        let is_text = text_at(body, "/content_type").is_none_or(|kind| kind == "text")
            && items_at(body, "/attachments").next().is_none();
        let sender = self.sender(body);
        let inbox = self.inbox_id.as_deref().unwrap_or_default();
        let addressee = Addressee::default()
            .check_id(body.pointer("/account/id"), &self.account_id)
            .check_id(body.pointer("/inbox/id"), inbox);
        let ignored = if from_me {
            Some(IgnoreReason::FromMe)
        } else if kind != MessageType::Incoming || sender.is_none() {
            Some(IgnoreReason::Event)
        } else {
            (!is_text || text_at(body, "/content").is_none()).then_some(IgnoreReason::NonText)
        };
        let event = WebhookEvent {
            ignored,
            message_id: Some(id),
            chat_id: number(body, "/conversation/id"),
            forgeable: sender.as_ref().is_some_and(|(_, weak)| *weak),
            push_name: text_at(body, "/sender/name").map(str::to_owned),
            text: text_at(body, "/content").map(str::to_owned),
            timestamp: time_at(body, "/created_at"),
            from_me,
            ..WebhookEvent::default()
        };
        Ok(event.with_sender(sender.map(|(ids, _)| ids).unwrap_or_default()).addressed_to(&addressee))
    }

    /// The sender, and whether it can be forged. `None` for an untrusted inbox: visitors of a website enter any number.
    fn sender(&self, body: &Value) -> Option<(SenderIds, bool)> {
        let source = text_at(body, "/conversation/contact_inbox/source_id").unwrap_or_default();
        let named = match text_at(body, "/conversation/channel") {
            Some("Channel::Whatsapp") => Some(source),
            Some("Channel::TwilioSms") => source.strip_prefix("whatsapp:"),
            _ => None,
        };
        let phone = |number: &str| number.parse().ok();
        match named {
            Some(id) => Some((SenderIds::default().phone(phone(id)).bsuid(Some(id)), false)),
            None if self.trust_contact_phone => {
                Some((SenderIds::default().phone(text_at(body, "/sender/phone_number").and_then(phone)), true))
            }
            None => None,
        }
    }
}

/// An id, which Chatwoot writes as a number.
fn number(body: &Value, pointer: &str) -> Option<String> {
    body.pointer(pointer)?.as_i64().map(|id| id.to_string())
}
