//! The app's request to prove a chat.

use super::{Event, VerificationId, approval::Approval, oidc::Authorization, subject::Chat, wire::wire_enum};

wire_enum! {
    /// Which browser may finish the login. The least safe mode has the most explicit name.
    Mode {
        /// Only the browser that started the login.
        SameBrowser = "same_browser",
        /// For a person who is already signed in and has stated the number before.
        ProvePhone = "prove_phone",
        /// Any browser that opens the link in the reply.
        Anywhere = "anywhere",
    }
}

/// The app's request. It never changes, except that the parts that identify a person can be erased.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own in the API")]
pub struct Request {
    /// The application's name in messages.
    pub name: String,
    /// Tag of one of the built-in languages; empty if the app named none.
    pub lang: String,
    /// If set, only this chat can prove the request.
    pub chat: Option<Chat>,
    pub texts: Texts,
    pub callbacks: Callbacks,
    /// Literal replacement for the hosted link.
    pub link: Option<String>,
    pub redirect_url: Option<String>,
    /// Where the pages send a person who wants to sign in another way.
    pub other_way_url: Option<String>,
    /// Base64url SHA-256 of a verifier that the app keeps (RFC 7636 S256).
    pub challenge: Option<String>,
    pub completion: Option<Mode>,
    pub purpose: Option<String>,
    pub client_ref: Option<String>,
    /// JSON text, returned unchanged.
    pub metadata: Option<String>,
    /// Returned only in the redirect.
    pub state: Option<String>,
    pub client_ip: Option<String>,
    pub user_agent: Option<String>,
    /// The app shows a QR code itself: the reply contains a code to type into the app instead of a link.
    pub qr: bool,
    /// The request that this one renews.
    pub renews: Option<VerificationId>,
    /// How many renewals preceded this request.
    pub renewals: u8,
    /// The request cannot be renewed after it has expired.
    pub final_expiry: bool,
    /// Only the prefilled text counts; other texts that contain the code do not.
    pub exact: bool,
    /// The login belongs to a client of the OpenID provider. The browser that is bound at its creation stays bound.
    pub authorization: Option<Authorization>,
    /// The person is asked to approve or to reject something. The reply has no link, because the answer completes it.
    pub approval: Option<Approval>,
    /// For a test number: the code is the configured one, and nothing is sent.
    pub test: bool,
}

/// The texts of one request. Absent ones fall back to those of the instance in the same language, then to the built-in
/// ones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Texts {
    pub prompt: Option<String>,
    pub success: Option<String>,
    pub failed: Option<String>,
    pub expired: Option<String>,
    /// The message with a code that we send; only instances can override it.
    pub code: Option<String>,
}

impl Texts {
    /// These texts, with absent ones taken from `others`.
    #[must_use]
    pub fn or(self, others: &Self) -> Self {
        let pick = |own: Option<String>, other: &Option<String>| own.or_else(|| other.clone());
        Self {
            prompt: pick(self.prompt, &others.prompt),
            success: pick(self.success, &others.success),
            failed: pick(self.failed, &others.failed),
            expired: pick(self.expired, &others.expired),
            code: pick(self.code, &others.code),
        }
    }
}

/// The callback URLs of one request. Events without one go to the instance's callback URL.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Callbacks {
    pub success: Option<String>,
    pub failed: Option<String>,
    pub expired: Option<String>,
}

impl Callbacks {
    /// The request's URL for `event`, if it has one. Expiry falls back to the URL for failures.
    pub fn url(&self, event: Event) -> Option<&str> {
        match event {
            Event::LinkVerified => self.success.as_deref(),
            Event::LinkFailed => self.failed.as_deref(),
            Event::LinkExpired => self.expired.as_deref().or(self.failed.as_deref()),
            Event::LinkCanceled
            | Event::LinkRedeemed
            | Event::LinkDisputed
            | Event::CodeSent
            | Event::CodeDelivered
            | Event::CodeValidated
            | Event::CodeFailed
            | Event::CodeExpired
            | Event::CodeCanceled
            | Event::Test => None,
        }
    }
}

impl Request {
    /// Erases everything that identifies the person.
    pub(super) fn erase(&mut self) {
        self.chat = None;
        self.texts = Texts::default();
        (self.client_ip, self.user_agent) = (None, None);
        if let Some(approval) = &mut self.approval {
            approval.erase();
        }
    }
}
