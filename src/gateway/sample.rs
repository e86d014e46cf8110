//! Sample messages, from which `doctor` composes webhooks.

/// Who a sample message is from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SampleSender {
    /// A person in a direct chat, identified by phone number.
    Person,
    /// A person in a group.
    Group,
    /// This instance's own number.
    OwnNumber,
    /// A person in a direct chat, identified by a LID or BSUID instead of a phone number.
    HiddenNumber,
}

/// A text message to compose a webhook from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SampleMessage {
    pub sender: SampleSender,
    /// The message id: upper-case hex digits.
    pub id: String,
    pub text: String,
    /// Unix seconds.
    pub timestamp: i64,
    /// The sender's phone number, digits only.
    pub phone: String,
    /// The receiving number, digits only.
    pub to: String,
    /// The sender's LID, digits only.
    pub lid: String,
}
