//! The messages that carry a code: over which channels, how many times, and how far they came.

use jiff::{Timestamp, fmt::serde::timestamp::millisecond::required as millis};
use serde::{Deserialize, Serialize};

use crate::domain::{Channel, ClaimId, Reason, otp::Shape};

/// What a code is made of, and the messages that carry it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Otp {
    pub shape: Shape,
    /// In the order in which they are tried.
    pub channels: Vec<Channel>,
    /// A line of the caller's below the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footer: Option<String>,
    /// Every message there was, oldest first.
    #[serde(default)]
    pub legs: Vec<Leg>,
    /// When the last send was asked for.
    #[serde(with = "millis")]
    pub asked_at: Timestamp,
    /// The sends that were reported to the app as sent, and as delivered, one bit each.
    #[serde(default)]
    told_sent: u32,
    #[serde(default)]
    told_delivered: u32,
    /// Tries that came with an idempotency key, by the id that it stands for, and why they failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tried: Vec<(ClaimId, Option<Reason>)>,
}

/// No code is sent more often.
pub const MOST_SENDS: u16 = 20;

/// One message over one channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Leg {
    /// 1 for the request itself, one more for each time it was asked to be sent again.
    pub send: u16,
    pub channel: Channel,
    pub fate: Fate,
}

/// How far it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Ours to send.
    Queued,
    /// The gateway has it.
    Accepted,
    /// The phone has it.
    Delivered,
    /// It will never arrive.
    Failed,
    /// It was handed to the gateway, which did not answer: it may arrive.
    Unknown,
}

impl Leg {
    pub(super) const fn queued(send: u16, channel: Channel) -> Self {
        Self { send, channel, fate: Fate::Queued }
    }
}

impl Otp {
    /// The first send over the first channel.
    pub fn new(shape: Shape, channels: Vec<Channel>, footer: Option<String>, now: Timestamp) -> Self {
        let first = channels.first().map(|&channel| Leg::queued(1, channel));
        let legs = first.into_iter().collect();
        Self { shape, channels, footer, legs, asked_at: now, told_sent: 0, told_delivered: 0, tried: Vec::new() }
    }

    /// What came of the try under this claim, if it was compared before.
    pub(super) fn tried(&self, claim: ClaimId) -> Option<Result<(), Reason>> {
        let (_, failed) = self.tried.iter().find(|(known, _)| *known == claim)?;
        Some(failed.map_or(Ok(()), Err))
    }

    /// At most as often as tries are counted.
    pub(super) fn note_try(&mut self, claim: Option<ClaimId>, failed: Option<Reason>) {
        self.tried.extend(claim.map(|claim| (claim, failed)));
    }

    /// Whether this send is still to be reported to the app as sent; asked once.
    pub(super) fn tell_sent(&mut self, send: u16) -> bool {
        first(&mut self.told_sent, send)
    }

    pub(super) fn tell_delivered(&mut self, send: u16) -> bool {
        first(&mut self.told_delivered, send)
    }

    /// How often it was asked to be sent.
    pub fn send(&self) -> u16 {
        self.legs.last().map_or(0, |leg| leg.send)
    }

    /// Over which channel the last message went.
    pub fn channel(&self) -> Option<Channel> {
        self.legs.last().map(|leg| leg.channel)
    }

    /// Where the next send starts: at the first channel that has not failed this person, or at the first of all.
    pub(super) fn first_channel(&self) -> Option<Channel> {
        let failed = |channel| self.legs.iter().any(|leg| leg.channel == channel && leg.fate == Fate::Failed);
        let open = self.channels.iter().copied().find(|&channel| !failed(channel));
        open.or(self.channels.first().copied())
    }

    /// The channel to try after `failed` did not carry.
    pub fn next_channel(&self, failed: Channel) -> Option<Channel> {
        self.channels.iter().copied().skip_while(|&channel| channel != failed).nth(1)
    }
}

fn first(reported: &mut u32, send: u16) -> bool {
    let before = *reported;
    *reported |= 1 << send.min(31);
    *reported != before
}
