//! The messages that carry a code: channels, number of sends, and delivery status.

use jiff::{Timestamp, fmt::serde::timestamp::millisecond::required as millis};
use serde::{Deserialize, Serialize};

use crate::domain::{Channel, ClaimId, Reason, otp::Shape};

/// Shape of a code, and the messages that carry it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Otp {
    pub shape: Shape,
    /// Channels in the order in which they are tried.
    pub channels: Vec<Channel>,
    /// Line from the caller, shown below the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footer: Option<String>,
    /// All messages so far, oldest first.
    #[serde(default)]
    pub legs: Vec<Leg>,
    /// When the last send was requested.
    #[serde(with = "millis")]
    pub asked_at: Timestamp,
    /// Bit sets of the sends that were reported to the app as sent and as delivered.
    #[serde(default)]
    told_sent: u32,
    #[serde(default)]
    told_delivered: u32,
    /// Attempts with an idempotency key, by the id that it maps to, with the reason if they failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tried: Vec<(ClaimId, Option<Reason>)>,
}

/// Maximum number of sends of one code.
pub const MOST_SENDS: u16 = 20;

/// One message over one channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Leg {
    /// 1 for the request itself, one more for each later request to send again.
    pub send: u16,
    pub channel: Channel,
    pub fate: Fate,
}

/// Delivery status of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
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

impl Leg {
    pub(super) const fn queued(send: u16, channel: Channel) -> Self {
        Self { send, channel, fate: Fate::Queued }
    }
}

impl Otp {
    /// Starts with the first send over the first channel.
    pub fn new(shape: Shape, channels: Vec<Channel>, footer: Option<String>, now: Timestamp) -> Self {
        let first = channels.first().map(|&channel| Leg::queued(1, channel));
        let legs = first.into_iter().collect();
        Self { shape, channels, footer, legs, asked_at: now, told_sent: 0, told_delivered: 0, tried: Vec::new() }
    }

    /// The outcome of an earlier attempt under this claim, if there was one.
    pub(super) fn tried(&self, claim: ClaimId) -> Option<Result<(), Reason>> {
        let (_, failed) = self.tried.iter().find(|(known, _)| *known == claim)?;
        Some(failed.map_or(Ok(()), Err))
    }

    /// Records an attempt. The list is bounded by the number of attempts that are allowed.
    pub(super) fn note_try(&mut self, claim: Option<ClaimId>, failed: Option<Reason>) {
        self.tried.extend(claim.map(|claim| (claim, failed)));
    }

    /// Records that this send was reported as sent; returns `true` only the first time.
    pub(super) fn tell_sent(&mut self, send: u16) -> bool {
        first(&mut self.told_sent, send)
    }

    pub(super) fn tell_delivered(&mut self, send: u16) -> bool {
        first(&mut self.told_delivered, send)
    }

    /// Number of the latest send; 0 if there is none.
    pub fn send(&self) -> u16 {
        self.legs.last().map_or(0, |leg| leg.send)
    }

    /// The channel of the latest message.
    pub fn channel(&self) -> Option<Channel> {
        self.legs.last().map(|leg| leg.channel)
    }

    /// The channel for the next send: the first that has not failed before, or else the first of all.
    pub(super) fn first_channel(&self) -> Option<Channel> {
        let failed = |channel| self.legs.iter().any(|leg| leg.channel == channel && leg.fate == Fate::Failed);
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
