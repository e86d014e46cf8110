//! The messages that carry a code: channels, number of sends, and delivery status.

use jiff::{Timestamp, fmt::serde::timestamp::millisecond::required as millis};
use serde::{Deserialize, Serialize};

use crate::domain::{Channel, ClaimId, Reason, otp::CodeFormat};

/// Shape of a code, and the messages that carry it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    #[serde(rename = "shape")]
    pub format: CodeFormat,
    /// Channels in the order in which they are tried.
    pub channels: Vec<Channel>,
    /// Line from the caller, shown below the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footer: Option<String>,
    /// All messages so far, oldest first.
    #[serde(rename = "legs", default)]
    pub messages: Vec<ChannelMessage>,
    /// When the last send was requested.
    #[serde(rename = "asked_at", with = "millis")]
    pub requested_at: Timestamp,
    /// Bit sets of the sends that were reported to the app as sent and as delivered.
    #[serde(rename = "told_sent", default)]
    reported_sent: u32,
    #[serde(rename = "told_delivered", default)]
    reported_delivered: u32,
    /// Attempts with an idempotency key, by the id that it maps to, with the reason if they failed. Wrong ones without a
    /// key that came before one with a key are under [`KEYLESS`], so that the place of each is its number.
    #[serde(rename = "tried", default, skip_serializing_if = "Vec::is_empty")]
    attempts_by_claim: Vec<(ClaimId, Option<Reason>)>,
}

/// Maximum number of sends of one code.
pub const MAX_SENDS: u16 = 20;

/// In the place of the claim of an attempt that has none. No key maps to it.
const KEYLESS: ClaimId = ClaimId::from_bytes([0; 16]);

/// One message over one channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChannelMessage {
    /// 1 for the request itself, one more for each later request to send again.
    pub send: u16,
    pub channel: Channel,
    #[serde(rename = "fate")]
    pub status: MessageStatus,
}

/// Delivery status of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// The message is queued by us.
    Queued,
    /// The gateway accepted the message.
    Accepted,
    /// The message reached the phone.
    Delivered,
    /// The message will never arrive.
    Failed,
    /// The message was handed to the gateway, which did not answer: it may still arrive.
    Unknown,
}

impl ChannelMessage {
    pub(super) const fn queued(send: u16, channel: Channel) -> Self {
        Self { send, channel, status: MessageStatus::Queued }
    }
}

impl Delivery {
    /// Starts with the first send over the first channel.
    pub fn new(shape: CodeFormat, channels: Vec<Channel>, footer: Option<String>, now: Timestamp) -> Self {
        let first = channels.first().map(|&channel| ChannelMessage::queued(1, channel));
        let messages = first.into_iter().collect();
        Self {
            format: shape,
            channels,
            footer,
            messages,
            requested_at: now,
            reported_sent: 0,
            reported_delivered: 0,
            attempts_by_claim: Vec::new(),
        }
    }

    /// The outcome of an earlier attempt under this claim, if there was one; of a failure also its number among them.
    pub(super) fn attempt_under(&self, claim: ClaimId) -> Option<Result<(), (Reason, u32)>> {
        let ((_, failed), number) = self.attempts_by_claim.iter().zip(1..).find(|((known, _), _)| *known == claim)?;
        Some(failed.map_or(Ok(()), |reason| Err((reason, number))))
    }

    /// Records an attempt after `wrong` wrong ones. The list is bounded by the number of attempts that are allowed.
    pub(super) fn record_attempt(&mut self, claim: Option<ClaimId>, failed: Option<Reason>, wrong: u32) {
        let Some(claim) = claim else { return };
        let known = self.attempts_by_claim.len();
        let keyless = usize::try_from(wrong).unwrap_or(known).saturating_sub(known);
        self.attempts_by_claim.extend(std::iter::repeat_n((KEYLESS, Some(Reason::CodeWrong)), keyless));
        self.attempts_by_claim.push((claim, failed));
    }

    /// Records that this send was reported as sent; returns `true` only the first time.
    pub(super) fn mark_sent(&mut self, send: u16) -> bool {
        first(&mut self.reported_sent, send)
    }

    pub(super) fn mark_delivered(&mut self, send: u16) -> bool {
        first(&mut self.reported_delivered, send)
    }

    /// Number of the latest send; 0 if there is none.
    pub fn send(&self) -> u16 {
        self.messages.last().map_or(0, |message| message.send)
    }

    /// The channel of the latest message.
    pub fn channel(&self) -> Option<Channel> {
        self.messages.last().map(|message| message.channel)
    }

    /// The channel for the next send: the first that has not failed before, or else the first of all.
    pub(super) fn first_channel(&self) -> Option<Channel> {
        let failed = |channel| {
            self.messages.iter().any(|message| message.channel == channel && message.status == MessageStatus::Failed)
        };
        let open = self.channels.iter().copied().find(|&channel| !failed(channel));
        open.or(self.channels.first().copied())
    }

    /// The channel after `failed`, if there is one.
    pub fn next_channel(&self, failed: Channel) -> Option<Channel> {
        self.channels.iter().copied().skip_while(|&channel| channel != failed).nth(1)
    }
}

fn first(reported: &mut u32, send: u16) -> bool {
    let before = *reported;
    *reported |= 1 << send.min(31);
    *reported != before
}
