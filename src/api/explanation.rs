//! Answers about people: what became of a message, and what was forgotten.

use serde_json::{Value, json};

use super::{
    Time,
    callback::CallbackEntry,
    schema::{nullable, one_of, words},
    verification::{Completion, timeline_event},
};
use crate::domain::{OtpType, Reason, Status, VerificationId, timeline::Entry};

/// Explanations name no closed list of reasons.
fn reason() -> Value {
    nullable(json!({ "type": "string" }))
}

wire! {
    pub struct Message {
        /// When it came.
        pub at: Time,
        /// `verified`, a reason, or why it was ignored.
        pub outcome: String,
        /// The last four digits of its sender.
        pub phone_ending: Option<String>,
        /// The request whose code it held.
        pub uuid: Option<String>,
        /// What that means, after "the message".
        pub meaning: String,
    }

    pub struct ExplainedEvent {
        /// When.
        pub at: Time,
        /// What happened, in a closed list of words. Of a code, some name the channel and the cause.
        #[schema(timeline_event())]
        pub event: String,
        /// Why it did not succeed.
        #[schema(reason())]
        pub reason: Option<Reason>,
        /// Who did it, where the configuration gives a name.
        pub by: Option<String>,
    }

    pub struct ExplainedRequest {
        pub uuid: VerificationId,
        #[schema(one_of(OtpType::ALL, |otp_type| otp_type.as_str()))]
        pub otp_type: OtpType,
        /// How it stands.
        #[schema(one_of(Status::ALL, |status| status.as_str()))]
        pub status: Status,
        /// Why it did not succeed.
        #[schema(reason())]
        pub reason: Option<Reason>,
        /// When it was made.
        pub created_at: Time,
        /// After this the code counts as expired.
        pub expires_at: Time,
        /// When it ended.
        pub ended_at: Option<Time>,
        pub attempts: u32,
        /// As given.
        pub client_ref: Option<String>,
        pub timeline: Vec<ExplainedEvent>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub completion: Option<Completion>,
        pub callbacks: Vec<CallbackEntry>,
    }

    pub struct Explanation {
        #[schema(words(&["request", "message", "phone_ending", "chat"]))]
        pub read_as: &'static str,
        /// The answer, for people.
        pub sentence: String,
        pub messages: Vec<Message>,
        pub requests: Vec<ExplainedRequest>,
    }

    pub struct Removed {
        /// Verifications, with their timelines and links; also pending ones.
        pub requests: usize,
        /// Callbacks and replies, on their way or kept.
        pub jobs: usize,
        /// Traces of messages.
        pub traces: usize,
    }

    pub struct Erased {
        pub erased: Removed,
    }
}

impl From<&Entry> for ExplainedEvent {
    fn from(entry: &Entry) -> Self {
        Self { at: entry.at.into(), event: entry.event.to_string(), reason: entry.reason, by: entry.by.clone() }
    }
}
