//! The recent messages and callbacks of the fake phone.

use std::collections::VecDeque;

use serde::Serialize;

use crate::gateway::SimulatedMessage;

/// The maximum number of messages, and of callbacks.
const MAX_ENTRIES: usize = 200;

/// Messages and callbacks, oldest first.
#[derive(Default)]
pub(in crate::dev) struct PhoneHistory {
    pub(in crate::dev) bubbles: VecDeque<Bubble>,
    pub(in crate::dev) callbacks: VecDeque<ReceivedCallback>,
    /// The last message, for `DeliveryMode::Again`.
    pub(super) last_message: Option<SimulatedMessage>,
    /// When the app last requested a code, in Unix milliseconds.
    pub(super) code_requested_at: Option<i64>,
    last_id: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::dev) enum ChatSide {
    Person,
    Business,
}

/// One message in the chat.
#[derive(Clone, Serialize)]
pub(in crate::dev) struct Bubble {
    pub(super) id: u64,
    /// Unix milliseconds.
    pub(super) at: i64,
    pub(in crate::dev) side: ChatSide,
    /// The person's chat id, in both directions.
    pub(in crate::dev) chat: String,
    pub(in crate::dev) text: String,
    /// How the delivery differs from a plain message.
    pub(super) note: Option<&'static str>,
    /// The status of the daemon's response to the webhook.
    pub(super) status: Option<u16>,
    /// Milliseconds: until that response; for a reply, since the message; for a code, since the app requested it.
    pub(super) millis: Option<u64>,
    /// Sent by SMS instead of WhatsApp.
    pub(in crate::dev) sms: bool,
    /// A one-time code, not a reply.
    pub(in crate::dev) code: bool,
}

/// A callback that the app received.
#[derive(Clone, Serialize)]
pub(in crate::dev) struct ReceivedCallback {
    pub(super) id: u64,
    pub(super) at: i64,
    pub(in crate::dev) kind: String,
    pub(super) headers: Vec<(String, String)>,
    pub(in crate::dev) body: String,
    /// The signature is valid.
    pub(in crate::dev) genuine: bool,
    /// The number of callbacks with this `webhook-id` so far, including this one.
    pub(super) attempt: usize,
    pub(super) webhook_id: String,
    pub(super) status: u16,
}

impl PhoneHistory {
    /// Adds a message and returns its id, for [`PhoneHistory::delivered`].
    pub(super) fn add_bubble(&mut self, make: impl FnOnce(u64) -> Bubble) -> u64 {
        let id = self.next_id();
        push_bounded(&mut self.bubbles, make(id));
        id
    }

    /// Records the daemon's response to a webhook.
    pub(super) fn delivered(&mut self, id: u64, status: Option<u16>, millis: u64) {
        if let Some(bubble) = self.bubbles.iter_mut().rev().find(|bubble| bubble.id == id) {
            bubble.status = status;
            bubble.millis = Some(millis);
        }
    }

    pub(super) fn add_callback(&mut self, make: impl FnOnce(u64) -> ReceivedCallback) {
        let id = self.next_id();
        let callback = make(id);
        let before = self.callbacks.iter().filter(|earlier| earlier.webhook_id == callback.webhook_id).count();
        push_bounded(&mut self.callbacks, ReceivedCallback { attempt: before + 1, ..callback });
    }

    /// When the person of this chat last wrote.
    pub(super) fn last_message_at(&self, chat: &str) -> Option<i64> {
        let mine = |bubble: &&Bubble| bubble.side == ChatSide::Person && bubble.chat == chat;
        self.bubbles.iter().rev().find(mine).map(|bubble| bubble.at)
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

fn push_bounded<T>(list: &mut VecDeque<T>, new: T) {
    if list.len() == MAX_ENTRIES {
        list.pop_front();
    }
    list.push_back(new);
}
