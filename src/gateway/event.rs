//! What webhooks tell, in one shape for all gateways.

use super::{Gateway, Receipt};
use crate::domain::{Phone, Sender, wire::wire_enum};

wire_enum! {
    /// Why an event can verify nothing.
    Ignored {
        /// We sent it ourselves.
        FromMe = "from_me",
        /// It was written in a group.
        Group = "group",
        /// It was written to many at once.
        Broadcast = "broadcast",
        /// It reports on a message of ours.
        Status = "status",
        /// It is no message.
        Event = "event",
        /// It holds no text.
        NonText = "non_text",
        /// It changes an earlier message.
        Edit = "edit",
        /// It came to another number than this instance's.
        AnotherNumber = "another_number",
        /// Ids of its sender contradict each other.
        SendersDiffer = "senders_differ",
        /// An SMS, whose sender can be forged.
        Sms = "sms",
        /// It has no id, no chat or no text.
        Incomplete = "incomplete",
    }
}

/// One thing a webhook tells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Event {
    /// `None`: a person's direct text message, which may hold a code.
    pub ignored: Option<Ignored>,
    /// As the gateway writes it; holds personal data.
    pub message_id: Option<String>,
    /// The part of the id that stays the same when one message comes under several ids.
    pub dedupe_key: Option<String>,
    /// What a reply is addressed to.
    pub chat_id: Option<String>,
    pub sender: Sender,
    /// The sender could be made up, and the operator believes it all the same.
    pub weak: bool,
    /// Our number, where the gateway names it.
    pub to: Option<Phone>,
    /// The vendor's own id of our number, where one webhook serves all numbers of an account.
    pub number_id: Option<String>,
    pub push_name: Option<String>,
    /// Verbatim.
    pub text: Option<String>,
    /// Unix seconds by the gateway.
    pub timestamp: Option<i64>,
    pub from_me: bool,
    pub group: bool,
    /// Of a status: what it says about a message of ours.
    pub receipt: Option<Receipt>,
}

impl Event {
    /// An event that carries nothing worth keeping.
    pub fn ignored(why: Ignored) -> Self {
        Self { ignored: Some(why), from_me: why == Ignored::FromMe, group: why == Ignored::Group, ..Self::default() }
    }

    /// Whether it came to this number, as far as it says so. The vendor's id decides where both sides have one: numbers
    /// are displayed in many ways.
    pub fn is_for(&self, gateway: &dyn Gateway, number: &Phone) -> bool {
        match (self.number_id.as_deref(), gateway.number_id()) {
            (Some(named), Some(ours)) => named == ours,
            _ => self.to.as_ref().is_none_or(|to| to == number),
        }
    }

    /// The stable id: what a repeated delivery has in common with the first.
    pub fn stable_id(&self) -> Option<&str> {
        self.dedupe_key.as_deref().or(self.message_id.as_deref())
    }
}
