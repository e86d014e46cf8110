//! One request to prove a chat, and where it stands.

use jiff::{SignedDuration, Timestamp, fmt::serde::timestamp::millisecond::required as millis};
use serde::{Deserialize, Serialize};

use super::{
    binding::{Binding, Place, Told},
    event::Event,
    id::{InstanceId, VerificationId},
    keys::{Digest, KeyId},
    reason::Reason,
    risk::Risk,
    sending::Otp,
    status::{OtpType, Status},
    subject::{Chat, Sender, Subject},
    timeline::{Entry, TimelineEvent},
};

/// How long the link in the reply can be completed after the match.
pub const COMPLETION_WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// How long the app's server has to exchange a redeem token.
pub const REDEEM_WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// Wrong verifiers that spend the redeem tokens of one login.
pub const REDEEM_MISSES: u8 = 5;
/// Redeem tokens of one login that are out at once.
pub const REDEEM_TOKENS: usize = 3;
/// Entries of the timeline that are kept; the first ones matter most.
const TIMELINE_LENGTH: usize = 40;

/// Who may finish the login. Named so that the dangerous one sounds like what it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Only the browser that started.
    SameBrowser,
    /// The person is signed in already and stated the number before.
    ProvePhone,
    /// Wherever the link in the reply is opened.
    Anywhere,
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SameBrowser => "same_browser",
            Self::ProvePhone => "prove_phone",
            Self::Anywhere => "anywhere",
        }
    }
}

/// What the app asked for; never changes, and the parts that name a person can be forgotten.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// The application's name in messages.
    pub name: String,
    /// Tag of one of the built-in languages.
    pub lang: String,
    /// Only this chat can match.
    pub chat: Option<Chat>,
    pub texts: Texts,
    pub callbacks: Callbacks,
    /// Literal replacement for the hosted link.
    pub link: Option<String>,
    pub redirect_url: Option<String>,
    /// Base64url SHA-256 of a verifier that the app keeps (RFC 7636 S256).
    pub challenge: Option<String>,
    pub completion: Option<Mode>,
    pub purpose: Option<String>,
    pub client_ref: Option<String>,
    /// JSON text, echoed.
    pub metadata: Option<String>,
    /// Returned only in the redirect.
    pub state: Option<String>,
    pub client_ip: Option<String>,
    pub user_agent: Option<String>,
    /// The app shows a QR code itself: the reply holds a code to type there, and no link.
    pub qr: bool,
    /// The expired request that this one was made from, by a tap on its page.
    pub renews: Option<VerificationId>,
    /// How many such taps lie behind it.
    pub renewals: u8,
    /// Nobody makes it anew once it has expired.
    pub final_expiry: bool,
    /// Only the prefilled text counts, not whatever else holds the code.
    pub exact: bool,
}

/// The texts of one request; absent ones come from the instance, then from the language.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Texts {
    pub prompt: Option<String>,
    pub success: Option<String>,
    pub failed: Option<String>,
    pub expired: Option<String>,
    /// The message with a code that we send; only instances have one of their own.
    pub code: Option<String>,
}

/// Where one request's events go; absent ones go to the instance's callback URL.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Callbacks {
    pub success: Option<String>,
    pub failed: Option<String>,
    pub expired: Option<String>,
}

/// The record. Created by [`Verification::new`], changed only by [`super::decide()`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verification {
    pub id: VerificationId,
    pub instance: InstanceId,
    /// The key that derived this record's code and tokens.
    pub key: KeyId,
    /// Told to nobody: whoever steals only the keys, or only the store, still derives no code.
    pub nonce: [u8; 16],
    /// Of a link.
    pub code_length: u8,
    /// Makes it one of type `code`; absent, it is a link.
    pub otp: Option<Otp>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Wrong senders, or wrong codes, that end it.
    pub max_attempts: u32,
    pub attempts: u32,
    pub request: Request,
    /// Of the prefilled text, but for its code ([`super::extract::around`]).
    pub prefilled: Option<Digest>,
    /// Other words than those surrounded the code that proved the chat.
    pub text_changed: bool,
    /// The browser that waits, if it used the start page.
    pub binding: Option<Binding>,
    /// How the sides of this login compare, as of the last that was heard of either.
    pub risk: Option<Risk>,
    pub state: State,
    pub timeline: Vec<Entry>,
    /// What a later version of this program has stored with it: kept as it is.
    pub unknown: Vec<u8>,
}

/// Where it stands, and only what exists there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a record has one, and is held by itself")]
pub enum State {
    Pending,
    /// A gateway has taken the code.
    Sent {
        #[serde(with = "millis")]
        at: Timestamp,
    },
    /// The app presented the code that we sent. Terminal.
    Validated {
        #[serde(with = "millis")]
        at: Timestamp,
    },
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

/// Who proved it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proof {
    pub subject: Subject,
    pub sender: Sender,
    pub push_name: Option<String>,
}

/// What became of the link in the reply. One use, and only a dispute follows upon the last three.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Completion {
    /// The link waits to be tapped.
    Offered {
        #[serde(with = "millis")]
        until: Timestamp,
        /// The reply code, once somebody has seen it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        told: Option<Told>,
        /// Somebody behind the link has agreed, and the page that waits may go on.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        agreed: bool,
    },
    /// Tapped: redeem tokens are out, and the first that is exchanged ends all.
    Released {
        /// Oldest first, at most [`REDEEM_TOKENS`].
        tokens: Vec<Issued>,
        /// The browser that tapped may do it again, where it was recognised.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Digest>,
        misses: u8,
    },
    Redeemed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Redemption>,
        #[serde(with = "millis")]
        at: Timestamp,
    },
    Lapsed {
        #[serde(with = "millis")]
        at: Timestamp,
    },
    Disputed {
        #[serde(with = "millis")]
        at: Timestamp,
        after: Reached,
    },
}

/// How far a login had come when somebody said "this wasn't me".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// Nobody had gone on.
    Offered,
    /// A redeem token was out; it is revoked.
    Released,
    /// The app had got the subject: it alone can end what it began.
    Redeemed,
    /// It had ended by itself.
    Lapsed,
}

impl Reached {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Released => "released",
            Self::Redeemed => "redeemed",
            Self::Lapsed => "lapsed",
        }
    }
}

/// A redeem token that is out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Issued {
    pub digest: Digest,
    #[serde(with = "millis")]
    pub until: Timestamp,
}

/// What a redemption was asked for with, so that its repeat gets the same answer and nobody else does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Redemption {
    /// The redeem token; absent, it was the reply code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Digest>,
    /// The id that the caller's idempotency key stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<VerificationId>,
    /// When the token or the code would have ended.
    #[serde(with = "millis")]
    pub until: Timestamp,
}

/// What a new record is made from, beside the request.
#[derive(Clone, Copy)]
pub struct Birth {
    pub id: VerificationId,
    pub instance: InstanceId,
    pub key: KeyId,
    pub nonce: [u8; 16],
    pub code_length: u8,
    pub now: Timestamp,
    pub expires_at: Timestamp,
    pub max_attempts: u32,
}

impl Verification {
    pub fn new(birth: Birth, request: Request) -> Self {
        let Birth { id, instance, key, nonce, code_length, now, expires_at, max_attempts } = birth;
        let timeline = vec![Entry::new(now, TimelineEvent::Created, None)];
        Self {
            id,
            instance,
            key,
            nonce,
            code_length,
            otp: None,
            created_at: now,
            expires_at,
            max_attempts: max_attempts.max(1),
            attempts: 0,
            request,
            prefilled: None,
            text_changed: false,
            binding: None,
            risk: None,
            state: State::Pending,
            timeline,
            unknown: Vec::new(),
        }
    }

    /// A verification whose code we send.
    pub fn code(birth: Birth, otp: Otp, request: Request) -> Self {
        Self { otp: Some(otp), ..Self::new(birth, request) }
    }

    /// The status that a reader at `now` must see: a pending record past its time is expired, whether or not that was
    /// written down.
    pub fn status(&self, now: Timestamp) -> Status {
        match self.state {
            State::Pending | State::Sent { .. } if now >= self.expires_at => Status::Expired,
            State::Pending => Status::Pending,
            State::Sent { .. } => Status::Sent,
            State::Validated { .. } => Status::Validated,
            State::Verified { .. } => Status::Verified,
            State::Failed { .. } => Status::Failed,
            State::Expired { .. } => Status::Expired,
            State::Canceled { .. } => Status::Canceled,
        }
    }

    /// When it ended, if it has.
    pub fn ended_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Pending | State::Sent { .. } => None,
            State::Verified { at, .. }
            | State::Validated { at }
            | State::Failed { at, .. }
            | State::Expired { at }
            | State::Canceled { at } => Some(at),
        }
    }

    pub fn reason(&self) -> Option<Reason> {
        match self.state {
            State::Failed { reason, .. } => Some(reason),
            State::Expired { .. } => Some(Reason::CodeExpired),
            State::Canceled { .. } => Some(Reason::CodeCanceled),
            State::Pending | State::Sent { .. } | State::Validated { .. } | State::Verified { .. } => None,
        }
    }

    pub fn proof(&self) -> Option<&Proof> {
        match &self.state {
            State::Verified { proof, .. } => proof.as_ref(),
            _ => None,
        }
    }

    /// As the caller gave it, else as proved, else nothing yet.
    pub fn chat_id(&self) -> Option<String> {
        let proved = || self.proof().map(|proof| proof.subject.chat_id());
        self.request.chat.as_ref().map(|chat| chat.as_given().to_owned()).or_else(proved)
    }

    /// How this verification completes. One that was bound to nothing when its message came completes wherever
    /// its link is opened, and is called that.
    pub fn mode(&self) -> Mode {
        match self.request.completion {
            Some(Mode::ProvePhone) => Mode::ProvePhone,
            Some(Mode::SameBrowser) if matches!(self.state, State::Verified { .. }) && self.is_unbound() => {
                Mode::Anywhere
            }
            Some(Mode::SameBrowser) => Mode::SameBrowser,
            Some(Mode::Anywhere) | None => Mode::Anywhere,
        }
    }

    /// Meant for one browser, and nobody said which.
    pub fn is_unbound(&self) -> bool {
        let same_browser = self.request.completion == Some(Mode::SameBrowser);
        same_browser && self.request.challenge.is_none() && self.binding.is_none()
    }

    /// The browser that alone may finish. `None` where the app itself binds, or nothing does.
    pub fn bound_browser(&self) -> Option<&Binding> {
        let cookie = self.request.completion == Some(Mode::SameBrowser) && self.request.challenge.is_none();
        self.binding.as_ref().filter(|_| cookie)
    }

    /// Whether this browser waits, or has gone on from here.
    pub fn knows(&self, browser: Digest) -> bool {
        let by = match &self.state {
            State::Verified { completion: Completion::Released { by, .. }, .. } => *by,
            _ => None,
        };
        self.binding.as_ref().map(|binding| binding.browser).into_iter().chain(by).any(|known| known.matches(browser))
    }

    /// Whether the message comes from another device than the one that waits, so that the reply holds a code.
    pub fn expects_code(&self) -> bool {
        let scanned = self.binding.as_ref().is_some_and(|binding| binding.place == Place::Qr);
        let app_scanned = self.request.qr && self.request.challenge.is_some();
        self.request.completion == Some(Mode::SameBrowser) && (scanned || app_scanned)
    }

    /// Where `event` goes when the request says so. A failed URL also hears of expiry when nothing else does.
    pub fn callback_url(&self, event: Event) -> Option<&str> {
        let urls = &self.request.callbacks;
        match event {
            Event::LinkVerified => urls.success.as_deref(),
            Event::LinkFailed => urls.failed.as_deref(),
            Event::LinkExpired => urls.expired.as_deref().or(urls.failed.as_deref()),
            _ => None,
        }
    }

    /// Whether the waiting page of somebody who stated the number goes on without a tap: what was sent says itself what
    /// is agreed to.
    pub fn finishes_by_itself(&self) -> bool {
        self.request.completion == Some(Mode::ProvePhone) && self.request.exact && self.binding.is_some()
    }

    pub fn otp_type(&self) -> OtpType {
        if self.otp.is_some() { OtpType::Code } else { OtpType::Link }
    }

    /// Erases what names the person.
    pub(super) fn forget(&mut self) {
        let request = &mut self.request;
        request.chat = None;
        request.texts = Texts::default();
        (request.client_ip, request.user_agent) = (None, None);
        self.risk = None;
        if let Some(binding) = &mut self.binding {
            (binding.ip, binding.user_agent) = (None, None);
        }
        if let State::Verified { proof, completion, .. } = &mut self.state {
            *proof = None;
            if let Completion::Redeemed { by, .. } = completion {
                *by = None;
            }
        }
    }

    /// Adds a line while there is room.
    pub(super) fn note(&mut self, at: Timestamp, event: TimelineEvent, reason: Option<Reason>) {
        if self.timeline.len() < TIMELINE_LENGTH {
            self.timeline.push(Entry::new(at, event, reason));
        }
    }

    /// Names who has done what stands in the timeline from `from` on.
    pub fn sign(&mut self, from: usize, by: &str) {
        self.timeline.iter_mut().skip(from).for_each(|entry| entry.by = Some(by.to_owned()));
    }

    /// Only the last tap stands in the timeline, so that many leave room for what follows.
    pub(super) fn note_tap(&mut self, at: Timestamp, place: Place) {
        if self.timeline.last().is_some_and(|last| matches!(last.event, TimelineEvent::Tapped(_))) {
            self.timeline.pop();
        }
        self.note(at, TimelineEvent::Tapped(place), None);
    }
}
