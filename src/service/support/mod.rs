//! What operators and support staff do with existing verifications: explain, replay callbacks, erase.

pub mod callback_log;
mod erase;
pub mod explain;

use std::sync::Arc;

pub use self::callback_log::CallbackLog;
use super::{
    Environment, Shared,
    lid_resolver::LidResolver,
    messages::{MalformedWebhooks, MessageLog},
    receiver_responses::ReceiverResponses,
    verifications::{Outbox, Verifications},
};
use crate::domain::KeyRing;

/// Explanations, and the erasure of a person's data.
pub struct Support {
    keys: Arc<KeyRing>,
    verifications: Arc<Verifications>,
    outbox: Arc<Outbox>,
    lid_resolver: Arc<LidResolver>,
    message_log: Arc<MessageLog>,
    malformed: Arc<MalformedWebhooks>,
    responses: Arc<ReceiverResponses>,
    callbacks: Arc<CallbackLog>,
}

impl Support {
    pub(super) fn new(env: &Environment, shared: &Shared, callbacks: Arc<CallbackLog>) -> Self {
        Self {
            keys: Arc::clone(&env.keys),
            verifications: Arc::clone(&shared.verifications),
            outbox: Arc::clone(&shared.outbox),
            lid_resolver: Arc::clone(&shared.lid_resolver),
            message_log: Arc::clone(&shared.message_log),
            malformed: Arc::clone(&shared.malformed),
            responses: Arc::clone(&shared.responses),
            callbacks,
        }
    }
}
