//! What a callback can tell the app.

use super::{OtpType, wire::wire_enum};

wire_enum! {
    /// The `type` of a callback. Each occurs at most once per verification, `code.sent` and `code.delivered` once
    /// per send.
    Event {
        /// A chat sent the code. It says nothing about whose browser is waiting.
        LinkVerified = "link.verified",
        /// The verification ended as failed; wrong senders before that are only in the timeline.
        LinkFailed = "link.failed",
        /// The time ran out; told on time, not when somebody looks.
        LinkExpired = "link.expired",
        /// The app canceled it.
        LinkCanceled = "link.canceled",
        /// The app's server exchanged the redeem token.
        LinkRedeemed = "link.redeemed",
        /// The person said "this wasn't me"; a redeem token is revoked. After `redeemed` only the app can end what it began.
        LinkDisputed = "link.disputed",
        /// A gateway has taken the message with the code.
        CodeSent = "code.sent",
        /// The person's phone has it.
        CodeDelivered = "code.delivered",
        /// The app presented the code that was sent.
        CodeValidated = "code.validated",
        /// Too many wrong tries, or no channel could deliver it.
        CodeFailed = "code.failed",
        /// The time ran out; told on time, not when somebody looks.
        CodeExpired = "code.expired",
        /// By the app, or because another code was asked for.
        CodeCanceled = "code.canceled",
        /// Sent by hand to try a receiver; belongs to no verification.
        Test = "callback.test",
    }
}

impl Event {
    /// The type of verification that it is about; `None` where it is about none.
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
