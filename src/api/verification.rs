//! A verification, as callers and receivers see it.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Time, Warning,
    schema::{Schema, constant, nullable, one_of, words},
};
use crate::domain::{Channel, Mode, OtpType, Reason, Status, TimelineEvent, VerificationId};

/// How a link stands.
pub const LINK_STATUSES: &[Status] =
    &[Status::Pending, Status::Verified, Status::Failed, Status::Expired, Status::Canceled];
/// How a code stands.
pub const CODE_STATUSES: &[Status] =
    &[Status::Pending, Status::Sent, Status::Validated, Status::Failed, Status::Expired, Status::Canceled];

/// The schema of a status: one of `statuses`.
pub(super) fn status(statuses: &[Status]) -> Value {
    one_of(statuses, |status| status.as_str())
}

/// The schema of a timeline's events: a closed list, and patterns for those that name a channel, a cause or a count.
pub(super) fn timeline_event() -> Value {
    let plain = json!({ "enum": TimelineEvent::PLAIN.iter().map(ToString::to_string).collect::<Vec<String>>() });
    let patterns = TimelineEvent::PATTERNS.iter().map(|pattern| json!({ "pattern": pattern }));
    json!({ "type": "string", "anyOf": std::iter::once(plain).chain(patterns).collect::<Vec<Value>>() })
}

/// Why it did not succeed.
pub(super) fn reason() -> Value {
    nullable(one_of(Reason::ALL, |reason| reason.as_str()))
}

pub(super) fn channel() -> Value {
    nullable(one_of(Channel::ALL, |channel| channel.as_str()))
}

pub(super) fn from_one() -> Value {
    json!({ "type": "integer", "minimum": 1 })
}

fn country() -> Value {
    json!({ "type": ["string", "null"], "pattern": "^[A-Z]{2}$" })
}

wire! {
    /// Who proved the chat; `null` until a person has.
    pub struct Subject {
        /// WhatsApp can hide a number.
        #[schema(words(&["phone", "lid", "bsuid"]))]
        pub kind: &'static str,
        /// E.164 for a phone, as its numbering plan is today; the digits of a LID are no phone number.
        pub value: String,
        /// The same as the gateway spelled it: WhatsApp keeps some old forms of numbers.
        pub reported: String,
    } as nullable "Subject"

    pub struct Completion {
        /// Where the login ends.
        #[schema(one_of(Mode::ALL, |mode| mode.as_str()))]
        pub mode: &'static str,
        /// What became of the link in the reply.
        #[schema(nullable(words(&["offered", "released", "redeemed", "lapsed", "disputed"])))]
        pub state: Option<&'static str>,
    } as "Completion"

    /// How the browser that began (`client_ip` and `user_agent`, else the start page's) compares with the one that went
    /// on; a signal, not a decision. `null` while only one was seen.
    pub struct Risk {
        /// The same /24 of IPv4, or /48 of IPv6.
        pub same_network: Option<bool>,
        /// By the operator's `geoip_file`.
        pub same_country: Option<bool>,
        /// The same kind of device, as browsers say.
        pub same_device: Option<bool>,
        /// ISO 3166.
        #[schema(country())]
        pub started_country: Option<String>,
        /// ISO 3166.
        #[schema(country())]
        pub finished_country: Option<String>,
    } as nullable "Risk"

    pub struct Link {
        /// Names the request; it opens nothing.
        pub uuid: VerificationId,
        /// The chat as the caller gave it, later the one that proved itself.
        pub chat_id: Option<String>,
        #[schema(status(LINK_STATUSES))]
        pub status: Status,
        #[schema(constant("link"))]
        pub otp_type: OtpType,
        /// After this the code counts as expired.
        pub expires_at: Time,
        /// By the store's clock.
        pub created_at: Time,
        /// What stands in brackets in the person's message. Kept nowhere: made again when it is asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub code: Option<String>,
        /// Opens WhatsApp with the message typed in.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub whatsapp_link: Option<String>,
        /// The same for the installed app: `whatsapp://send?…`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub app_url: Option<String>,
        /// The message itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub text: Option<String>,
        /// A hosted page with button, QR code and live state.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub start_url: Option<String>,
        /// The QR code alone, as SVG.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub qr_url: Option<String>,
        /// A bearer that shows the state of this request and nothing else.
        pub poll_token: Option<String>,
        pub warnings: Vec<Warning>,
    } as "Link"

    pub struct Code {
        /// Names the request.
        pub uuid: VerificationId,
        /// The chat as the caller gave it, until it is erased.
        pub chat_id: Option<String>,
        #[schema(status(CODE_STATUSES))]
        pub status: Status,
        #[schema(constant("code"))]
        pub otp_type: OtpType,
        /// After this the code counts as expired.
        pub expires_at: Time,
        /// By the store's clock.
        pub created_at: Time,
        /// Kept nowhere: made again when it is asked for. Absent where `code_in_response = false`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub code: Option<String>,
        /// A bearer that shows the state of this request and nothing else.
        pub poll_token: Option<String>,
        pub warnings: Vec<Warning>,
    } as "Code"

    pub struct TimelineEntry {
        /// By the store's clock.
        pub at: Time,
        /// What happened, in a closed list of words. Of a code, some name the channel and the cause.
        #[schema(timeline_event())]
        pub event: String,
        /// Why, where there is a reason.
        #[schema(reason())]
        pub reason: Option<Reason>,
        /// `token:` or `operator:` and the name of who did it, where the configuration gives one.
        pub by: Option<String>,
    }

    pub struct Details {
        /// Why it did not succeed.
        #[schema(reason())]
        pub reason: Option<Reason>,
        /// When the state became final.
        pub ended_at: Option<Time>,
        pub subject: Option<Subject>,
        /// The sender's display name, chosen by the sender: without control and direction marks, at most 128 characters.
        pub push_name: Option<String>,
        /// Wrong senders, or wrong codes, so far.
        pub attempts: u32,
        #[schema(from_one())]
        pub max_attempts: u32,
        /// The expired request that a tap on its page made anew, if there was one.
        pub renews: Option<String>,
        /// As given.
        pub purpose: Option<String>,
        /// As given.
        pub client_ref: Option<String>,
        /// As given.
        pub metadata: Value,
        /// What happened, oldest first.
        pub timeline: Vec<TimelineEntry>,
    }

    pub struct LinkRequest {
        #[serde(flatten)]
        pub link: Link,
        #[serde(flatten)]
        pub details: Details,
        pub completion: Completion,
    } as "LinkRequest"

    pub struct CodeRequest {
        #[serde(flatten)]
        pub code: Code,
        #[serde(flatten)]
        pub details: Details,
        /// How often it was asked to be sent.
        #[schema(from_one())]
        pub send: u16,
        /// Over which the last message went.
        #[schema(channel())]
        pub channel: Option<Channel>,
    } as "CodeRequest"

    pub struct Requests {
        pub requests: Vec<Request>,
        /// Asks for the next page.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub next_cursor: Option<String>,
    }

    pub struct Progress {
        pub uuid: VerificationId,
        #[schema(status(Status::ALL))]
        pub status: Status,
        /// After this the code counts as expired.
        pub expires_at: Time,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub completion: Option<Completion>,
    }

    pub struct Redeemed {
        pub uuid: VerificationId,
        pub subject: Option<Subject>,
        /// The chat that wrote.
        pub chat_id: Option<String>,
        /// The sender's display name, chosen by the sender: without control and direction marks, at most 128 characters.
        pub push_name: Option<String>,
        /// The expired request that a tap on its page made anew, if there was one.
        pub renews: Option<String>,
        /// Other words than the prefilled ones surrounded the code: the person may have read something else.
        pub text_changed: Option<bool>,
        pub risk: Option<Risk>,
        /// As given.
        pub purpose: Option<String>,
        /// As given.
        pub client_ref: Option<String>,
        /// As given.
        pub metadata: Value,
        pub completion: Completion,
    }

    pub struct Validated {
        pub uuid: VerificationId,
        /// As it was given here, or for the request.
        pub chat_id: String,
        #[schema(constant("validated"))]
        pub status: Status,
        /// By the store's clock.
        pub validated_at: Time,
    }
}

/// A request with what has happened to it.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Request {
    Link(Box<LinkRequest>),
    Code(Box<CodeRequest>),
}

impl Schema for Request {
    const COMPONENT: Option<&'static str> = Some("Request");

    fn definition() -> Value {
        json!({ "anyOf": [LinkRequest::schema(), CodeRequest::schema()] })
    }
}

/// What a bearer may watch: all of a request, or with its poll token only how it stands.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Watched {
    Progress(Progress),
    Request(Request),
}

impl Schema for Watched {
    fn definition() -> Value {
        json!({ "anyOf": [Progress::schema(), Request::schema()] })
    }
}
