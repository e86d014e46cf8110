//! The result of a command, as a value.
//!
//! [`StateMachine::decide`] returns a [`Decision`]; the caller commits the new record and the effects in one transaction.

use jiff::Timestamp;

use crate::domain::{Event, Reason, StateMachine, TimelineEvent, Verification};

/// The result of [`StateMachine::decide`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision<K: StateMachine> {
    /// The new record, or `None` if the record does not change.
    pub next: Option<Verification<K>>,
    pub effects: Vec<Effect>,
    pub verdict: K::Verdict,
    /// The first instant at which the decision would differ. The store compares it with its own clock at commit, so
    /// neither clock skew nor a pause of a replica can affect expiry.
    pub valid_until: Option<Timestamp>,
}

/// A side effect of a decision. Stored as a job in the same commit as the decision.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    Reply(Reply),
    Callback(Event),
    /// Reports the send with the number `send` to the app.
    CallbackForSend {
        event: Event,
        send: u16,
    },
    /// Sends the code over the channel of message number `message` of the record.
    SendCode {
        message: usize,
    },
}

/// The text of the reply in the chat.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Success,
    /// The message came from another device than the browser that waits: a code to type there instead of a link.
    #[serde(rename = "other_device")]
    WithCode,
    /// The waiting page proceeds automatically, so the reply contains nothing to tap.
    #[serde(rename = "proved")]
    NoActionNeeded,
    /// The person has approved what was asked.
    Approved,
    /// The person has rejected what was asked.
    Rejected,
    /// The code was sent with a text other than the prefilled one: the reply repeats the link to the prefilled message.
    TextChanged,
    Failed,
    Expired,
    /// WhatsApp did not disclose the phone number that this verification needs.
    Unidentified,
    /// No verification has this code.
    Unknown,
}

impl Reply {
    /// Whether a person is waiting for this reply.
    pub const fn is_expected(self) -> bool {
        match self {
            Self::Success
            | Self::WithCode
            | Self::NoActionNeeded
            | Self::Approved
            | Self::Rejected
            | Self::TextChanged => true,
            Self::Failed | Self::Expired | Self::Unidentified | Self::Unknown => false,
        }
    }
}

/// A decision under construction: a copy of the record and the effects so far.
pub(super) struct Transition<K> {
    pub(super) next: Verification<K>,
    pub(super) effects: Vec<Effect>,
    pub(super) now: Timestamp,
}

impl<K: StateMachine> Transition<K> {
    pub(super) fn new(before: &Verification<K>, now: Timestamp) -> Self {
        Self { next: before.clone(), effects: Vec::new(), now }
    }

    pub(super) fn is_expired(&self) -> bool {
        self.now >= self.next.expires_at
    }

    /// Records the end in the timeline and reports it to the app.
    pub(super) fn record_end(&mut self, event: TimelineEvent, reason: Option<Reason>, callback: Event) {
        self.next.add_event(self.now, event, reason);
        self.effects.push(Effect::Callback(callback));
    }

    pub(super) fn changed(self, verdict: impl Into<K::Verdict>) -> Decision<K> {
        Decision { next: Some(self.next), effects: self.effects, verdict: verdict.into(), valid_until: None }
    }

    /// Keeps the record as it was, with the effects collected so far.
    pub(super) fn unchanged(self, verdict: impl Into<K::Verdict>) -> Decision<K> {
        Decision { next: None, effects: self.effects, verdict: verdict.into(), valid_until: None }
    }
}
