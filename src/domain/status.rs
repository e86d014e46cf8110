//! Which type a verification is of, and where it stands.

use super::wire::wire_enum;

wire_enum! {
    /// What proves the chat.
    OtpType {
        /// The person sends a code that a link has typed in.
        Link = "link",
        /// The person types a code that was sent to the chat.
        Code = "code",
    }
}

wire_enum! {
    /// Where a verification stands, as its readers see it: one that is past its time is expired, whether or not that was
    /// written down yet.
    Status {
        /// Nothing has come yet; a code is on its way.
        Pending = "pending",
        /// A gateway has taken the code.
        Sent = "sent",
        /// A chat has sent the code of the link.
        Verified = "verified",
        /// The app has presented the code that was sent.
        Validated = "validated",
        /// It cannot succeed any more; the reason says why.
        Failed = "failed",
        /// The time ran out.
        Expired = "expired",
        /// The app, or another code for the same chat, has ended it.
        Canceled = "canceled",
    }
}

impl Status {
    /// Whether it can still succeed.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Sent)
    }
}
