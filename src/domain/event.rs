//! The types of callbacks.

use super::{OtpType, wire::wire_enum};

wire_enum! {
    /// The `type` of a callback. Each event occurs at most once per verification, except `code.sent` and
    /// `code.delivered`, which occur at most once per send.
    Event {
        /// A chat sent the code. This does not identify the browser that is waiting.
        LinkVerified = "link.verified",
        /// The verification failed. Earlier messages from wrong senders appear only in the timeline.
        LinkFailed = "link.failed",
        /// The verification expired. Sent when the time is over, even if the verification is never read.
        LinkExpired = "link.expired",
        /// The app canceled the verification.
        LinkCanceled = "link.canceled",
        /// The app's server exchanged the redeem token.
        LinkRedeemed = "link.redeemed",
        /// The person selected "this wasn't me"; an open redeem token is revoked. After `link.redeemed`, only the app
        /// can end the session that it started.
        LinkDisputed = "link.disputed",
        /// A gateway accepted the message with the code.
        CodeSent = "code.sent",
        /// The message reached the person's phone.
        CodeDelivered = "code.delivered",
        /// The app submitted the correct code.
        CodeValidated = "code.validated",
        /// Too many wrong codes were submitted, or no channel could deliver the code.
        CodeFailed = "code.failed",
        /// The code expired. Sent when the time is over, even if the verification is never read.
        CodeExpired = "code.expired",
        /// The app canceled the code, or requested a new one for the same chat.
        CodeCanceled = "code.canceled",
        /// A test callback, sent on request to check a receiver. It belongs to no verification.
        Test = "callback.test",
    }
}

impl Event {
    /// The type of verification that the event belongs to; `None` for a test callback.
    pub const fn otp_type(self) -> Option<OtpType> {
        match self {
            Self::LinkVerified
            | Self::LinkFailed
            | Self::LinkExpired
            | Self::LinkCanceled
            | Self::LinkRedeemed
            | Self::LinkDisputed => Some(OtpType::Link),
            Self::CodeSent
            | Self::CodeDelivered
            | Self::CodeValidated
            | Self::CodeFailed
            | Self::CodeExpired
            | Self::CodeCanceled => Some(OtpType::Code),
            Self::Test => None,
        }
    }
}
