//! What webhooks tell, in one shape for all gateways.

use super::Receipt;
use crate::domain::Sender;

/// Why an event can verify nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ignored {
    FromMe,
    Group,
    Broadcast,
    Status,
    Event,
    NonText,
    Edit,
}

impl Ignored {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FromMe => "from_me",
            Self::Group => "group",
            Self::Broadcast => "broadcast",
            Self::Status => "status",
            Self::Event => "event",
            Self::NonText => "non_text",
            Self::Edit => "edit",
        }
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

    /// The stable id: what a repeated delivery has in common with the first.
    pub fn stable_id(&self) -> Option<&str> {
        self.dedupe_key.as_deref().or(self.message_id.as_deref())
    }
}
