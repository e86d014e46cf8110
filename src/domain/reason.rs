//! The closed list of reasons, used alike in callbacks, timeline, logs and metric labels.

use super::wire::wire_enum;

wire_enum! {
    /// Why something did not succeed.
    Reason {
        /// No verification has this code.
        CodeUnknown = "code_unknown",
        /// The code was right and came too late.
        CodeExpired = "code_expired",
        /// The chat has an active code, and this is another.
        CodeWrong = "code_wrong",
        /// The verification ended as failed before this message.
        CodeNotActive = "code_not_active",
        /// Somebody has proved this code already.
        CodeUsed = "code_used",
        /// The app canceled the request.
        CodeCanceled = "code_canceled",
        /// The code belongs to another chat.
        SenderMismatch = "sender_mismatch",
        /// The text around the code is not the one that was to be sent.
        TextChanged = "text_changed",
        /// The gateway told no phone number, and the verification asks for one.
        SenderUnidentified = "sender_unidentified",
        /// The message is no plain text of a direct chat.
        NotDirectText = "not_direct_text",
        /// One message held several live codes; none counts.
        SeveralCodes = "several_codes",
        /// Too many in too short a time.
        RateLimited = "rate_limited",
        /// As many wrong attempts as were allowed.
        AttemptsExhausted = "attempts_exhausted",
        /// A hundred codes in a row were wrong: the chat is locked, unless it proves itself by a link.
        CodeLocked = "code_locked",
        /// The browser is another than the one that started.
        WrongBrowser = "wrong_browser",
        /// The app did not exchange the redirect's token in time.
        RedeemExpired = "redeem_expired",
        /// The gateway refused the message for good.
        ReplyUndeliverable = "reply_undeliverable",
        /// A webhook did not prove where it came from.
        WebhookUnauthenticated = "webhook_unauthenticated",
        /// By the gateway's own time the message is older than any code could be, or lies in the future.
        MessageTooOld = "message_too_old",
        /// The instance left the configuration while work was waiting.
        InstanceRemoved = "instance_removed",
    }
}
