//! Messages that gateways deliver: each is matched to a link and answered at most once.

mod apply_message;
mod message_origin;
mod receive;
mod reply;
mod shared_number;

use std::sync::Arc;

use super::{
    Environment, ReplicaHealth, Shared,
    deliveries::Deliveries,
    keys::KeyState,
    lid_resolver::LidResolver,
    limits::Limits,
    login_facts::LoginFacts,
    messages::MessageLog,
    verifications::{Outbox, Verifications},
};
use crate::{clock::Clock, domain::KeyRing, metrics::Metrics};

/// The handling of webhook events.
pub struct Inbound {
    keys: Arc<KeyRing>,
    key_state: Arc<KeyState>,
    metrics: Arc<Metrics>,
    clock: Clock,
    health: Arc<ReplicaHealth>,
    limits: Arc<Limits>,
    verifications: Arc<Verifications>,
    outbox: Arc<Outbox>,
    login_facts: Arc<LoginFacts>,
    deliveries: Arc<Deliveries>,
    lid_resolver: Arc<LidResolver>,
    message_log: Arc<MessageLog>,
}

impl Inbound {
    pub(super) fn new(env: &Environment, shared: &Shared) -> Self {
        Self {
            keys: Arc::clone(&env.keys),
            key_state: Arc::clone(&shared.key_state),
            metrics: Arc::clone(&env.metrics),
            clock: env.clock.clone(),
            health: Arc::clone(&env.health),
            limits: Arc::clone(&shared.limits),
            verifications: Arc::clone(&shared.verifications),
            outbox: Arc::clone(&shared.outbox),
            login_facts: Arc::clone(&shared.login_facts),
            deliveries: Arc::clone(&shared.deliveries),
            lid_resolver: Arc::clone(&shared.lid_resolver),
            message_log: Arc::clone(&shared.message_log),
        }
    }
}
