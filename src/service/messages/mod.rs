//! What is kept for a day about the messages that gateways delivered, to explain what each of them led to.

mod malformed;
mod message_log;
mod outcome;

pub use self::outcome::{Outcome, Unmatched};
pub(super) use self::{
    malformed::{MalformedWebhook, MalformedWebhooks, malformed_stream},
    message_log::{LoggedMessage, MessageLog, message_stream},
    outcome::ReceiveResult,
};
