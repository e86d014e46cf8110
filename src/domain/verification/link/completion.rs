//! The state of a link after the match: who may proceed, and which redeem tokens were issued.

use jiff::{SignedDuration, Timestamp, fmt::serde::timestamp::millisecond::required as millis};
use serde::{Deserialize, Serialize};

use crate::domain::{ClaimId, Sender, Subject, binding::ReplyCodeState, digest::Digest, wire::wire_enum};

/// How long after the match the link in the reply can be completed.
pub const COMPLETION_WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// How long a redeem token is valid.
pub const REDEEM_WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// Number of wrong verifiers after which the redeem tokens of one login are revoked.
pub const MAX_WRONG_VERIFIERS: u8 = 5;
/// Maximum number of valid redeem tokens of one login.
pub const MAX_REDEEM_TOKENS: usize = 3;

/// Who proved the chat.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proof {
    pub subject: Subject,
    pub sender: Sender,
    pub push_name: Option<String>,
}

/// The state of the link in the reply. It can be used once; the states `Redeemed`, `Lapsed` and `Disputed` change only by
/// a dispute.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Completion {
    /// The link has not been used yet.
    Offered {
        #[serde(with = "millis")]
        until: Timestamp,
        /// State of the reply code, once it was shown.
        #[serde(rename = "told", default, skip_serializing_if = "Option::is_none")]
        reply_code: Option<ReplyCodeState>,
        /// The person behind the link agreed, so the waiting page may proceed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        agreed: bool,
    },
    /// Completed: redeem tokens are issued, and the first exchange invalidates the others.
    Released {
        /// Oldest first, at most [`MAX_REDEEM_TOKENS`].
        tokens: Vec<IssuedToken>,
        /// The browser that completed the link, if it was recognised. Only this browser may repeat the completion.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Digest>,
        #[serde(rename = "misses")]
        wrong_verifiers: u8,
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
        after: LoginProgress,
    },
    /// The reply has no link, because the message itself was the answer to a request for an approval.
    NotOffered,
}

wire_enum! {
    /// The state of the login when the person selected "this wasn't me".
    LoginProgress {
        /// No browser had completed the login.
        Offered = "offered",
        /// A redeem token was issued; it is revoked.
        Released = "released",
        /// The app had received the subject; only the app can end the session that it started.
        Redeemed = "redeemed",
        /// The login had lapsed without being redeemed.
        Lapsed = "lapsed",
    }
}

/// A redeem token that was issued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IssuedToken {
    pub digest: Digest,
    #[serde(with = "millis")]
    pub until: Timestamp,
}

/// The request that redeemed a token. Only a repeat of it gets the same answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Redemption {
    /// The redeem token; `None` if the reply code was redeemed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Digest>,
    /// The id that the caller's idempotency key maps to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimId>,
    /// When the token or the code would have expired. Repeats are answered until then.
    #[serde(with = "millis")]
    pub until: Timestamp,
    /// The token was presented again by a client of the OpenID provider, so what it gave is no longer valid.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

impl Completion {
    /// The name of the state in the API; `None` if there is no link.
    pub const fn as_str(&self) -> Option<&'static str> {
        match self {
            Self::Offered { .. } => Some("offered"),
            Self::Released { .. } => Some("released"),
            Self::Redeemed { .. } => Some("redeemed"),
            Self::Lapsed { .. } => Some("lapsed"),
            Self::Disputed { .. } => Some("disputed"),
            Self::NotOffered => None,
        }
    }
}

/// The expiry of the token that is valid the longest.
pub(super) fn latest_expiry(tokens: &[IssuedToken]) -> Timestamp {
    tokens.iter().map(|issued| issued.until).max().unwrap_or_default()
}
