//! Callbacks: the events that receivers get, and the callback log that the API returns.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Rfc3339Time,
    schema::{Schema, constant, nullable, one_of},
    verification::{
        CODE_STATUSES, CompletionView, LINK_STATUSES, RiskView, SubjectView, channel, from_one, reason, status,
    },
};
use crate::domain::{
    Channel, Event, InstanceId, OtpType, Reason, Status, VerificationId, link::LoginProgress, wire::wire_enum,
};

wire_enum! {
    /// The status of a callback.
    CallbackStatus {
        /// An attempt is due or in progress.
        Pending = "pending",
        /// The receiver accepted it.
        Delivered = "delivered",
        /// The attempts are exhausted, or the receiver refused it for good.
        Dead = "dead",
    }
}

fn callback_status() -> Value {
    one_of(CallbackStatus::ALL, |status| status.as_str())
}

fn event() -> Value {
    one_of(Event::ALL, |event| event.as_str())
}

wire! {
    pub struct Callback {
        #[schema(event())]
        #[serde(rename = "type")]
        pub event: &'static str,
        /// When the event happened.
        pub timestamp: Rfc3339Time,
        pub data: CallbackData,
    } as "Event"

    pub struct Common {
        pub uuid: VerificationId,
        /// Why the request did not succeed.
        #[schema(reason())]
        pub reason: Option<Reason>,
        /// The chat as the caller gave it, otherwise the chat that proved itself.
        pub chat_id: Option<String>,
        pub subject: Option<SubjectView>,
        /// The sender's display name, as chosen by the sender: control and directional characters are removed, at most
        /// 128 characters.
        pub push_name: Option<String>,
        /// As given in the request.
        pub purpose: Option<String>,
        /// As given in the request.
        pub client_ref: Option<String>,
        /// As given in the request.
        pub metadata: Value,
        /// When the request was created.
        pub created_at: Rfc3339Time,
        /// When the request expires, or would have expired.
        pub expires_at: Rfc3339Time,
        /// When the status became final.
        pub ended_at: Option<Rfc3339Time>,
    }

    pub struct LinkEvent {
        #[schema(constant("link"))]
        pub otp_type: OtpType,
        #[schema(status(LINK_STATUSES))]
        pub status: Status,
        #[serde(flatten)]
        pub common: Common,
        /// The expired request that this one renews, after a tap on its page.
        pub renews: Option<String>,
        /// The text around the code was not the prefilled one, so the person may have read something else.
        pub text_changed: Option<bool>,
        pub risk: Option<RiskView>,
        /// Only for `link.disputed`: how far the login had progressed. After `redeemed`, end the session that you
        /// started.
        #[schema(nullable(one_of(LoginProgress::ALL, |reached| reached.as_str())))]
        pub after: Option<LoginProgress>,
        pub completion: CompletionView,
    }

    pub struct CodeEvent {
        #[schema(constant("code"))]
        pub otp_type: OtpType,
        #[schema(status(CODE_STATUSES))]
        pub status: Status,
        #[serde(flatten)]
        pub common: Common,
        /// The number of the send, counted from 1: higher if the code was sent again.
        #[schema(from_one())]
        pub send: u16,
        /// The channel of the last message.
        #[schema(channel())]
        pub channel: Option<Channel>,
        /// `true` for a test number, whose code is fixed: validation proves nothing. Otherwise absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub test: Option<bool>,
    }

    /// Data of `callback.test`, which belongs to no request.
    pub struct TestEvent {
        pub test: bool,
        pub instance: String,
        pub note: &'static str,
    }

    pub struct CallbackEntry {
        /// Identifies the callback in `…/callbacks/{id}`.
        pub id: String,
        /// The `webhook-id` header of all attempts.
        pub webhook_id: String,
        #[schema(event())]
        #[serde(rename = "type")]
        pub event: &'static str,
        /// The request that the event belongs to.
        pub uuid: Option<String>,
        /// The receiver's URL, without path and query.
        pub url: String,
        #[schema(callback_status())]
        pub status: CallbackStatus,
        pub attempts: u32,
        /// When the event was recorded.
        pub created_at: Rfc3339Time,
        /// When the next attempt is due; only while the status is `pending`.
        pub next_attempt_at: Option<Rfc3339Time>,
        /// When it was delivered or given up.
        pub ended_at: Option<Rfc3339Time>,
        /// The error of the last failed attempt: host, class and cause.
        pub last_error: Option<String>,
    } as "CallbackEntry"

    pub struct CallbackPage {
        pub callbacks: Vec<CallbackEntry>,
        /// The `cursor` of the next page; `null` on the last page.
        pub next_cursor: Option<String>,
    }

    pub struct Header {
        /// The header's name, in lower case.
        pub name: String,
        /// The header's value, as received.
        pub value: String,
    }

    pub struct LastAnswer {
        /// When the response arrived.
        pub at: Rfc3339Time,
        pub status: u16,
        /// The first 4 KiB of the headers.
        pub headers: Vec<Header>,
        /// The first 2 KiB of the body.
        pub body: String,
    }

    pub struct CallbackDetails {
        #[serde(flatten)]
        pub entry: CallbackEntry,
        /// The body as it is sent, apart from whitespace.
        #[schema(json!({ "type": "object" }))]
        pub body: Value,
        /// The response to the last failed attempt that was answered. The latest 256 responses of each receiver are
        /// kept for a day.
        pub last_answer: Option<LastAnswer>,
    }

    pub struct Replayed {
        /// The id from the path.
        pub id: String,
    }
}

/// The data of an event.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum CallbackData {
    Link(Box<LinkEvent>),
    Code(Box<CodeEvent>),
    Test(TestEvent),
}

impl Schema for CallbackData {
    fn definition() -> Value {
        json!({ "anyOf": [LinkEvent::schema(), CodeEvent::schema()] })
    }
}

impl TestEvent {
    pub fn new(instance: InstanceId) -> Self {
        Self { test: true, instance: instance.to_string(), note: "sent by hand; belongs to no verification" }
    }
}

impl CallbackEntry {
    /// Whether an attempt is due or in progress.
    pub fn is_pending(&self) -> bool {
        self.status == CallbackStatus::Pending
    }
}
