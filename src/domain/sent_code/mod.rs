//! A code that we send: the person types it into the app.
//!
//! `pending → sent → validated | failed | expired | canceled`.

mod decide;
mod delivery;
mod otp;

use jiff::{SignedDuration, Timestamp, fmt::serde::timestamp::millisecond::required as millis};
use serde::{Deserialize, Serialize};

pub use self::otp::{Fate, Leg, MOST_SENDS, Otp};
use super::{
    AnyKind, Birth, ClaimId, DeliveryFailure, Kind, KindRef, Protocol, Reason, Request, Status, Verification,
    decision::Decision,
};

/// Between two sends of one code.
pub const COOLDOWN: SignedDuration = SignedDuration::from_secs(60);

/// What a code has beside what every verification has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SentCode {
    /// What it is made of, and the messages that carry it.
    pub otp: Otp,
    pub state: CodeState,
}

/// Where it stands, and only what exists there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum CodeState {
    Pending,
    /// A gateway has taken it.
    Sent {
        #[serde(with = "millis")]
        at: Timestamp,
    },
    /// The app presented it. Terminal, as all below.
    Validated {
        #[serde(with = "millis")]
        at: Timestamp,
    },
    Failed {
        #[serde(with = "millis")]
        at: Timestamp,
        reason: Reason,
    },
    Expired {
        #[serde(with = "millis")]
        at: Timestamp,
    },
    Canceled {
        #[serde(with = "millis")]
        at: Timestamp,
    },
}

/// What can happen to a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeCommand {
    /// The app presents what a person typed. `claim` is the id that its idempotency key stands for.
    Try { right: bool, claim: Option<ClaimId> },
    /// The app wants the same code to be sent again.
    Resend,
    /// Another code was asked for, for the same chat.
    Replace,
    /// The app changed its mind.
    Cancel,
    /// Its time is over.
    Expire,
    /// The person's data is no longer needed.
    Forget,
    /// How the message of this leg fared.
    Report { leg: usize, report: DeliveryReport },
}

/// How a message fared, as far as it was reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryReport {
    /// The gateway has taken it.
    Accepted,
    /// The phone has it.
    Delivered,
    /// The phone will never have it.
    Undelivered(DeliveryFailure),
    /// The gateway was asked and did not answer, so that it may have it or not.
    Unknown(DeliveryFailure),
}

/// The answer to a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeVerdict {
    /// The code was typed, just now.
    Validated,
    /// It was validated before, under the same claim: the same answer.
    Repeated,
    /// It failed before, under the same claim: the same answer, and nothing is counted.
    RepeatedFailure(Reason),
    Failed(Reason),
    Expired,
    Canceled,
    /// It is sent again.
    Resent,
    /// Not before this time.
    TooSoon(Timestamp),
    Forgotten,
    /// Nothing to do, and nothing wrong.
    Unchanged,
    /// There is no such message, or no channel.
    Refused,
}

impl Kind for SentCode {
    fn by_ref(&self) -> KindRef<'_> {
        KindRef::Code(self)
    }

    fn into_any(self) -> AnyKind {
        AnyKind::Code(self)
    }

    fn from_any(kind: AnyKind) -> Option<Self> {
        match kind {
            AnyKind::Link(_) => None,
            AnyKind::Code(code) => Some(code),
        }
    }
}

impl Protocol for SentCode {
    type Command = CodeCommand;
    type Verdict = CodeVerdict;

    const CANCEL: CodeCommand = CodeCommand::Cancel;
    const EXPIRE: CodeCommand = CodeCommand::Expire;
    const FORGET: CodeCommand = CodeCommand::Forget;

    fn decide(before: &Verification<Self>, command: CodeCommand, now: Timestamp) -> Decision<Self> {
        decide::decide(before, command, now)
    }
}

impl SentCode {
    pub(super) const fn status(&self) -> Status {
        match self.state {
            CodeState::Pending => Status::Pending,
            CodeState::Sent { .. } => Status::Sent,
            CodeState::Validated { .. } => Status::Validated,
            CodeState::Failed { .. } => Status::Failed,
            CodeState::Expired { .. } => Status::Expired,
            CodeState::Canceled { .. } => Status::Canceled,
        }
    }

    pub(super) const fn ended_at(&self) -> Option<Timestamp> {
        match self.state {
            CodeState::Pending | CodeState::Sent { .. } => None,
            CodeState::Validated { at }
            | CodeState::Failed { at, .. }
            | CodeState::Expired { at }
            | CodeState::Canceled { at } => Some(at),
        }
    }

    pub(super) const fn reason(&self) -> Option<Reason> {
        match self.state {
            CodeState::Failed { reason, .. } => Some(reason),
            CodeState::Expired { .. } => Some(Reason::CodeExpired),
            CodeState::Canceled { .. } => Some(Reason::CodeCanceled),
            CodeState::Pending | CodeState::Sent { .. } | CodeState::Validated { .. } => None,
        }
    }

    /// Forgets what names the person.
    pub(super) fn erase(&mut self) {
        self.otp.footer = None;
    }
}

impl Verification<SentCode> {
    /// A new code, with its first message queued.
    pub fn code(birth: Birth, otp: Otp, request: Request) -> Self {
        Self::new(birth, request, SentCode { otp, state: CodeState::Pending })
    }
}
