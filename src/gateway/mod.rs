//! Gateways: one WhatsApp dialect per file.
//!
//! A gateway translates and never performs I/O: it authenticates bytes, parses events, builds a request and
//! reads a response. Adding one takes a file, a folder of fixtures and a line in the table of kinds below.

mod addressee;
mod bird;
mod chatwoot;
mod cloud_api;
mod cloud_relay;
mod cloud_template;
mod credentials;
mod event;
mod evolution;
mod generic;
mod gowa;
mod green_api;
mod hypersender;
mod ids;
mod jid;
mod json;
mod proof;
mod receipt;
mod sample;
mod scheme;
mod simulator;
mod twilio;
mod vonage;
mod waha;
mod wawp;
mod whapi;
mod wppconnect;
mod wuzapi;

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

pub use self::{
    credentials::Purpose,
    event::{Event, Ignored},
    json::strict as strict_json,
    proof::Proof,
    receipt::{Progress, Receipt, stable_id},
    sample::{Sample, Who},
    scheme::{Carrier, Draft},
    simulator::Message as SimulatedMessage,
};
use crate::{
    domain::{Language, Phone, Subject, sending::Channel},
    reader::{Faults, Table, not_one_of},
};

type Build = fn(&mut credentials::Reader<'_>) -> Arc<dyn Gateway>;

/// Every kind there is.
const KINDS: &[(&str, Build)] = &[
    ("cloud-api", cloud_api::build),
    ("waha", waha::build),
    ("evolution", evolution::build),
    ("gowa", gowa::build),
    ("wppconnect", wppconnect::build),
    ("wuzapi", wuzapi::build),
    ("green-api", green_api::build),
    ("whapi", whapi::build),
    ("360dialog", cloud_relay::build_360dialog),
    ("gupshup-v3", cloud_relay::build_gupshup),
    ("hypersender", hypersender::build),
    ("wawp", wawp::build),
    ("twilio", twilio::build),
    ("vonage", vonage::build),
    ("bird", bird::build),
    ("chatwoot", chatwoot::build),
    ("generic", |reader| generic::build("generic", reader)),
    ("gupshup", |reader| generic::build("gupshup", reader)),
    ("infobip", |reader| generic::build("infobip", reader)),
    ("ultramsg", |reader| generic::build("ultramsg", reader)),
    ("z-api", |reader| generic::build("z-api", reader)),
    (simulator::KIND, simulator::build),
];

/// Reads an `[instance.gateway]` table. `webhook_url` is where this instance's webhooks arrive, for schemes that sign it.
pub fn build(table: &Table, purpose: Purpose, webhook_url: &str) -> Result<Arc<dyn Gateway>, Faults> {
    let words: Vec<&str> = KINDS.iter().map(|(word, _)| *word).filter(|word| purpose.allows(word)).collect();
    let mut reader = table.reader();
    let kind = reader.required_text("kind", &format!("one of {}", words.join(", "))).unwrap_or_default();
    let Some((_, build)) = KINDS.iter().find(|(word, _)| *word == kind && purpose.allows(word)) else {
        if !kind.is_empty() {
            reader.fault("kind", not_one_of(&kind, &words));
        }
        // Which keys there may be depends on the kind.
        return Err(reader.abandon());
    };
    let preset = generic::presets::defaults(&kind).map(|defaults| table.over(&defaults));
    let mut reader = credentials::Reader { table: preset.as_ref().unwrap_or(table).reader(), purpose, webhook_url };
    reader.text("kind");
    let gateway = build(&mut reader);
    reader.table.finish(Some(gateway))
}

/// A request as it came from the gateway, before anything is believed.
pub struct Webhook<'a> {
    pub method: &'a Method,
    /// What followed the instance in the path.
    pub path_secret: Option<&'a str>,
    /// Without `?`.
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    /// The wall clock, for schemes that sign a time.
    pub now: Timestamp,
}

impl Webhook<'_> {
    /// A header that occurs exactly once and is text. Twice is an attempt to confuse somebody.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }
}

/// The request does not prove that it comes from the gateway. The word is for logs and metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unauthenticated(pub &'static str);

/// Authenticated, and still not what this gateway is documented to send.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// What a gateway said to a message we sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sent {
    Accepted {
        id: Option<String>,
    },
    /// It was not taken, for a reason that passes: another try repeats nothing.
    NotSent {
        why: &'static str,
    },
    /// It may be on its way: another try may be a second message.
    Unknown {
        why: &'static str,
    },
    /// No try will ever succeed.
    Refused(Refusal),
}

/// The phone that a LID stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Behind {
    Phone(Phone),
    /// The gateway has none, and will have none.
    Hidden,
    /// The gateway has none yet.
    Unknown,
    /// The gateway did not answer the question.
    Failed,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// The number has no WhatsApp account, or blocks us.
    NotOnWhatsApp,
    /// WhatsApp takes no free text to this chat now: the person's last message is too long ago, or the number is
    /// held back from writing first. It passes in hours, so trying again within minutes only makes it worse.
    WindowClosed,
    /// Our token is wrong, or the number is logged out or banned.
    Unauthorized,
    Permanent,
}

impl Refusal {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotOnWhatsApp => "not_on_whatsapp",
            Self::WindowClosed => "window_closed",
            Self::Unauthorized => "unauthorized",
            Self::Permanent => "permanent",
        }
    }
}

/// A code on its way to a person.
#[derive(Clone, Copy)]
pub struct CodeMessage<'a> {
    pub subject: &'a Subject,
    /// For gateways that send approved templates.
    pub code: &'a str,
    /// The whole message, code and all.
    pub text: &'a str,
    pub language: Language,
}

/// Answer to a subscription handshake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handshake {
    pub status: StatusCode,
    pub body: String,
}

/// One gateway's dialect, with the secrets of one instance.
pub trait Gateway: Send + Sync + 'static {
    /// The word in the configuration.
    fn kind(&self) -> &'static str;

    /// What proves that a webhook is genuine.
    fn proof(&self) -> Proof<'_>;

    /// Over the raw bytes, in constant time, before anything is parsed.
    fn authenticate(&self, webhook: &Webhook<'_>) -> Result<(), Unauthenticated> {
        self.proof().verify(webhook)
    }

    /// Whether the body is part of the proof. Otherwise [`Gateway::authenticate`] says the same of an empty one, so that
    /// a stranger is refused before he sends a body.
    fn proof_covers_body(&self) -> bool {
        self.proof().covers_body()
    }

    /// Whether webhooks also come to `<the configured URL>/<tail>`.
    fn takes_tail(&self, _tail: &str) -> bool {
        false
    }

    /// The answer to a GET, where this gateway asks for one.
    fn handshake(&self, _webhook: &Webhook<'_>) -> Option<Handshake> {
        None
    }

    /// Everything in an authenticated request, in order of appearance.
    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<Event>, Malformed>;

    /// The answer that tells the gateway that all is well: content type and body.
    fn acknowledgement(&self) -> (&'static str, &'static str) {
        ("text/plain; charset=utf-8", "")
    }

    /// What this gateway's messages travel on.
    fn channel(&self) -> Channel {
        Channel::WhatsApp
    }

    /// The chat with somebody who may never have written, as [`Gateway::text_message`] takes it.
    fn address(&self, subject: &Subject) -> String {
        subject.chat_id()
    }

    /// The request that sends a code to somebody who may never have written. `None`: this gateway can only answer.
    fn code_message(&self, message: &CodeMessage<'_>) -> Option<http::Request<Vec<u8>>> {
        Some(self.text_message(&self.address(message.subject), Some(message.subject), message.text))
    }

    /// The request that sends `text` to whoever wrote from `chat_id`.
    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> http::Request<Vec<u8>>;

    /// Gives a message an id of ours, in the form that WhatsApp uses. `true`: the gateway sends messages of one id
    /// once, however often it is asked.
    fn identify(&self, _message: &mut http::Request<Vec<u8>>, _id: &str) -> bool {
        false
    }

    /// A body with which this gateway would tell of `sample`, where only the configuration knows its shape.
    fn compose(&self, _sample: &Sample) -> Option<Value> {
        None
    }

    /// Reads the answer to a message we sent.
    fn sent(&self, response: &http::Response<Vec<u8>>) -> Sent;

    /// Asks the gateway for the phone number behind a LID, where it can tell.
    fn who_is(&self, _lid: &str) -> Option<http::Request<Vec<u8>>> {
        None
    }

    /// Reads the answer to [`Gateway::who_is`].
    fn phone_behind(&self, _response: &http::Response<Vec<u8>>) -> Behind {
        Behind::Hidden
    }

    /// Whether a webhook that was answered 503 comes again.
    fn repeats(&self) -> bool {
        true
    }

    /// The vendor's id of this number, which [`Event::number_id`] is compared with to find the instance of a message.
    fn number_id(&self) -> Option<&str> {
        None
    }

    /// Senders that are believed although they could be made up; said at start.
    fn believes(&self) -> Option<&'static str> {
        None
    }
}

/// What most gateways mean by a status, when their body says nothing better.
fn sent_by_status(status: StatusCode) -> Sent {
    match status.as_u16() {
        200..=299 => Sent::Accepted { id: None },
        401 | 403 => Sent::Refused(Refusal::Unauthorized),
        408 | 425 | 429 => Sent::NotSent { why: "rate_limited" },
        // A proxy has passed the message on and was not answered: 520 and 524 are Cloudflare's.
        504 | 520 | 524 => Sent::Unknown { why: "gateway_timeout" },
        500..=599 => Sent::NotSent { why: "gateway_error" },
        _ => Sent::Refused(Refusal::Permanent),
    }
}

/// As above, with the id at the first of `pointers` that holds one.
fn sent_with_id(response: &http::Response<Vec<u8>>, body: &serde_json::Value, pointers: &[&str]) -> Sent {
    match sent_by_status(response.status()) {
        Sent::Accepted { .. } => {
            let id = pointers.iter().find_map(|pointer| json::text(body, pointer));
            Sent::Accepted { id: id.map(str::to_owned) }
        }
        other => other,
    }
}
