//! What gateways deliver: messages, which are matched to links, and receipts of messages that were sent.

mod lid_resolver;
mod malformed;
mod message_log;
mod outcome;
mod receipt;
mod receive;
mod shared_number;

pub use self::{
    lid_resolver::LidResolver,
    message_log::MessageLog,
    outcome::{Outcome, Unmatched},
    receipt::SentMessage,
};
pub(super) use self::{
    malformed::{MalformedWebhook, malformed_stream},
    message_log::{LoggedMessage, message_stream},
};
