//! The two types of verification behind one interface.

use jiff::Timestamp;

use super::{Verification, decision::Decision, link::Link, sent_code::SentCode};

/// What a verification is besides what all have in common.
pub trait Kind: Clone {
    fn by_ref(&self) -> KindRef<'_>;

    fn into_any(self) -> AnyKind;

    /// `None`: it is of the other type.
    fn from_any(kind: AnyKind) -> Option<Self>;
}

/// A type of verification with the commands that it takes.
pub trait Protocol: Kind {
    /// What can happen to it.
    type Command: Clone;
    /// The answer to a command.
    type Verdict: Copy + PartialEq;

    /// The app changed its mind.
    const CANCEL: Self::Command;
    /// Its time is over.
    const EXPIRE: Self::Command;
    /// The person's data is no longer needed.
    const FORGET: Self::Command;

    /// What `command` does to `before` at `now`. Terminal states absorb: nothing leaves them but a dispute.
    fn decide(before: &Verification<Self>, command: Self::Command, now: Timestamp) -> Decision<Self>;
}

/// Either type.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "a record has one, and is held by itself")]
pub enum AnyKind {
    Link(Link),
    Code(SentCode),
}

/// Either type, borrowed.
#[derive(Clone, Copy)]
pub enum KindRef<'a> {
    Link(&'a Link),
    Code(&'a SentCode),
}

impl Kind for AnyKind {
    fn by_ref(&self) -> KindRef<'_> {
        match self {
            Self::Link(link) => KindRef::Link(link),
            Self::Code(code) => KindRef::Code(code),
        }
    }

    fn into_any(self) -> AnyKind {
        self
    }

    fn from_any(kind: AnyKind) -> Option<Self> {
        Some(kind)
    }
}
