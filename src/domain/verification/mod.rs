//! The record of one request to prove a chat: what links and codes have in common, and the two types behind one
//! interface.

pub mod decision;
mod derived;
pub mod link;
pub mod sent_code;

use jiff::Timestamp;

use self::{
    decision::Decision,
    link::{Link, Proof},
    sent_code::SentCode,
};
use super::{
    InstanceId, OtpType, Reason, Request, Status, TimelineEvent, VerificationId, digest::KeyId, timeline::TimelineEntry,
};

/// Maximum number of timeline entries. Later ones are dropped, because the first ones matter most.
const TIMELINE_LENGTH: usize = 40;

/// The record. Its kind is [`Link`] or [`SentCode`] where the type is known. It changes only through their
/// [`StateMachine::decide`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verification<K = AnyKind> {
    pub id: VerificationId,
    pub instance: InstanceId,
    /// The key that derived this record's code and tokens.
    pub key: KeyId,
    /// Never shown. Deriving a code takes both the keys and this nonce, so neither the keys nor the store alone
    /// suffice.
    pub nonce: [u8; 16],
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Number of wrong senders, or wrong codes, that ends the verification.
    pub max_attempts: u32,
    pub attempts: u32,
    pub request: Request,
    /// The fields that only links or only codes have.
    pub details: K,
    pub timeline: Vec<TimelineEntry>,
    /// Fields that a later version of this program has stored; kept unchanged.
    pub unknown: Vec<u8>,
}

/// The values of a new record, besides the request.
#[derive(Clone, Copy)]
pub struct NewVerification {
    pub id: VerificationId,
    pub instance: InstanceId,
    pub key: KeyId,
    pub nonce: [u8; 16],
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub max_attempts: u32,
}

/// A record by its type.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum TypedVerification {
    Link(Verification<Link>),
    Code(Verification<SentCode>),
}

impl<K> Verification<K> {
    pub fn new(new: NewVerification, request: Request, kind: K) -> Self {
        let NewVerification { id, instance, key, nonce, created_at: now, expires_at, max_attempts } = new;
        Self {
            id,
            instance,
            key,
            nonce,
            created_at: now,
            expires_at,
            max_attempts: max_attempts.max(1),
            attempts: 0,
            request,
            details: kind,
            timeline: vec![TimelineEntry::new(now, TimelineEvent::Created, None)],
            unknown: Vec::new(),
        }
    }

    /// Returns the same record with another kind, and the previous kind.
    fn replace<L>(self, kind: L) -> (Verification<L>, K) {
        let record = Verification {
            id: self.id,
            instance: self.instance,
            key: self.key,
            nonce: self.nonce,
            created_at: self.created_at,
            expires_at: self.expires_at,
            max_attempts: self.max_attempts,
            attempts: self.attempts,
            request: self.request,
            details: kind,
            timeline: self.timeline,
            unknown: self.unknown,
        };
        (record, self.details)
    }

    /// Adds an entry, unless the timeline is full.
    pub(super) fn add_event(&mut self, at: Timestamp, event: TimelineEvent, reason: Option<Reason>) {
        if self.timeline.len() < TIMELINE_LENGTH {
            self.timeline.push(TimelineEntry::new(at, event, reason));
        }
    }

    /// Records `by` as the cause of the timeline entries from index `from` on.
    pub fn attribute(&mut self, from: usize, by: &str) {
        self.timeline.iter_mut().skip(from).for_each(|entry| entry.by = Some(by.to_owned()));
    }
}

impl<K: Kind> Verification<K> {
    pub fn otp_type(&self) -> OtpType {
        match self.details.by_ref() {
            KindRef::Link(_) => OtpType::Link,
            KindRef::Code(_) => OtpType::Code,
        }
    }

    /// The status at `now`: an open record past its expiry is expired, whether or not that has been stored.
    pub fn status(&self, now: Timestamp) -> Status {
        let written = match self.details.by_ref() {
            KindRef::Link(link) => link.status(),
            KindRef::Code(code) => code.status(),
        };
        if written.is_open() && now >= self.expires_at { Status::Expired } else { written }
    }

    /// When it ended, if it has.
    pub fn ended_at(&self) -> Option<Timestamp> {
        match self.details.by_ref() {
            KindRef::Link(link) => link.ended_at(),
            KindRef::Code(code) => code.ended_at(),
        }
    }

    /// Why it ended without success, if it did.
    pub fn reason(&self) -> Option<Reason> {
        match self.details.by_ref() {
            KindRef::Link(link) => link.reason(),
            KindRef::Code(code) => code.reason(),
        }
    }

    /// The proof of the chat. Always `None` for a code, whose chat is stated and not proved.
    pub fn proof(&self) -> Option<&Proof> {
        self.as_link().and_then(Link::proof)
    }

    /// The chat as the caller gave it, otherwise the proved one, if any.
    pub fn chat_id(&self) -> Option<String> {
        let proved = || self.proof().map(|proof| proof.subject.chat_id());
        self.request.chat.as_ref().map(|chat| chat.as_given().to_owned()).or_else(proved)
    }

    /// The fields of a link; `None` for a code.
    pub fn as_link(&self) -> Option<&Link> {
        match self.details.by_ref() {
            KindRef::Link(link) => Some(link),
            KindRef::Code(_) => None,
        }
    }

    /// The fields of a code; `None` for a link.
    pub fn as_code(&self) -> Option<&SentCode> {
        match self.details.by_ref() {
            KindRef::Link(_) => None,
            KindRef::Code(code) => Some(code),
        }
    }
}

impl<K: Kind> Verification<K> {
    /// Converts into a record whose type is not known statically.
    pub fn into_any(self) -> Verification {
        let (rest, kind) = self.replace(());
        rest.replace(kind.into_any()).0
    }

    /// Converts into a record whose type is known. `None` if it is of the other type.
    pub fn from_any(record: Verification) -> Option<Self> {
        let (rest, kind) = record.replace(());
        K::from_any(kind).map(|kind| rest.replace(kind).0)
    }
}

impl Verification {
    pub fn into_typed(self) -> TypedVerification {
        let (rest, kind) = self.replace(());
        match kind {
            AnyKind::Link(link) => TypedVerification::Link(rest.replace(link).0),
            AnyKind::Code(code) => TypedVerification::Code(rest.replace(code).0),
        }
    }
}

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
