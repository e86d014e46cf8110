//! A one-time code that we send and the person types into the app.
//!
//! `pending → sent → validated | failed | expired | canceled`.

mod decide;
mod delivery;
mod report;

use jiff::{SignedDuration, Timestamp, fmt::serde::timestamp::millisecond::required as millis};
use serde::{Deserialize, Serialize};

pub use self::delivery::{ChannelMessage, Delivery, MAX_SENDS, MessageStatus};
use crate::domain::{
    AnyKind, ClaimId, DeliveryFailure, Kind, KindRef, NewVerification, Reason, Request, StateMachine, Status,
    Verification, decision::Decision,
};

/// Minimum time between two messages that a person did not ask for by writing: sends of one code, requests for an
/// approval, and, where the caller asks for it, codes.
pub const COOLDOWN: SignedDuration = SignedDuration::from_secs(60);

/// The code-specific part of a verification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SentCode {
    /// Shape of the code, and the messages that carry it.
    pub delivery: Delivery,
    pub state: CodeState,
}

/// The state of a sent code, with the data that exists only in that state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum CodeState {
    Pending,
    /// A gateway accepted the message.
    Sent {
        #[serde(with = "millis")]
        at: Timestamp,
    },
    /// The app presented the code. Terminal, like all states below.
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

/// A command that can be applied to a sent code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeCommand {
    /// The app presents what the person typed. `claim` is the id that the caller's idempotency key maps to.
    Validate { correct: bool, claim: Option<ClaimId> },
    /// The app requests another send of the same code.
    Resend,
    /// Another code was requested for the same chat.
    Replace,
    /// Cancellation by the app.
    Cancel,
    /// End of the validity period.
    Expire,
    /// Erasure of the person's data.
    Erase,
    /// Delivery status of the message of message `message`.
    Report { message: usize, report: DeliveryReport },
}

/// Delivery status reported by a gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryReport {
    /// The gateway accepted the message.
    Accepted,
    /// The message reached the phone.
    Delivered,
    /// The message will not reach the phone.
    Undelivered(DeliveryFailure),
    /// The gateway did not answer, so it may or may not have accepted the message.
    Unknown(DeliveryFailure),
}

/// The result of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeVerdict {
    /// The code was validated by this command.
    Validated,
    /// The code was validated before under the same claim: the answer is the same.
    Repeated,
    /// An attempt under the same claim failed before, as the `attempts`th: the answer is the same, and no attempt is
    /// counted.
    RepeatedFailure {
        reason: Reason,
        attempts: u32,
    },
    Failed(Reason),
    Expired,
    Canceled,
    /// Another send is queued.
    Resent,
    /// The command is not allowed before this time.
    TooSoon(Timestamp),
    Erased,
    /// The command had no effect, and this is not an error.
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

impl StateMachine for SentCode {
    type Command = CodeCommand;
    type Verdict = CodeVerdict;

    const CANCEL: CodeCommand = CodeCommand::Cancel;
    const EXPIRE: CodeCommand = CodeCommand::Expire;
    const ERASE: CodeCommand = CodeCommand::Erase;

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

    /// Erases the data that identifies the person.
    pub(super) fn erase(&mut self) {
        self.delivery.footer = None;
    }
}

impl Verification<SentCode> {
    /// A new code whose first message is queued.
    pub fn code(new: NewVerification, otp: Delivery, request: Request) -> Self {
        Self::new(new, request, SentCode { delivery: otp, state: CodeState::Pending })
    }
}
