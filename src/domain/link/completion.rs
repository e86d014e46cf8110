//! What became of a link after its chat was proved: who may go on, and what was handed out for it.

use jiff::{SignedDuration, Timestamp, fmt::serde::timestamp::millisecond::required as millis};
use serde::{Deserialize, Serialize};

use crate::domain::{ClaimId, Sender, Subject, binding::Told, keys::Digest, wire::wire_enum};

/// How long the link in the reply can be completed after the match.
pub const COMPLETION_WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// How long the app's server has to exchange a redeem token.
pub const REDEEM_WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// Wrong verifiers that spend the redeem tokens of one login.
pub const REDEEM_MISSES: u8 = 5;
/// Redeem tokens of one login that are out at once.
pub const REDEEM_TOKENS: usize = 3;

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
        /// The reply code, once it was shown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        told: Option<Told>,
        /// The person behind the link has agreed, and the page that waits may go on.
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

wire_enum! {
    /// How far a login had come when the person said "this wasn't me".
    Reached {
        /// No browser had gone on.
        Offered = "offered",
        /// A redeem token was out; it is revoked.
        Released = "released",
        /// The app had got the subject: it alone can end what it began.
        Redeemed = "redeemed",
        /// It had ended by itself.
        Lapsed = "lapsed",
    }
}

/// A redeem token that is out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Issued {
    pub digest: Digest,
    #[serde(with = "millis")]
    pub until: Timestamp,
}

/// What a redemption was asked for with, so that only its repeat gets the same answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Redemption {
    /// The redeem token; absent, it was the reply code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Digest>,
    /// The id that the caller's idempotency key stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimId>,
    /// When the token or the code would have ended.
    #[serde(with = "millis")]
    pub until: Timestamp,
}

impl Completion {
    /// The word for it in the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Offered { .. } => "offered",
            Self::Released { .. } => "released",
            Self::Redeemed { .. } => "redeemed",
            Self::Lapsed { .. } => "lapsed",
            Self::Disputed { .. } => "disputed",
        }
    }
}

/// The end of the redeem token that lives longest.
pub(super) fn last_end(tokens: &[Issued]) -> Timestamp {
    tokens.iter().map(|issued| issued.until).max().unwrap_or_default()
}
