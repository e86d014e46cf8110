//! The results of requests to a gateway: of sending a message, and of looking up a LID.

use http::StatusCode;

use crate::domain::{DeliveryFailure, Phone};

/// The result of a request that sends a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SendResult {
    /// The gateway accepted the message, under this id if the response has one.
    Accepted { id: Option<String> },
    /// The message was not sent, for a temporary reason: a retry cannot duplicate it.
    Retryable { reason: DeliveryFailure },
    /// The message may have been sent: a retry may duplicate it.
    Unknown { reason: DeliveryFailure },
    /// The message was not sent, and a retry will not succeed.
    Refused(Refusal),
}

/// The result of looking up the phone number of a LID.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LidLookup {
    Resolved(Phone),
    /// The gateway cannot resolve this LID, now or later.
    NotResolvable,
    /// The gateway has not received the number from WhatsApp yet; a later lookup may succeed.
    Pending,
    /// The lookup failed.
    Failed,
}

/// Why a message cannot be sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// The recipient has no WhatsApp account, or blocked this number.
    NotOnWhatsApp,
    /// WhatsApp accepts no free text to this chat now: the recipient's last message is too old, or WhatsApp has
    /// restricted this number from starting chats. Such restrictions last hours, and retries within minutes prolong them.
    WindowClosed,
    /// The gateway rejected the credentials, or this number is logged out or banned.
    Unauthorized,
    /// The account's quota of messages is used up, for a day or a month.
    Quota,
    /// Any other permanent failure.
    Permanent,
}

impl Refusal {
    /// The label value in metrics, logs and stored records.
    pub fn as_str(self) -> &'static str {
        DeliveryFailure::from(self).as_str()
    }
}

impl From<Refusal> for DeliveryFailure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotOnWhatsApp => Self::NotOnWhatsApp,
            Refusal::WindowClosed => Self::WindowClosed,
            Refusal::Unauthorized => Self::Unauthorized,
            Refusal::Quota => Self::Quota,
            Refusal::Permanent => Self::Permanent,
        }
    }
}

/// The meaning of an HTTP status where the response body is not more specific.
pub(super) fn send_result_by_status(status: StatusCode) -> SendResult {
    match status.as_u16() {
        200..=299 => SendResult::Accepted { id: None },
        401 | 403 => SendResult::Refused(Refusal::Unauthorized),
        408 | 425 | 429 => SendResult::Retryable { reason: DeliveryFailure::RateLimited },
        // A proxy forwarded the request and got no response: 520 and 524 are Cloudflare's.
        504 | 520 | 524 => SendResult::Unknown { reason: DeliveryFailure::GatewayTimeout },
        500..=599 => SendResult::Retryable { reason: DeliveryFailure::GatewayError },
        _ => SendResult::Refused(Refusal::Permanent),
    }
}
