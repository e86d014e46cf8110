//! What an app asks for when it wants a chat to be proved.

use super::{Event, VerificationId, subject::Chat, wire::wire_enum};

wire_enum! {
    /// Who may finish the login. Named so that the dangerous one sounds like what it is.
    Mode {
        /// Only the browser that started.
        SameBrowser = "same_browser",
        /// The person is signed in already and stated the number before.
        ProvePhone = "prove_phone",
        /// Wherever the link in the reply is opened.
        Anywhere = "anywhere",
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
    /// Once it has expired it is not made anew.
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

impl Callbacks {
    /// Where `event` goes when the request says so. A failed URL also gets the expiry when nothing else does.
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
    /// Erases what names the person.
    pub(super) fn erase(&mut self) {
        self.chat = None;
        self.texts = Texts::default();
        (self.client_ip, self.user_agent) = (None, None);
    }
}
