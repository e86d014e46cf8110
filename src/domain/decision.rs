//! What follows from a command, as a value.

use jiff::Timestamp;

use super::{Event, Protocol, Reason, TimelineEvent, Verification};

/// The value of [`Protocol::decide`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision<K: Protocol> {
    /// The new record, or `None` when nothing about it changes.
    pub next: Option<Verification<K>>,
    pub effects: Vec<Effect>,
    pub verdict: K::Verdict,
    /// The first instant at which this decision would have been another one. The store compares it with its own clock,
    /// so that no replica's clock or pause decides about expiry.
    pub valid_until: Option<Timestamp>,
}

/// What must leave the process because of a decision. Committed with it, as jobs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    Reply(Reply),
    Callback(Event),
    /// Report the `send`-th send of a code to the app.
    CallbackOfSend {
        event: Event,
        send: u16,
    },
    /// Send the code, as this leg of its record says.
    Code {
        leg: usize,
    },
}

/// Which text answers in the chat.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Success,
    /// The message came from another device than the one that waits: a code to type there, and no link.
    OtherDevice,
    /// The waiting page goes on by itself: nothing to tap.
    Proved,
    /// Another text than the prefilled one held the code: the link again.
    TextChanged,
    Failed,
    Expired,
    /// WhatsApp hid the number that this verification needs.
    Unidentified,
    /// No verification has this code.
    Unknown,
}

impl Reply {
    /// Whether a person waits for it, in front of a page.
    pub const fn is_expected(self) -> bool {
        match self {
            Self::Success | Self::OtherDevice | Self::Proved | Self::TextChanged => true,
            Self::Failed | Self::Expired | Self::Unidentified | Self::Unknown => false,
        }
    }
}

/// A decision that is being made.
pub(super) struct Draft<K> {
    pub(super) next: Verification<K>,
    pub(super) effects: Vec<Effect>,
    pub(super) now: Timestamp,
}

impl<K: Protocol> Draft<K> {
    pub(super) fn new(before: &Verification<K>, now: Timestamp) -> Self {
        Self { next: before.clone(), effects: Vec::new(), now }
    }

    pub(super) fn is_expired(&self) -> bool {
        self.now >= self.next.expires_at
    }

    /// Notes the end, and reports it to the app.
    pub(super) fn end(&mut self, event: TimelineEvent, reason: Option<Reason>, callback: Event) {
        self.next.note(self.now, event, reason);
        self.effects.push(Effect::Callback(callback));
    }

    pub(super) fn changed(self, verdict: impl Into<K::Verdict>) -> Decision<K> {
        Decision { next: Some(self.next), effects: self.effects, verdict: verdict.into(), valid_until: None }
    }

    /// Effects, if there are any, without a change.
    pub(super) fn unchanged(self, verdict: impl Into<K::Verdict>) -> Decision<K> {
        Decision { next: None, effects: self.effects, verdict: verdict.into(), valid_until: None }
    }
}
