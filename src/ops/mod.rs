//! What operators see: how this process and the other replicas are. It reads, measures and reports; it decides nothing
//! about any verification.

mod gather;
mod replicas;
pub mod status;
pub mod store_watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::replicas::EVERY;
use self::store_watch::StoreWatch;
use crate::{
    clock::Clock,
    metrics::Metrics,
    service::{Instances, Service, Vitals},
    store::Store,
};

/// The view on one process and its store.
pub struct Ops {
    store: Arc<dyn Store>,
    instances: Arc<Instances>,
    metrics: Arc<Metrics>,
    clock: Clock,
    vitals: Arc<Vitals>,
    service: Arc<Service>,
    store_watch: Mutex<StoreWatch>,
}

impl Ops {
    pub fn new(service: &Arc<Service>) -> Self {
        Self {
            store: Arc::clone(&service.store),
            instances: Arc::clone(&service.instances),
            metrics: Arc::clone(&service.metrics),
            clock: service.clock.clone(),
            vitals: Arc::clone(&service.vitals),
            service: Arc::clone(service),
            store_watch: Mutex::default(),
        }
    }

    fn store_watch(&self) -> MutexGuard<'_, StoreWatch> {
        self.store_watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
