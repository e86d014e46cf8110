//! Codes sent to a chat: requested, resent, reported, and validated against the chat's count of wrong attempts.

mod chat_state;
pub mod code_request;
mod sending;
mod validate;

use std::sync::Arc;

use super::{
    Environment, Instances, ReplicaHealth, Shared,
    funnel::FunnelCounts,
    keys::KeyState,
    limits::Limits,
    verifications::{Admissions, Outbox, Verifications},
};
use crate::{domain::KeyRing, metrics::Metrics};

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
}
