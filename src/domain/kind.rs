//! The two types of verification (link and sent code) behind one interface.

use jiff::Timestamp;

use super::{Verification, decision::Decision, link::Link, sent_code::SentCode};

/// The type-specific part of a verification.
pub trait Kind: Clone {
    fn by_ref(&self) -> KindRef<'_>;

    fn into_any(self) -> AnyKind;

    /// Returns `None` if the kind is of the other type.
    fn from_any(kind: AnyKind) -> Option<Self>;
}

/// A type of verification together with its state machine.
pub trait StateMachine: Kind {
    /// A command that can be applied to the verification.
    type Command: Clone;
    /// The result of a command.
    type Verdict: Copy + PartialEq;

    /// Cancellation by the app.
    const CANCEL: Self::Command;
    /// End of the validity period.
    const EXPIRE: Self::Command;
    /// Erasure of the person's data.
    const ERASE: Self::Command;

    /// Computes the result of `command` on `before` at `now`. Terminal states are never left; after them, only the
    /// completion of a verified link changes, and personal data can be erased.
    fn decide(before: &Verification<Self>, command: Self::Command, now: Timestamp) -> Decision<Self>;
}

/// A kind of either type.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "a record has one, and is held by itself")]
pub enum AnyKind {
    Link(Link),
    Code(SentCode),
}

/// A borrowed kind of either type.
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
