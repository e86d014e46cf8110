//! Webhook events, in one form for all gateways.

use super::{DeliveryReceipt, Gateway, Malformed};
use crate::domain::{Phone, Sender, wire::wire_enum};

wire_enum! {
    /// Why an event cannot verify anything.
    IgnoreReason {
        /// Sent from this instance's own number.
        FromMe = "from_me",
        /// Written in a group.
        Group = "group",
        /// A broadcast list, a channel or a status update.
        Broadcast = "broadcast",
        /// A delivery status of a message that was sent.
        Status = "status",
        /// Not a message.
        Event = "event",
        /// A message without text.
        NonText = "non_text",
        /// A change or deletion of an earlier message.
        Edit = "edit",
        /// Received by another number than this instance's.
        AnotherNumber = "another_number",
        /// The ids of its sender contradict each other.
        SendersDiffer = "senders_differ",
        /// An SMS, whose sender can be forged.
        Sms = "sms",
        /// It has no id, no chat or no text.
        Incomplete = "incomplete",
        /// It does not have the documented structure.
        Malformed = "malformed",
    }
}

/// One event of a webhook.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property that gateways report by itself")]
pub struct WebhookEvent {
    /// `None`: a direct text message from a person, which may contain a code.
    pub ignored: Option<IgnoreReason>,
    /// As the gateway writes it; may contain a phone number.
    pub message_id: Option<String>,
    /// The part of the id that is equal in all ids of one message.
    pub dedupe_key: Option<String>,
    /// The chat to reply to.
    pub chat_id: Option<String>,
    pub sender: Sender,
    /// The sender can be forged, and the configuration accepts it nevertheless.
    pub forgeable: bool,
    /// The receiving number, if the gateway names it.
    pub to: Option<Phone>,
    /// The vendor's id of the receiving number, if one webhook serves all numbers of an account.
    pub number_id: Option<String>,
    /// The profile name that the sender chose.
    pub push_name: Option<String>,
    /// Verbatim.
    pub text: Option<String>,
    /// The sender answered [`Gateway::contact_request`] with their own number, which is part of `sender`.
    pub shared_number: bool,
    /// Unix seconds, from the gateway's clock.
    pub timestamp: Option<i64>,
    pub from_me: bool,
    pub group: bool,
    /// The delivery receipt, if this is a status.
    pub receipt: Option<DeliveryReceipt>,
    /// What is wrong with a malformed event.
    pub fault: Option<String>,
}

impl WebhookEvent {
    /// An event of which only the reason is kept.
    pub fn ignored(why: IgnoreReason) -> Self {
        Self {
            ignored: Some(why),
            from_me: why == IgnoreReason::FromMe,
            group: why == IgnoreReason::Group,
            ..Self::default()
        }
    }

    /// A part of a webhook that does not have the documented structure; the other parts count.
    pub fn malformed(why: &Malformed) -> Self {
        Self { fault: Some(why.0.clone()), ..Self::ignored(IgnoreReason::Malformed) }
    }

    /// Whether this number received the event; `true` if the event does not name a recipient. The vendor's ids decide
    /// if both sides have one, because gateways write numbers in different ways.
    pub fn is_for(&self, gateway: &dyn Gateway, number: &Phone) -> bool {
        match (self.number_id.as_deref(), gateway.number_id()) {
            (Some(named), Some(ours)) => named == ours,
            _ => self.to.as_ref().is_none_or(|to| to == number),
        }
    }

    /// The id that repeated deliveries of one message have in common.
    pub fn stable_id(&self) -> Option<&str> {
        self.dedupe_key.as_deref().or(self.message_id.as_deref())
    }
}
