//! A store that is watched: how long each operation takes, and why it fails.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    Admission, Announced, Archive, Background, Backlog, Change, Changes, Committed, Description, Drawn, DueLane, Found,
    Granted, Index, JobId, Jobs, KnownJob, Lane, LeaseRequest, Leased, Limits, Locator, Operations, Position, RecordId,
    Records, Refusal, Reserve, Settlement, Standing, Store, StoreError, Stored, Take,
    archive::{Journal, Mark, Note, Removal},
    time_budget::TimeBudget,
};
use crate::{
    domain::{InstanceId, Partition},
    metrics::{
        Metrics,
        label::{ByOperation, OperationCause},
    },
};

/// Any store, with its metrics.
#[derive(Clone)]
pub struct Measured {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    refused: Arc<Mutex<Option<Refusal>>>,
    /// What the calls may take together.
    budget: Option<Arc<TimeBudget>>,
}

impl Measured {
    pub fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        Self { store, metrics, refused: Arc::default(), budget: None }
    }

    async fn watch<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let start = Instant::now();
        let outcome = match &self.budget {
            Some(budget) => budget.spend(work).await.unwrap_or_else(|_| Err(late())),
            None => work.await,
        };
        let took = start.elapsed().as_secs_f64();
        self.metrics.store_request_seconds.get_or_create(&ByOperation { operation }).observe(took);
        if let Err(error) = &outcome {
            let cause = error.cause();
            self.metrics.store_errors.get_or_create(&OperationCause { operation, cause }).inc();
            let refusal = Refusal { at: Instant::now(), operation, cause, why: error.to_string() };
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
        }
        outcome
    }
}

fn late() -> StoreError {
    StoreError::Unavailable("it does not answer in time".to_owned())
}

/// The operations of one trait, each by its word in metrics, and what else the trait has.
macro_rules! watched {
    ($trait:ident { $($operation:literal $method:ident($($name:ident: $type:ty),*) -> $output:ty;)* } $($others:tt)*) => {
        #[async_trait]
        impl $trait for Measured {
            $(async fn $method(&self, $($name: $type),*) -> Result<$output, StoreError> {
                self.watch($operation, self.store.$method($($name),*)).await
            })*

            $($others)*
        }
    };
}

watched! {
    Records {
        "load" load(id: RecordId) -> Option<Stored>;
        "find" find(peek: Option<&Take>, places: &[Locator]) -> Found;
        "commit" commit(change: &Change) -> Committed;
        "list" list(index: &Index, after: Option<&Position>, limit: usize) -> Vec<Stored>;
    }

    fn now(&self) -> Timestamp {
        self.store.now()
    }

    fn changes(&self) -> &Arc<Changes> {
        self.store.changes()
    }
}

watched! {
    Jobs {
        "due" due() -> Vec<DueLane>;
        "lease" lease(requests: &[LeaseRequest]) -> Vec<Granted>;
        "settle" settle(leased: &Leased, settlement: &Settlement) -> bool;
        "hold" hold(lane: &Lane, until: Timestamp) -> ();
        "replay" replay(instance: InstanceId, partition: Partition, id: &JobId) -> bool;
    }
}

watched! {
    Limits {
        "admit" admit(takes: &[Take], reserve: Option<&Reserve>) -> Admission;
        "draw" draw(takes: &[Take], units: u32) -> Drawn;
    }
}

watched! {
    Archive {
        "jobs" jobs_after(
            instance: InstanceId,
            standing: Standing,
            mark: Option<&Mark>,
            limit: usize
        ) -> Vec<KnownJob>;
        "job" job(instance: InstanceId, partition: Partition, id: &JobId) -> Option<KnownJob>;
        "tidy" tidy(instance: InstanceId) -> ();
        "note" note(notes: &[Note]) -> ();
        "notes" notes(journal: &Journal, limit: usize) -> Vec<(Timestamp, Note)>;
        "remove" remove(removal: &Removal) -> ();
    }
}

watched! {
    Operations {
        "meta" meta() -> HashMap<String, String>;
        "set_meta" set_meta(name: &str, value: &str, replace: bool) -> ();
        "posture" posture() -> Vec<String>;
        "backlog" backlog() -> Vec<Backlog>;
        "announce" announce(replica: &str, words: &str) -> ();
        "announced" announced() -> Vec<Announced>;
        "describe" describe() -> Description;
        "probe" probe() -> ();
        "trial" trial() -> ();
    }

    fn background(&self) -> &Background {
        self.store.background()
    }

    fn skew_millis(&self) -> i64 {
        self.store.skew_millis()
    }

    fn within(&self, budget: &Arc<TimeBudget>) -> Option<Arc<dyn Store>> {
        let store = self.store.within(budget).unwrap_or_else(|| Arc::clone(&self.store));
        Some(Arc::new(Self { store, budget: Some(Arc::clone(budget)), ..self.clone() }))
    }

    fn take_up(&self, url: &str) -> Result<(), StoreError> {
        self.store.take_up(url)
    }

    fn last_refusal(&self) -> Option<Refusal> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
