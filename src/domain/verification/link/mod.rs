//! A link: the person sends its code from the chat to be proved.
//!
//! `pending → verified | failed | expired | canceled`. A verified link has a second state, its [`Completion`].

mod command;
mod completion;
mod decide;
mod finish;
mod redeem;

use jiff::{Timestamp, fmt::serde::timestamp::millisecond::required as millis};
use serde::{Deserialize, Serialize};

pub use self::{
    command::{FinishCommand, FinishVerdict, LinkCommand, LinkVerdict, MessageChecks, MessageText},
    completion::{
        COMPLETION_WINDOW, Completion, IssuedToken, LoginProgress, MAX_REDEEM_TOKENS, MAX_WRONG_VERIFIERS, Proof,
        REDEEM_WINDOW, Redemption,
    },
};
use crate::domain::{
    AnyKind, Kind, KindRef, Mode, NewVerification, Reason, Request, StateMachine, Status, Verification,
    binding::{Binding, WhatsAppDevice},
    decision::Decision,
    digest::Digest,
    risk::Risk,
};

/// The link-specific part of a verification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Number of characters of the code.
    pub code_length: u8,
    /// Digest of the prefilled text without its code ([`crate::domain::message_codes::text_without_code`]).
    pub prefilled: Option<Digest>,
    /// The words around the code that proved the chat differed from the prefilled ones.
    pub text_changed: bool,
    /// The browser that waits, if it used the start page.
    pub binding: Option<Binding>,
    /// How the sides of this login compare, as of the last message or browser.
    pub risk: Option<Risk>,
    pub state: LinkState,
}

/// The state of a link, with the data that exists only in that state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum LinkState {
    Pending,
    /// A chat sent the code. Terminal; only the completion changes afterwards.
    Verified {
        #[serde(with = "millis")]
        at: Timestamp,
        /// `None` after the person's data was erased.
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

impl StateMachine for Link {
    type Command = LinkCommand;
    type Verdict = LinkVerdict;

    const CANCEL: LinkCommand = LinkCommand::Cancel;
    const EXPIRE: LinkCommand = LinkCommand::Expire;
    const ERASE: LinkCommand = LinkCommand::Erase;

    fn decide(before: &Verification<Self>, command: LinkCommand, now: Timestamp) -> Decision<Self> {
        decide::decide(before, command, now)
    }
}

impl Link {
    /// A new link in the pending state.
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

    /// Who proved the chat; `None` if not yet proved or if the data was erased.
    pub fn proof(&self) -> Option<&Proof> {
        self.verified().and_then(|(proof, _)| proof)
    }

    /// Erases the data that identifies the person.
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

    /// The proof, unless erased, and the completion; `None` unless the link is verified.
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

    /// How the link completes. A link that was bound to no browser when its message came can be completed from any
    /// browser, so its mode is [`Mode::Anywhere`].
    pub fn mode(&self, request: &Request) -> Mode {
        match request.completion {
            Some(Mode::ProvePhone) => Mode::ProvePhone,
            Some(Mode::SameBrowser) if self.verified().is_some() && self.is_unbound(request) => Mode::Anywhere,
            Some(Mode::SameBrowser) => Mode::SameBrowser,
            Some(Mode::Anywhere) | None => Mode::Anywhere,
        }
    }

    /// Whether the link is meant for one browser, but neither the app nor the start page has bound one.
    fn is_unbound(&self, request: &Request) -> bool {
        let same_browser = request.completion == Some(Mode::SameBrowser);
        same_browser && request.challenge.is_none() && self.binding.is_none()
    }

    /// Whether this browser waits, or completed the link.
    pub fn is_known_browser(&self, browser: Digest) -> bool {
        let by = match self.completion() {
            Some(Completion::Released { by, .. }) => *by,
            Some(
                Completion::Offered { .. }
                | Completion::Redeemed { .. }
                | Completion::Lapsed { .. }
                | Completion::Disputed { .. }
                | Completion::NotOffered,
            )
            | None => None,
        };
        self.binding.as_ref().map(|binding| binding.browser).into_iter().chain(by).any(|known| known.matches(browser))
    }
}

impl Verification<Link> {
    /// A new link whose code has `code_length` characters.
    pub fn link(new: NewVerification, code_length: u8, request: Request) -> Self {
        Self::new(new, request, Link::new(code_length))
    }

    /// See [`Link::mode`].
    pub fn mode(&self) -> Mode {
        self.details.mode(&self.request)
    }

    /// Whether the link is meant for one browser, but neither the app nor the start page has bound one.
    pub fn is_unbound(&self) -> bool {
        self.details.is_unbound(&self.request)
    }

    /// The only browser that may finish the link. `None` if the app itself binds the login or nothing does.
    pub fn bound_browser(&self) -> Option<&Binding> {
        let cookie = self.request.completion == Some(Mode::SameBrowser) && self.request.challenge.is_none();
        self.details.binding.as_ref().filter(|_| cookie)
    }

    /// Whether the message comes from another device than the browser that waits, so the reply contains a code.
    pub fn needs_reply_code(&self) -> bool {
        let scanned =
            self.details.binding.as_ref().is_some_and(|binding| binding.whatsapp_device == WhatsAppDevice::Other);
        let app_scanned = self.request.qr && self.request.challenge.is_some();
        self.request.completion == Some(Mode::SameBrowser) && (scanned || app_scanned)
    }

    /// Whether the waiting page proceeds without a tap: the person stated the number before, and the message text
    /// itself says what is agreed to.
    pub fn finishes_automatically(&self) -> bool {
        self.request.completion == Some(Mode::ProvePhone) && self.request.exact && self.details.binding.is_some()
    }
}
