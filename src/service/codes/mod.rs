//! Codes sent to a chat: requested, resent, reported, and validated against the chat's count of wrong attempts.

mod chat_state;
pub mod code_request;
mod sending;
mod validate;

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Environment, Instances, ReplicaHealth, Shared,
    funnel::FunnelCounts,
    keys::KeyState,
    limits::Limits,
    verifications::{Admissions, Outbox, Verifications},
};
use crate::{
    domain::{KeyRing, Verification, otp::OtpCode, sent_code::SentCode},
    metrics::Metrics,
};

/// The use cases of codes.
pub struct Codes {
    keys: Arc<KeyRing>,
    key_state: Arc<KeyState>,
    instances: Arc<Instances>,
    metrics: Arc<Metrics>,
    health: Arc<ReplicaHealth>,
    limits: Arc<Limits>,
    admissions: Arc<Admissions>,
    verifications: Arc<Verifications>,
    outbox: Arc<Outbox>,
    funnel: Arc<FunnelCounts>,
}

impl Codes {
    pub(super) fn new(env: &Environment, shared: &Shared) -> Self {
        Self {
            keys: Arc::clone(&env.keys),
            key_state: Arc::clone(&shared.key_state),
            instances: Arc::clone(&env.instances),
            metrics: Arc::clone(&env.metrics),
            health: Arc::clone(&env.health),
            limits: Arc::clone(&shared.limits),
            admissions: Arc::clone(&shared.admissions),
            verifications: Arc::clone(&shared.verifications),
            outbox: Arc::clone(&shared.outbox),
            funnel: Arc::clone(&shared.funnel),
        }
    }

    /// The code that is sent to the chat; `None` if the key that derived it was removed. For a test number it is the
    /// configured one, or `None` after its end.
    pub fn otp_code(&self, code: &Verification<SentCode>, now: Timestamp) -> Option<OtpCode> {
        if code.request.test {
            let instance = self.instances.get(code.instance)?;
            let number = instance.config.codes.test_number(code.request.chat.as_ref()?.subject())?;
            return (now < number.until).then(|| number.code.clone());
        }
        self.keys.otp_code(code.key, code.instance, code.id, &code.nonce, code.details.delivery.format)
    }
}
