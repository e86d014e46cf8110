//! Monitoring for operators: the state of this process, the other replicas and the store. It reads, measures and
//! reports, but makes no decisions about verifications.

mod gather;
pub mod posture;
mod replicas;
pub mod status;
pub mod store_watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::replicas::HEARTBEAT_INTERVAL;
use self::store_watch::StoreWatch;
use crate::{
    clock::Clock,
    metrics::Metrics,
    service::{Instances, ReplicaHealth, Services},
    store::Store,
};

/// Monitors one process and its store.
pub struct Ops {
    store: Arc<dyn Store>,
    instances: Arc<Instances>,
    metrics: Arc<Metrics>,
    clock: Clock,
    health: Arc<ReplicaHealth>,
    services: Arc<Services>,
    store_watch: Mutex<StoreWatch>,
}

impl Ops {
    pub fn new(services: &Arc<Services>) -> Self {
        Self {
            store: Arc::clone(&services.env.store),
            instances: Arc::clone(&services.env.instances),
            metrics: Arc::clone(&services.env.metrics),
            clock: services.env.clock.clone(),
            health: Arc::clone(&services.env.health),
            services: Arc::clone(services),
            store_watch: Mutex::default(),
        }
    }

    fn store_watch(&self) -> MutexGuard<'_, StoreWatch> {
        self.store_watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
