//! Delivery receipts of messages that were sent.

use super::{
    IgnoreReason, Refusal, WebhookEvent,
    answers::{Answer, refusal_of},
};

/// The delivery status of one sent message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeliveryReceipt {
    /// The id from the response to the send request; compare by [`stable_id`].
    pub message_id: String,
    pub status: ReceiptStatus,
}

/// How far a sent message has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReceiptStatus {
    /// WhatsApp, or the mobile network, accepted it.
    Accepted,
    /// The recipient's phone received it, read or not.
    Delivered,
    /// It will not be delivered.
    Failed(Refusal),
}

impl ReceiptStatus {
    /// From the status words of all gateways, case-insensitive. `None`: still pending, or an unknown word.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "sent" | "server" | "server_ack" | "submitted" => Self::Accepted,
            "delivered" | "device" | "delivery_ack" | "received" | "read" | "played" => Self::Delivered,
            "noaccount" => Self::Failed(Refusal::NotOnWhatsApp),
            // Green-API: WhatsApp has restricted this number, so that the message waits for up to a day; and the chat's
            // window has closed. green-api.com/en/docs/api/receiving/notifications-format/outgoing-message.
            "yellowcard" | "noactivesession" => Self::Failed(Refusal::WindowClosed),
            "failed" | "error" | "undelivered" | "undeliverable" | "rejected" | "expired" | "sending_failed"
            | "delivery_failed" => Self::Failed(Refusal::Permanent),
            _ => return None,
        })
    }

    /// Refines a failure by the gateway's error code, which the table of its answers explains, too.
    pub(super) fn with_code(self, table: &[Answer], code: Option<&str>) -> Self {
        let refusal = code.and_then(|code| refusal_of(table, code));
        refusal.filter(|_| matches!(self, Self::Failed(_))).map_or(self, Self::Failed)
    }

    /// From the ack levels of WhatsApp's clients: -1 error, 0 pending, 1 server, 2 device, 3 read, 4 played.
    pub(super) fn from_ack(ack: Option<i64>) -> Option<Self> {
        Some(match ack? {
            ..0 => Self::Failed(Refusal::Permanent),
            0 => return None,
            1 => Self::Accepted,
            _ => Self::Delivered,
        })
    }
}

impl WebhookEvent {
    /// A status event, with a receipt if both the message and its status are known.
    pub(super) fn status(message_id: Option<&str>, progress: Option<ReceiptStatus>) -> Self {
        let receipt = message_id.zip(progress);
        let receipt = receipt.map(|(id, progress)| DeliveryReceipt { message_id: id.to_owned(), status: progress });
        Self { receipt, ..Self::ignored(IgnoreReason::Status) }
    }

    /// One status event for each message; without ids, one event without a receipt.
    pub(super) fn statuses<'a>(ids: impl Iterator<Item = &'a str>, progress: Option<ReceiptStatus>) -> Vec<Self> {
        let events: Vec<Self> = ids.map(|id| Self::status(Some(id), progress)).collect();
        if events.is_empty() { vec![Self::status(None, None)] } else { events }
    }
}

/// The part that all ids of one message have in common: the last of `true_<chat>_<HEX>`, where the chat may be a phone
/// or a LID.
pub fn stable_id(id: &str) -> &str {
    let ours = id.strip_prefix("true_").or_else(|| id.strip_prefix("false_"));
    ours.and_then(|rest| rest.split('_').nth(1)).filter(|hex| !hex.is_empty()).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_has_one_stable_id() {
        for id in ["true_447700900123@c.us_3EB0A1", "true_190000000000117@lid_3EB0A1", "3EB0A1"] {
            assert_eq!(stable_id(id), "3EB0A1");
        }
        for whole in ["wamid.HBgM_x_y", "true_", "true_a_", "SM18365e32"] {
            assert_eq!(stable_id(whole), whole);
        }
    }

    #[test]
    fn pending_statuses_are_not_receipts() {
        assert_eq!(ReceiptStatus::from_word("PENDING"), None);
        assert_eq!(ReceiptStatus::from_ack(Some(0)), None);
        assert_eq!(ReceiptStatus::from_word("DELIVERY_ACK"), Some(ReceiptStatus::Delivered));
        assert_eq!(ReceiptStatus::from_ack(Some(-1)), Some(ReceiptStatus::Failed(Refusal::Permanent)));
    }
}
