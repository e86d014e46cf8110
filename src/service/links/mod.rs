//! Links: a request is read, checked, admitted and committed. A request for an approval also sends its message.

pub mod approval_request;
mod create_link;
pub mod link_request;

use std::sync::Arc;

pub use self::link_request::LinkRequest;
use super::{
    Environment, Shared,
    funnel::FunnelCounts,
    limits::Limits,
    verifications::{Admissions, Outbox, Verifications},
};
use crate::{domain::KeyRing, metrics::Metrics};

/// The creation of links.
pub struct Links {
    keys: Arc<KeyRing>,
    metrics: Arc<Metrics>,
    limits: Arc<Limits>,
    admissions: Arc<Admissions>,
    verifications: Arc<Verifications>,
    outbox: Arc<Outbox>,
    funnel: Arc<FunnelCounts>,
}

impl Links {
    pub(super) fn new(env: &Environment, shared: &Shared) -> Self {
        Self {
            keys: Arc::clone(&env.keys),
            metrics: Arc::clone(&env.metrics),
            limits: Arc::clone(&shared.limits),
            admissions: Arc::clone(&shared.admissions),
            verifications: Arc::clone(&shared.verifications),
            outbox: Arc::clone(&shared.outbox),
            funnel: Arc::clone(&shared.funnel),
        }
    }
}
