//! Meta's WhatsApp Cloud API: batches, HMAC-SHA256 of the raw body, and senders without a phone.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    CodeMessage, Event, Gateway, Handshake, Ignored, Malformed, Progress, Proof, Refusal, Sent, Unauthenticated,
    Webhook,
    addressee::Addressee,
    cloud_template::AuthenticationTemplate,
    credentials::Reader,
    ids::Ids,
    json::{self, items, seconds, text},
    scheme::{self, Scheme},
    sent_by_status,
};
use crate::domain::Subject;

const DEFAULT_URL: &str = "https://graph.facebook.com/v23.0";

pub(super) fn build(reader: &mut Reader<'_>) -> Arc<dyn Gateway> {
    let app_secrets = reader.webhook_secrets();
    let verify_token = reader.table.secret("verify_token");
    Arc::new(CloudApi {
        scheme: Scheme::hub_sha256(),
        verify_token: verify_token.or_else(|| app_secrets.first().cloned()).unwrap_or_default(),
        app_secrets,
        access_token: reader.sending("access_token", "a system user's token, to send replies"),
        phone_number_id: reader.identifier("phone_number_id", "the id of the sending number"),
        url: reader.base_url(Some(DEFAULT_URL)),
        template: AuthenticationTemplate::read(reader),
    })
}

struct CloudApi {
    scheme: Scheme,
    app_secrets: Vec<SecretString>,
    verify_token: SecretString,
    access_token: SecretString,
    phone_number_id: String,
    url: String,
    template: Option<AuthenticationTemplate>,
}

impl Gateway for CloudApi {
    fn kind(&self) -> &'static str {
        "cloud-api"
    }

    fn proof(&self) -> Proof<'_> {
        Proof { scheme: &self.scheme, secrets: &self.app_secrets }
    }

    fn authenticate(&self, webhook: &Webhook<'_>) -> Result<(), Unauthenticated> {
        if webhook.method == Method::GET {
            let token = scheme::query(webhook.query, "hub.verify_token").ok_or(Unauthenticated("no verify token"))?;
            let genuine = scheme::query(webhook.query, "hub.mode").as_deref() == Some("subscribe")
                && scheme::same_secret(&token, &self.verify_token);
            return if genuine { Ok(()) } else { Err(Unauthenticated("wrong verify token")) };
        }
        self.proof().verify(webhook)
    }

    fn handshake(&self, webhook: &Webhook<'_>) -> Option<Handshake> {
        let challenge = scheme::query(webhook.query, "hub.challenge").unwrap_or_default();
        let echoed = challenge.len() <= 256 && challenge.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let status = if echoed { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        Some(Handshake { status, body: if echoed { challenge } else { String::new() } })
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<Event>, Malformed> {
        read(webhook.body)
    }

    fn number_id(&self) -> Option<&str> {
        Some(&self.phone_number_id)
    }

    fn address(&self, subject: &Subject) -> String {
        digits(subject)
    }

    fn code_message(&self, message: &CodeMessage<'_>) -> Option<Request<Vec<u8>>> {
        let Some(template) = &self.template else {
            return Some(self.text_message(&digits(message.subject), Some(message.subject), message.text));
        };
        let bearer = format!("Bearer {}", self.access_token.expose_secret());
        let url = format!("{}/{}/messages", self.url, self.phone_number_id);
        Some(json::post(&url, &[("authorization", &bearer)], &template.message(message)))
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let bearer = format!("Bearer {}", self.access_token.expose_secret());
        let url = format!("{}/{}/messages", self.url, self.phone_number_id);
        json::post(&url, &[("authorization", &bearer)], &message(chat_id, subject, text))
    }

    fn sent(&self, response: &Response<Vec<u8>>) -> Sent {
        sent(response)
    }
}

/// How Meta writes a chat that may not exist yet.
pub(super) fn digits(subject: &Subject) -> String {
    match subject {
        Subject::Phone(phone) => phone.digits().to_owned(),
        other => other.chat_id(),
    }
}

/// A text message as Meta takes it.
pub(super) fn message(chat_id: &str, subject: Option<&Subject>, text: &str) -> Value {
    let mut message = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "type": "text",
        "text": { "preview_url": false, "body": text },
    });
    match subject {
        Some(Subject::Bsuid(id)) => message["recipient"] = json!(id),
        _ => message["to"] = json!(chat_id),
    }
    message
}

/// What Meta's answer means.
pub(super) fn sent(response: &Response<Vec<u8>>) -> Sent {
    let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    if response.status().is_success() {
        return Sent::Accepted { id: text(&body, "/messages/0/id").map(str::to_owned) };
    }
    match body.pointer("/error/code").and_then(Value::as_i64) {
        Some(190) => Sent::Refused(Refusal::Unauthorized),
        Some(4 | 80_007 | 130_429 | 131_056) => Sent::NotSent { why: "rate_limited" },
        Some(131_026) => Sent::Refused(Refusal::NotOnWhatsApp),
        Some(131_047) => Sent::Refused(Refusal::WindowClosed),
        Some(100 | 131_008 | 131_009 | 131_049) => Sent::Refused(Refusal::Permanent),
        Some(131_000) => Sent::NotSent { why: "gateway_error" },
        _ => sent_by_status(response.status()),
    }
}

/// Everything in a body of Meta's format.
pub(super) fn read(body: &[u8]) -> Result<Vec<Event>, Malformed> {
    let body = json::parse(body)?;
    let mut events = Vec::new();
    for change in items(&body, "/entry").flat_map(|entry| items(entry, "/changes")) {
        let first = events.len();
        match text(change, "/field") {
            // While Meta's own agent handles a conversation, the same structure comes as `standby`.
            Some("messages" | "standby") => read_value(&change["value"], &mut events),
            Some("smb_message_echoes") => events.extend(items(&change["value"], "/message_echoes").map(read_echo)),
            Some(_) => events.push(Event::ignored(Ignored::Event)),
            None => return Err(Malformed("a change without a field".to_owned())),
        }
        let to = Addressee::default().phone(text(change, "/value/metadata/display_phone_number"));
        let id = text(change, "/value/metadata/phone_number_id");
        let told = events.split_off(first).into_iter();
        events.extend(told.map(|event| Event { number_id: id.map(str::to_owned), ..event.to(&to) }));
    }
    if events.is_empty() && body.get("entry").is_none() {
        return Err(Malformed("no entry".to_owned()));
    }
    Ok(events)
}

fn read_value(value: &Value, events: &mut Vec<Event>) {
    events.extend(items(value, "/statuses").map(read_status));
    events.extend(items(value, "/messages").map(|message| read_message(message, value)));
    if value.get("statuses").is_none() && value.get("messages").is_none() {
        events.push(Event::ignored(Ignored::Event));
    }
}

fn read_status(status: &Value) -> Event {
    let progress = text(status, "/status").and_then(Progress::of);
    let why = status.pointer("/errors/0/code").and_then(Value::as_i64);
    Event::status(text(status, "/id"), progress.map(|progress| progress.because(why)))
}

fn read_message(message: &Value, value: &Value) -> Event {
    let from = text(message, "/from");
    let user = text(message, "/from_user_id");
    let contact = items(value, "/contacts").find(|contact| {
        (from.is_some() && text(contact, "/wa_id") == from) || (user.is_some() && text(contact, "/user_id") == user)
    });
    let group = text(message, "/group_id");
    let (ignored, body) = match text(message, "/type") {
        _ if group.is_some() => (Some(Ignored::Group), text(message, "/text/body")),
        Some("text") => (None, text(message, "/text/body")),
        Some("system") => (Some(Ignored::Event), None),
        Some("edit" | "revoke") => (Some(Ignored::Edit), None),
        _ => (Some(Ignored::NonText), None),
    };
    let of_contact = |pointer: &str| contact.and_then(|contact| text(contact, pointer));
    // Where a person hides the number, the user id may stand in its place.
    let phones = [from, of_contact("/wa_id")].into_iter().flatten();
    let bsuids = [user, from, of_contact("/user_id")];
    let ids = phones.fold(Ids::default(), |ids, digits| ids.phone(digits.parse().ok()));
    let ids = bsuids.into_iter().fold(ids, Ids::bsuid);
    let event = Event {
        ignored: if ignored.is_none() && body.is_none() { Some(Ignored::NonText) } else { ignored },
        message_id: text(message, "/id").map(str::to_owned),
        chat_id: group.or(from).or(user).map(str::to_owned),
        push_name: of_contact("/profile/name").map(str::to_owned),
        text: body.map(str::to_owned),
        timestamp: seconds(message, "/timestamp"),
        group: group.is_some(),
        ..Event::default()
    };
    event.sent_by(ids)
}

/// The business wrote it from its own phone; it must never verify anything.
fn read_echo(echo: &Value) -> Event {
    Event {
        message_id: text(echo, "/id").map(str::to_owned),
        chat_id: text(echo, "/to").map(str::to_owned),
        text: text(echo, "/text/body").map(str::to_owned),
        timestamp: seconds(echo, "/timestamp"),
        ..Event::ignored(Ignored::FromMe)
    }
}
