//! The cycle that every use case shares: load a record, let the domain decide, commit the result with its jobs.

pub mod callback;
mod commit;
mod creation;
mod draft;
mod indexes;
mod loaded;
mod outbox;
mod requests;
mod timers;
mod watch;

use std::sync::Arc;

pub(super) use self::{
    callback::envelope,
    commit::{CommandOutcome, WriteOutcome},
    creation::Admissions,
    draft::VerificationDraft,
    loaded::{Loaded, LoadedTyped},
    outbox::{InboundMessage, Outbox, callback_url},
    requests::{created_at, has_phone_ending},
};
pub use self::{
    creation::Idempotency,
    requests::{Filter, MAX_RECORDS_READ, Page, decode_cursor},
    timers::TimerOutcome,
    watch::VerificationWatch,
};
use super::{Environment, Instance, Instances, ReplicaHealth, RequestContext, funnel::FunnelCounts, keys::KeyState};
use crate::{
    domain::{KeyRing, Verification},
    store::{Store, StoreError, StoredRecord, record},
};

/// Maximum attempts at a decision when concurrent changes conflict with it.
pub(super) const MAX_COMMIT_ATTEMPTS: usize = 8;

/// The verifications of all instances.
pub struct Verifications {
    /// For background work and watches; a request reads and writes through its context.
    store: Arc<dyn Store>,
    keys: Arc<KeyRing>,
    key_state: Arc<KeyState>,
    instances: Arc<Instances>,
    health: Arc<ReplicaHealth>,
    funnel: Arc<FunnelCounts>,
    outbox: Arc<Outbox>,
}

impl Verifications {
    pub(super) fn new(
        env: &Environment,
        key_state: Arc<KeyState>,
        funnel: Arc<FunnelCounts>,
        outbox: Arc<Outbox>,
    ) -> Self {
        Self {
            store: Arc::clone(&env.store),
            keys: Arc::clone(&env.keys),
            key_state,
            instances: Arc::clone(&env.instances),
            health: Arc::clone(&env.health),
            funnel,
            outbox,
        }
    }

    fn decode(&self, stored: &StoredRecord) -> Result<Verification, StoreError> {
        record::decode(&self.keys, stored)
    }

    /// The decoded record. A record that this process cannot read is counted, reported and left out of the answer.
    pub(super) fn decode_or_report(&self, instance: &Instance, stored: &StoredRecord) -> Option<Verification> {
        self.decode(stored).map_err(|error| self.health.report_unreadable(instance, "record", &error)).ok()
    }

    /// As [`Self::decode`]. If this process lacks a key, the error is [`StoreError::Unavailable`]: the record may be
    /// readable later, or by another replica.
    pub(super) async fn read(&self, cx: &RequestContext, stored: &StoredRecord) -> Result<Verification, StoreError> {
        match self.decode(stored) {
            Ok(record) => Ok(record),
            Err(error) => {
                self.key_state.check_complete(cx).await?;
                Err(error)
            }
        }
    }

    /// Like [`Self::decode_or_report`], for callers that draw conclusions from a missing record. Only a record sealed with
    /// a removed key yields `None`. It is an error if other replicas use a key that this process lacks, as is any other
    /// failure.
    pub(super) async fn read_unless_sealed(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        stored: &StoredRecord,
    ) -> Result<Option<Verification>, StoreError> {
        match self.read(cx, stored).await {
            Err(error @ StoreError::Sealed(_)) => {
                self.health.report_unreadable(instance, "record", &error);
                Ok(None)
            }
            read => read.map(Some),
        }
    }
}
