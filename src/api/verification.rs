//! Verifications, as API callers and callback receivers see them.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Rfc3339Time, Warning,
    schema::{Schema, constant, nullable, one_of, words},
};
use crate::domain::{Channel, Mode, OtpType, Reason, Status, TimelineEvent, VerificationId};

/// The statuses of a link.
pub const LINK_STATUSES: &[Status] =
    &[Status::Pending, Status::Verified, Status::Failed, Status::Expired, Status::Canceled];
/// The statuses of a code.
pub const CODE_STATUSES: &[Status] =
    &[Status::Pending, Status::Sent, Status::Validated, Status::Failed, Status::Expired, Status::Canceled];

/// The schema of a status: one of `statuses`.
pub(super) fn status(statuses: &[Status]) -> Value {
    one_of(statuses, |status| status.as_str())
}

/// The schema of a timeline event: a closed list, and patterns for the events that include a channel, a cause or a
/// count.
pub(super) fn timeline_event() -> Value {
    let plain = json!({ "enum": TimelineEvent::FIXED.iter().map(ToString::to_string).collect::<Vec<String>>() });
    let patterns = TimelineEvent::PATTERNS.iter().map(|pattern| json!({ "pattern": pattern }));
    json!({ "type": "string", "anyOf": std::iter::once(plain).chain(patterns).collect::<Vec<Value>>() })
}

/// The schema of a reason.
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
    /// The identity of the person who proved the chat; `null` until then.
    pub struct SubjectView {
        /// The kind of identity. WhatsApp can hide the phone number behind a LID or BSUID.
        #[schema(words(&["phone", "lid", "bsuid"]))]
        pub kind: &'static str,
        /// For a phone, E.164 according to the current numbering plan. The digits of a LID are not a phone number.
        pub value: String,
        /// The same identity as the gateway spelled it: WhatsApp still uses old forms of some phone numbers.
        pub reported: String,
    } as nullable "Subject"

    pub struct CompletionView {
        /// Which browser may finish the login.
        #[schema(one_of(Mode::ALL, |mode| mode.as_str()))]
        pub mode: &'static str,
        /// The state of the link in the reply.
        #[schema(nullable(words(&["offered", "released", "redeemed", "lapsed", "disputed"])))]
        pub state: Option<&'static str>,
    } as "Completion"

    /// Comparison of the browser that started the login (`client_ip` and `user_agent`, otherwise the browser of the
    /// start page) with the one that continued it. A signal, not a decision. `null` until both have been seen.
    pub struct RiskView {
        /// Whether both are in the same /24 (IPv4) or /48 (IPv6).
        pub same_network: Option<bool>,
        /// Whether both are in the same country, according to the operator's `geoip_file`.
        pub same_country: Option<bool>,
        /// Whether both are the same kind of device, according to their browsers.
        pub same_device: Option<bool>,
        /// ISO 3166 code of the country where the login started.
        #[schema(country())]
        pub started_country: Option<String>,
        /// ISO 3166 code of the country where the login continued.
        #[schema(country())]
        pub finished_country: Option<String>,
    } as nullable "Risk"

    pub struct LinkView {
        /// Identifies the request. It is not a secret and grants no access.
        pub uuid: VerificationId,
        /// The chat as the caller gave it, otherwise the chat that proved itself, once it has.
        pub chat_id: Option<String>,
        #[schema(status(LINK_STATUSES))]
        pub status: Status,
        #[schema(constant("link"))]
        pub otp_type: OtpType,
        /// When the code expires.
        pub expires_at: Rfc3339Time,
        /// According to the store's clock.
        pub created_at: Rfc3339Time,
        /// The code in brackets in the person's message. It is not stored but derived whenever it is requested.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub code: Option<String>,
        /// Opens WhatsApp with the message prefilled. Absent if the instance receives SMS.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub whatsapp_link: Option<String>,
        /// Opens only the installed app with the message prefilled: `whatsapp://send?…`; or `sms:…` if the instance
        /// receives SMS.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub app_url: Option<String>,
        /// The prefilled message.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub text: Option<String>,
        /// A hosted page with a button, a QR code and the live status.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub start_url: Option<String>,
        /// The QR code as an SVG image.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub qr_url: Option<String>,
        /// A bearer token that can read the status of this request and nothing else.
        pub poll_token: Option<String>,
        pub warnings: Vec<Warning>,
    } as "Link"

    pub struct CodeView {
        /// Identifies the request. It is not a secret and grants no access.
        pub uuid: VerificationId,
        /// The chat as the caller gave it; `null` once it has been erased.
        pub chat_id: Option<String>,
        #[schema(status(CODE_STATUSES))]
        pub status: Status,
        #[schema(constant("code"))]
        pub otp_type: OtpType,
        /// When the code expires.
        pub expires_at: Rfc3339Time,
        /// According to the store's clock.
        pub created_at: Rfc3339Time,
        /// The code that is sent. It is not stored but derived whenever it is requested. Absent with `code_in_response
        /// = false`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub code: Option<String>,
        /// A bearer token that can read the status of this request and nothing else.
        pub poll_token: Option<String>,
        pub warnings: Vec<Warning>,
    } as "Code"

    pub struct TimelineEntryView {
        /// According to the store's clock.
        pub at: Rfc3339Time,
        /// What happened, from a closed list. Some events of a code include the channel and the cause.
        #[schema(timeline_event())]
        pub event: String,
        /// The reason, if there is one.
        #[schema(reason())]
        pub reason: Option<Reason>,
        /// The API token (`token:`) or operator (`operator:`) that caused it, with the name from the configuration, if
        /// it has one.
        pub by: Option<String>,
    }

    pub struct Details {
        /// Why the request did not succeed.
        #[schema(reason())]
        pub reason: Option<Reason>,
        /// When the status became final.
        pub ended_at: Option<Rfc3339Time>,
        pub subject: Option<SubjectView>,
        /// The sender's display name, as chosen by the sender: control and directional characters are removed, at most
        /// 128 characters.
        pub push_name: Option<String>,
        /// Wrong senders, or wrong codes, so far.
        pub attempts: u32,
        #[schema(from_one())]
        pub max_attempts: u32,
        /// The expired request that this one renews, after a tap on its page.
        pub renews: Option<String>,
        /// As given in the request.
        pub purpose: Option<String>,
        /// As given in the request.
        pub client_ref: Option<String>,
        /// As given in the request.
        pub metadata: Value,
        /// What happened, oldest entry first.
        pub timeline: Vec<TimelineEntryView>,
    }

    pub struct LinkRequestView {
        #[serde(flatten)]
        pub link: LinkView,
        #[serde(flatten)]
        pub details: Details,
        pub completion: CompletionView,
    } as "LinkRequest"

    pub struct CodeRequestView {
        #[serde(flatten)]
        pub code: CodeView,
        #[serde(flatten)]
        pub details: Details,
        /// How many times sending the code was requested.
        #[schema(from_one())]
        pub send: u16,
        /// The channel of the last message.
        #[schema(channel())]
        pub channel: Option<Channel>,
        /// `true` for a test number, whose code is fixed: validation proves nothing. Otherwise absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub test: Option<bool>,
    } as "CodeRequest"

    pub struct Requests {
        pub requests: Vec<RequestView>,
        /// The cursor of the next page; absent on the last page.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub next_cursor: Option<String>,
    }

    pub struct Progress {
        pub uuid: VerificationId,
        #[schema(status(Status::ALL))]
        pub status: Status,
        /// When the code expires.
        pub expires_at: Rfc3339Time,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub completion: Option<CompletionView>,
    }

    pub struct RedeemedView {
        pub uuid: VerificationId,
        pub subject: Option<SubjectView>,
        /// The chat as the caller gave it, otherwise the chat that proved itself.
        pub chat_id: Option<String>,
        /// The sender's display name, as chosen by the sender: control and directional characters are removed, at most
        /// 128 characters.
        pub push_name: Option<String>,
        /// The expired request that this one renews, after a tap on its page.
        pub renews: Option<String>,
        /// The text around the code was not the prefilled one, so the person may have read something else.
        pub text_changed: Option<bool>,
        pub risk: Option<RiskView>,
        /// As given in the request.
        pub purpose: Option<String>,
        /// As given in the request.
        pub client_ref: Option<String>,
        /// As given in the request.
        pub metadata: Value,
        pub completion: CompletionView,
    }

    pub struct Validated {
        pub uuid: VerificationId,
        /// The chat as given in this call, otherwise as given in the request.
        pub chat_id: String,
        #[schema(constant("validated"))]
        pub status: Status,
        /// According to the store's clock.
        pub validated_at: Rfc3339Time,
        /// `true` for a test number, whose code is fixed: validation proves nothing. Otherwise absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub test: Option<bool>,
    }
}

/// A request with its details and its timeline.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum RequestView {
    Link(Box<LinkRequestView>),
    Code(Box<CodeRequestView>),
}

impl Schema for RequestView {
    const COMPONENT: Option<&'static str> = Some("Request");

    fn definition() -> Value {
        json!({ "anyOf": [LinkRequestView::schema(), CodeRequestView::schema()] })
    }
}

/// What a caller may watch: with the request's poll token only its progress, otherwise the whole request.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Watched {
    Progress(Progress),
    Request(RequestView),
}

impl Schema for Watched {
    fn definition() -> Value {
        json!({ "anyOf": [Progress::schema(), RequestView::schema()] })
    }
}
