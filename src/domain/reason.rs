//! The closed list of reasons, used alike in callbacks, timeline, logs and metric labels.

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why something did not succeed.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    /// No verification has this code.
    CodeUnknown = "code_unknown",
    /// The code was right and came too late.
    CodeExpired = "code_expired",
    CodeWrong = "code_wrong",
    /// The verification ended as failed before this message.
    CodeNotActive = "code_not_active",
    /// Somebody has proved this code already.
    CodeUsed = "code_used",
    CodeCanceled = "code_canceled",
    /// The code belongs to another chat.
    SenderMismatch = "sender_mismatch",
    /// The gateway told no phone number, and the verification asks for one.
    SenderUnidentified = "sender_unidentified",
    NotDirectText = "not_direct_text",
    /// One message held several live codes; none counts.
    SeveralCodes = "several_codes",
    RateLimited = "rate_limited",
    AttemptsExhausted = "attempts_exhausted",
    WrongBrowser = "wrong_browser",
    RedeemExpired = "redeem_expired",
    ReplyUndeliverable = "reply_undeliverable",
    WebhookUnauthenticated = "webhook_unauthenticated",
    /// By the gateway's own time the message is older than any code could be, or lies in the future.
    MessageTooOld = "message_too_old",
    InstanceRemoved = "instance_removed",
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_the_serialized_name() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{reason}\""));
        }
    }
}
