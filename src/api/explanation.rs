//! Answers for support staff: what happened to a message or a request, and what an erasure removed.

use serde_json::{Value, json};

use super::{
    Rfc3339Time,
    callback::CallbackEntry,
    schema::{nullable, one_of, words},
    verification::{CompletionView, timeline_event},
};
use crate::domain::{OtpType, Reason, Status, VerificationId, timeline::TimelineEntry};

/// Explanations do not restrict reasons to a closed list.
fn reason() -> Value {
    nullable(json!({ "type": "string" }))
}

wire! {
    pub struct ExplainedMessage {
        /// When the message arrived.
        pub at: Rfc3339Time,
        /// `verified`, a reason, or why the message was ignored.
        pub outcome: String,
        /// The last four digits of the sender's phone number.
        pub phone_ending: Option<String>,
        /// The request whose code the message contained.
        pub uuid: Option<String>,
        /// The outcome in words, to be read after "the message".
        pub meaning: String,
        /// The beginning of a webhook that could not be parsed, for tokens with the scope `read_secrets`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub webhook: Option<String>,
    }

    pub struct ExplainedEvent {
        /// When it happened.
        pub at: Rfc3339Time,
        /// What happened, from a closed list. Some events of a code include the channel and the cause.
        #[schema(timeline_event())]
        pub event: String,
        /// The reason, if there is one.
        #[schema(reason())]
        pub reason: Option<Reason>,
        /// The API token or operator that caused it, if the configuration gives it a name.
        pub by: Option<String>,
    }

    pub struct ExplainedRequest {
        pub uuid: VerificationId,
        #[schema(one_of(OtpType::ALL, |otp_type| otp_type.as_str()))]
        pub otp_type: OtpType,
        /// The status of the request.
        #[schema(one_of(Status::ALL, |status| status.as_str()))]
        pub status: Status,
        /// Why the request did not succeed.
        #[schema(reason())]
        pub reason: Option<Reason>,
        /// When the request was created.
        pub created_at: Rfc3339Time,
        /// When the code expires.
        pub expires_at: Rfc3339Time,
        /// When the request ended.
        pub ended_at: Option<Rfc3339Time>,
        pub attempts: u32,
        /// As given in the request.
        pub client_ref: Option<String>,
        pub timeline: Vec<ExplainedEvent>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub completion: Option<CompletionView>,
        pub callbacks: Vec<CallbackEntry>,
    }

    pub struct ExplanationView {
        #[schema(words(&["request", "message", "phone_ending", "chat", "malformed"]))]
        pub read_as: &'static str,
        /// The answer in one sentence, for people.
        pub sentence: String,
        pub messages: Vec<ExplainedMessage>,
        pub requests: Vec<ExplainedRequest>,
    }

    pub struct Removed {
        /// Verifications with their timelines and links, including pending ones.
        pub requests: usize,
        /// Callbacks and replies, pending or kept.
        pub jobs: usize,
        /// Entries of the message log.
        pub messages: usize,
    }

    pub struct Erased {
        pub erased: Removed,
    }
}

impl From<&TimelineEntry> for ExplainedEvent {
    fn from(entry: &TimelineEntry) -> Self {
        Self { at: entry.at.into(), event: entry.event.to_string(), reason: entry.reason, by: entry.by.clone() }
    }
}
