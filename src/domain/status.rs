//! The type and the status of a verification.

use super::wire::wire_enum;

wire_enum! {
    /// How the chat is proved.
    OtpType {
        /// The person sends a message with a code, which a link has prefilled.
        Link = "link",
        /// The person types a code that was sent to the chat.
        Code = "code",
    }
}

wire_enum! {
    /// The status of a verification as readers see it: an open one past its expiry is expired, whether or not the store
    /// says so yet.
    Status {
        /// The link's code has not arrived yet, or the gateway has not accepted the message with the code yet.
        Pending = "pending",
        /// A gateway has accepted the message with the code.
        Sent = "sent",
        /// A chat has sent the link's code.
        Verified = "verified",
        /// The app has presented the correct code.
        Validated = "validated",
        /// It can no longer succeed; the reason says why.
        Failed = "failed",
        /// It was not proved before its expiry.
        Expired = "expired",
        /// The app canceled it, or another code for the same chat replaced it.
        Canceled = "canceled",
    }
}

impl Status {
    /// Whether it can still succeed.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Sent)
    }
}
