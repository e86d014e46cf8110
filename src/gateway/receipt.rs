//! What gateways tell of messages that we sent.

use super::{Event, Ignored, Refusal};

/// How far one of our messages has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// As the gateway named it when it took the message; see [`stable_id`].
    pub message_id: String,
    pub progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// WhatsApp, or the operator's network, has it.
    Accepted,
    /// The phone has it, read or not.
    Delivered,
    /// It will never arrive.
    Failed(Refusal),
}

impl Progress {
    /// The words of gateways, in any case. `None`: nothing has changed yet, or the word is not known.
    pub(super) fn of(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "sent" | "server" | "server_ack" | "submitted" => Self::Accepted,
            "delivered" | "device" | "delivery_ack" | "received" | "read" | "played" => Self::Delivered,
            "noaccount" => Self::Failed(Refusal::NotOnWhatsApp),
            "failed" | "error" | "undelivered" | "undeliverable" | "rejected" | "expired" | "sending_failed"
            | "delivery_failed" => Self::Failed(Refusal::Permanent),
            _ => return None,
        })
    }

    /// The reason that Meta gives, where a gateway passes its number on: WhatsApp Cloud API, error codes.
    pub(super) fn because(self, code: Option<i64>) -> Self {
        match (self, code) {
            (Self::Failed(_), Some(131_026)) => Self::Failed(Refusal::NotOnWhatsApp),
            (Self::Failed(_), Some(131_047)) => Self::Failed(Refusal::WindowClosed),
            _ => self,
        }
    }

    /// The scale of WhatsApp's own clients: -1 error, 0 on its way, 1 server, 2 device, 3 read, 4 played.
    pub(super) fn of_ack(ack: Option<i64>) -> Option<Self> {
        Some(match ack? {
            ..0 => Self::Failed(Refusal::Permanent),
            0 => return None,
            1 => Self::Accepted,
            _ => Self::Delivered,
        })
    }
}

impl Event {
    /// A status, with what it says about one message if that is known.
    pub(super) fn status(message_id: Option<&str>, progress: Option<Progress>) -> Self {
        let receipt = message_id.zip(progress);
        let receipt = receipt.map(|(id, progress)| Receipt { message_id: id.to_owned(), progress });
        Self { receipt, ..Self::ignored(Ignored::Status) }
    }

    /// One for each message, or one about none.
    pub(super) fn statuses<'a>(ids: impl Iterator<Item = &'a str>, progress: Option<Progress>) -> Vec<Self> {
        let events: Vec<Self> = ids.map(|id| Self::status(Some(id), progress)).collect();
        if events.is_empty() { vec![Self::status(None, None)] } else { events }
    }
}

/// What the several ids of one message have in common: of `true_<chat>_<HEX>`, in which the chat may be a phone or
/// a LID, the last part.
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
    fn what_says_nothing_new_is_nothing() {
        assert_eq!(Progress::of("PENDING"), None);
        assert_eq!(Progress::of_ack(Some(0)), None);
        assert_eq!(Progress::of("DELIVERY_ACK"), Some(Progress::Delivered));
        assert_eq!(Progress::of_ack(Some(-1)), Some(Progress::Failed(Refusal::Permanent)));
    }
}
