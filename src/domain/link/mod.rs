//! A link: the person sends its code from the chat that is to be proved.
//!
//! `pending → verified | failed | expired | canceled`; what becomes of a verified one is its [`Completion`].

mod command;
mod completion;
mod decide;
mod finish;
mod redeem;

use jiff::{Timestamp, fmt::serde::timestamp::millisecond::required as millis};
use serde::{Deserialize, Serialize};

pub use self::{
    command::{FinishCommand, FinishVerdict, LinkCommand, LinkVerdict, Sent},
    completion::{
        COMPLETION_WINDOW, Completion, Issued, Proof, REDEEM_MISSES, REDEEM_TOKENS, REDEEM_WINDOW, Reached, Redemption,
    },
};
use super::{
    AnyKind, Birth, Kind, KindRef, Mode, Protocol, Reason, Request, Status, Verification,
    binding::{Binding, Place},
    decision::Decision,
    keys::Digest,
    risk::Risk,
};

/// What a link has beside what every verification has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Characters of its code.
    pub code_length: u8,
    /// Of the prefilled text, but for its code ([`super::extract::around`]).
    pub prefilled: Option<Digest>,
    /// Other words than those surrounded the code that proved the chat.
    pub text_changed: bool,
    /// The browser that waits, if it used the start page.
    pub binding: Option<Binding>,
    /// How the sides of this login compare, as of the last message or browser.
    pub risk: Option<Risk>,
    pub state: LinkState,
}

/// Where it stands, and only what exists there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a record has one, and is held by itself")]
pub enum LinkState {
    Pending,
    /// A chat sent the code. Terminal; the completion beside it moves on by itself.
    Verified {
        #[serde(with = "millis")]
        at: Timestamp,
        /// Absent once the person's data was erased.
        proof: Option<Proof>,
        completion: Completion,
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

impl Kind for Link {
    fn by_ref(&self) -> KindRef<'_> {
        KindRef::Link(self)
    }

    fn into_any(self) -> AnyKind {
        AnyKind::Link(self)
    }

    fn from_any(kind: AnyKind) -> Option<Self> {
        match kind {
            AnyKind::Link(link) => Some(link),
            AnyKind::Code(_) => None,
        }
    }
}

impl Protocol for Link {
    type Command = LinkCommand;
    type Verdict = LinkVerdict;

    const CANCEL: LinkCommand = LinkCommand::Cancel;
    const EXPIRE: LinkCommand = LinkCommand::Expire;
    const FORGET: LinkCommand = LinkCommand::Forget;

    fn decide(before: &Verification<Self>, command: LinkCommand, now: Timestamp) -> Decision<Self> {
        decide::decide(before, command, now)
    }
}

impl Link {
    /// A new one.
    pub const fn new(code_length: u8) -> Self {
        Self { code_length, prefilled: None, text_changed: false, binding: None, risk: None, state: LinkState::Pending }
    }

    pub(super) const fn status(&self) -> Status {
        match self.state {
            LinkState::Pending => Status::Pending,
            LinkState::Verified { .. } => Status::Verified,
            LinkState::Failed { .. } => Status::Failed,
            LinkState::Expired { .. } => Status::Expired,
            LinkState::Canceled { .. } => Status::Canceled,
        }
    }

    pub(super) const fn ended_at(&self) -> Option<Timestamp> {
        match self.state {
            LinkState::Pending => None,
            LinkState::Verified { at, .. }
            | LinkState::Failed { at, .. }
            | LinkState::Expired { at }
            | LinkState::Canceled { at } => Some(at),
        }
    }

    pub(super) const fn reason(&self) -> Option<Reason> {
        match self.state {
            LinkState::Failed { reason, .. } => Some(reason),
            LinkState::Expired { .. } => Some(Reason::CodeExpired),
            LinkState::Canceled { .. } => Some(Reason::CodeCanceled),
            LinkState::Pending | LinkState::Verified { .. } => None,
        }
    }

    /// Who proved the chat, as far as that is kept.
    pub fn proof(&self) -> Option<&Proof> {
        self.verified().and_then(|(proof, _)| proof)
    }

    /// Forgets what names the person.
    pub(super) fn erase(&mut self) {
        self.risk = None;
        if let Some(binding) = &mut self.binding {
            (binding.ip, binding.user_agent) = (None, None);
        }
        if let LinkState::Verified { proof, completion, .. } = &mut self.state {
            *proof = None;
            if let Completion::Redeemed { by, .. } = completion {
                *by = None;
            }
        }
    }

    /// Who proved the chat, as far as that is kept, and what became of the link since then.
    pub const fn verified(&self) -> Option<(Option<&Proof>, &Completion)> {
        match &self.state {
            LinkState::Verified { proof, completion, .. } => Some((proof.as_ref(), completion)),
            LinkState::Pending | LinkState::Failed { .. } | LinkState::Expired { .. } | LinkState::Canceled { .. } => {
                None
            }
        }
    }

    pub fn completion(&self) -> Option<&Completion> {
        self.verified().map(|(_, completion)| completion)
    }

    /// How it completes. One that was bound to nothing when its message came completes wherever its link is opened, and
    /// is called that.
    pub fn mode(&self, request: &Request) -> Mode {
        match request.completion {
            Some(Mode::ProvePhone) => Mode::ProvePhone,
            Some(Mode::SameBrowser) if self.verified().is_some() && self.is_unbound(request) => Mode::Anywhere,
            Some(Mode::SameBrowser) => Mode::SameBrowser,
            Some(Mode::Anywhere) | None => Mode::Anywhere,
        }
    }

    /// Meant for one browser, and none was named.
    fn is_unbound(&self, request: &Request) -> bool {
        let same_browser = request.completion == Some(Mode::SameBrowser);
        same_browser && request.challenge.is_none() && self.binding.is_none()
    }

    /// Whether this browser waits, or has gone on from here.
    pub fn knows(&self, browser: Digest) -> bool {
        let by = match self.completion() {
            Some(Completion::Released { by, .. }) => *by,
            Some(
                Completion::Offered { .. }
                | Completion::Redeemed { .. }
                | Completion::Lapsed { .. }
                | Completion::Disputed { .. },
            )
            | None => None,
        };
        self.binding.as_ref().map(|binding| binding.browser).into_iter().chain(by).any(|known| known.matches(browser))
    }
}

impl Verification<Link> {
    /// A new link whose code has `code_length` characters.
    pub fn link(birth: Birth, code_length: u8, request: Request) -> Self {
        Self::new(birth, request, Link::new(code_length))
    }

    /// As [`Link::mode`].
    pub fn mode(&self) -> Mode {
        self.kind.mode(&self.request)
    }

    /// Meant for one browser, and none was named.
    pub fn is_unbound(&self) -> bool {
        self.kind.is_unbound(&self.request)
    }

    /// The browser that alone may finish. `None` where the app itself binds, or nothing does.
    pub fn bound_browser(&self) -> Option<&Binding> {
        let cookie = self.request.completion == Some(Mode::SameBrowser) && self.request.challenge.is_none();
        self.kind.binding.as_ref().filter(|_| cookie)
    }

    /// Whether the message comes from another device than the one that waits, so that the reply holds a code.
    pub fn expects_code(&self) -> bool {
        let scanned = self.kind.binding.as_ref().is_some_and(|binding| binding.place == Place::Qr);
        let app_scanned = self.request.qr && self.request.challenge.is_some();
        self.request.completion == Some(Mode::SameBrowser) && (scanned || app_scanned)
    }

    /// Whether the waiting page of a person who stated the number goes on without a tap: what was sent says itself what
    /// is agreed to.
    pub fn finishes_by_itself(&self) -> bool {
        self.request.completion == Some(Mode::ProvePhone) && self.request.exact && self.kind.binding.is_some()
    }
}
