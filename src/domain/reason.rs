//! The closed list of reasons, shared by callbacks, timelines, logs and metric labels.

use super::wire::wire_enum;

wire_enum! {
    /// Why a verification, a message or a request did not succeed.
    Reason {
        /// No verification has this code.
        CodeUnknown = "code_unknown",
        /// The code was correct but arrived after it had expired.
        CodeExpired = "code_expired",
        /// The chat has an active code, but the message holds a different one.
        CodeWrong = "code_wrong",
        /// The verification had already failed when this message arrived.
        CodeNotActive = "code_not_active",
        /// The code has already been used to verify a chat.
        CodeUsed = "code_used",
        /// The app canceled the request.
        CodeCanceled = "code_canceled",
        /// The code belongs to a different chat.
        SenderMismatch = "sender_mismatch",
        /// The text around the code differs from the prefilled text.
        TextChanged = "text_changed",
        /// The person chose the answer that rejects the request.
        Rejected = "rejected",
        /// The gateway reported no phone number, but the verification requires one.
        SenderUnidentified = "sender_unidentified",
        /// The message is not a plain text in a direct chat.
        NotDirectText = "not_direct_text",
        /// One message contained several active codes; none of them counts.
        SeveralCodes = "several_codes",
        /// A rate limit was exceeded.
        RateLimited = "rate_limited",
        /// The maximum number of wrong attempts was reached.
        AttemptsExhausted = "attempts_exhausted",
        /// A hundred wrong codes in a row locked the chat; proving the chat through a link unlocks it.
        CodeLocked = "code_locked",
        /// The browser is not the one that started the login.
        WrongBrowser = "wrong_browser",
        /// The app did not exchange the redeem token in time.
        RedeemExpired = "redeem_expired",
        /// The gateway permanently refused the message.
        ReplyUndeliverable = "reply_undeliverable",
        /// A webhook could not be authenticated.
        WebhookUnauthenticated = "webhook_unauthenticated",
        /// According to the gateway's timestamp, the message is older than any code could be, or lies in the future.
        MessageTooOld = "message_too_old",
        /// The instance was removed from the configuration while work was pending.
        InstanceRemoved = "instance_removed",
    }
}
