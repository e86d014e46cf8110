//! Callbacks: what receivers are sent, and how the log of them is shown.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Time,
    schema::{Schema, constant, nullable, one_of, words},
    verification::{CODE_STATUSES, Completion, LINK_STATUSES, Risk, Subject, channel, from_one, reason, status},
};
use crate::domain::{Channel, Event, InstanceId, OtpType, Reason, Status, VerificationId, link::Reached};

/// How a callback stands.
pub const STANDINGS: &[&str] = &["pending", "delivered", "dead"];

fn event() -> Value {
    one_of(Event::ALL, |event| event.as_str())
}

wire! {
    pub struct Callback {
        #[schema(event())]
        #[serde(rename = "type")]
        pub event: &'static str,
        /// When it happened.
        pub timestamp: Time,
        pub data: CallbackData,
    } as "Event"

    pub struct Common {
        pub uuid: VerificationId,
        /// Why it did not succeed.
        #[schema(reason())]
        pub reason: Option<Reason>,
        /// As the caller gave it, else the chat that wrote.
        pub chat_id: Option<String>,
        pub subject: Option<Subject>,
        /// The sender's display name, chosen by the sender: without control and direction marks, at most 128 characters.
        pub push_name: Option<String>,
        /// As given.
        pub purpose: Option<String>,
        /// As given.
        pub client_ref: Option<String>,
        /// As given.
        pub metadata: Value,
        /// When it was minted.
        pub created_at: Time,
        /// When it would have expired.
        pub expires_at: Time,
        /// When the state became final.
        pub ended_at: Option<Time>,
    }

    pub struct LinkEvent {
        #[schema(constant("link"))]
        pub otp_type: OtpType,
        #[schema(status(LINK_STATUSES))]
        pub status: Status,
        #[serde(flatten)]
        pub common: Common,
        /// The expired request that a tap on its page made anew, if there was one.
        pub renews: Option<String>,
        /// Other words than the prefilled ones surrounded the code: the person may have read something else.
        pub text_changed: Option<bool>,
        pub risk: Option<Risk>,
        /// Of `link.disputed`: how far it had come. After `redeemed` end the session that you began.
        #[schema(nullable(one_of(Reached::ALL, |reached| reached.as_str())))]
        pub after: Option<Reached>,
        pub completion: Completion,
    }

    pub struct CodeEvent {
        #[schema(constant("code"))]
        pub otp_type: OtpType,
        #[schema(status(CODE_STATUSES))]
        pub status: Status,
        #[serde(flatten)]
        pub common: Common,
        /// Which send it was, where it was sent again.
        #[schema(from_one())]
        pub send: u16,
        /// Over which the last message went.
        #[schema(channel())]
        pub channel: Option<Channel>,
    }

    /// Of `callback.test`, which is about no request.
    pub struct TestEvent {
        pub test: bool,
        pub instance: String,
        pub note: &'static str,
    }

    pub struct CallbackEntry {
        /// Names it in `…/callbacks/{id}`.
        pub id: String,
        /// The `webhook-id` header of every attempt.
        pub webhook_id: String,
        #[schema(event())]
        #[serde(rename = "type")]
        pub event: &'static str,
        /// The request it is about.
        pub uuid: Option<String>,
        /// Where it is sent, without path and query.
        pub url: String,
        #[schema(words(STANDINGS))]
        pub status: &'static str,
        pub attempts: u32,
        /// When it was decided.
        pub created_at: Time,
        /// While it is pending.
        pub next_attempt_at: Option<Time>,
        /// When it was delivered or given up.
        pub ended_at: Option<Time>,
        /// Of the last attempt that failed: host, class and cause.
        pub last_error: Option<String>,
    } as "CallbackEntry"

    pub struct CallbackPage {
        pub callbacks: Vec<CallbackEntry>,
        /// `cursor` of the next page; `null` after the last.
        pub next_cursor: Option<String>,
    }

    pub struct Header {
        /// In lower case.
        pub name: String,
        /// As it came.
        pub value: String,
    }

    pub struct LastAnswer {
        /// When it came.
        pub at: Time,
        pub status: u16,
        /// The first 4 KiB of them.
        pub headers: Vec<Header>,
        /// Its first 2 KiB.
        pub body: String,
    }

    pub struct CallbackDetails {
        #[serde(flatten)]
        pub entry: CallbackEntry,
        /// As it is sent, byte for byte but for the spaces.
        #[schema(json!({ "type": "object" }))]
        pub body: Value,
        /// To the last attempt that was answered and failed. Of each receiver the latest 256 are kept, for a day.
        pub last_answer: Option<LastAnswer>,
    }

    pub struct Replayed {
        /// As asked.
        pub id: String,
    }
}

/// What a callback is about.
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
        Self { test: true, instance: instance.to_string(), note: "sent by hand; belongs to nobody" }
    }
}
