//! Measures the duration and the failures of every store operation.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    Admission, AdmissionControl, Archive, Background, Backlog, BucketRequest, Change, ChangeNotifier, CommitOutcome,
    DrawnTokens, DueLane, FindResult, Hour, HourlyCounters, HourlyCounts, IdempotencyClaim, Index, JobId, JobInfo,
    JobState, Jobs, KeyGate, Lane, LastStoreError, LeaseGrant, LeaseRequest, LeasedJob, Locator, Operations, Position,
    RecordId, Records, ReplicaHeartbeat, Settlement, Store, StoreDescription, StoreError, StoredRecord,
    archive::{JobCursor, LogEntry, LogStream, Removal},
    time_budget::TimeBudget,
};
use crate::{
    config::TlsConfig,
    domain::{InstanceId, Partition},
    metrics::{
        Metrics,
        label::{ByOperation, OperationCause},
    },
};

/// A store with its metrics.
#[derive(Clone)]
pub struct MeteredStore {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    last_error: Arc<Mutex<Option<LastStoreError>>>,
    keys: KeyGate,
    /// What the calls may take together.
    budget: Option<Arc<TimeBudget>>,
}

impl MeteredStore {
    /// Nothing is looked up or begun while the gate is closed.
    pub fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>, keys: KeyGate) -> Self {
        Self { store, metrics, last_error: Arc::default(), keys, budget: None }
    }

    async fn watch<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let start = Instant::now();
        let outcome = match &self.budget {
            Some(budget) => budget.spend(work).await.unwrap_or_else(|_| Err(timed_out())),
            None => work.await,
        };
        let took = start.elapsed().as_secs_f64();
        self.metrics.store_request_seconds.get_or_create(&ByOperation { operation }).observe(took);
        if let Err(error) = &outcome {
            let cause = error.cause();
            self.metrics.store_errors.get_or_create(&OperationCause { operation, cause }).inc();
            let last_error = LastStoreError { at: Instant::now(), operation, cause, why: error.to_string() };
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(last_error);
        }
        outcome
    }
}

fn timed_out() -> StoreError {
    StoreError::Unavailable("it does not answer in time".to_owned())
}

/// Implements one trait: its operations with their label values in metrics, and its other methods. `keys` stands after
/// operations that look something up or begin something.
macro_rules! watched {
    ($trait:ident { $($operation:literal $method:ident($($name:ident: $type:ty),*) -> $output:ty $(, $keys:ident)?;)* } $($others:tt)*) => {
        #[async_trait]
        impl $trait for MeteredStore {
            $(async fn $method(&self, $($name: $type),*) -> Result<$output, StoreError> {
                self.watch($operation, async {
                    $(self.$keys.check()?;)?
                    self.store.$method($($name),*).await
                })
                .await
            })*

            $($others)*
        }
    };
}

watched! {
    Records {
        "load" load(id: RecordId) -> Option<StoredRecord>, keys;
        "find" find(peek: Option<&BucketRequest>, locators: &[Locator]) -> FindResult, keys;
        "commit" commit(change: &Change) -> CommitOutcome, keys;
        "list" list(lists: &[Index], after: Option<&Position>, limit: usize) -> Vec<StoredRecord>, keys;
    }

    fn now(&self) -> Timestamp {
        self.store.now()
    }

    fn changes(&self) -> &Arc<ChangeNotifier> {
        self.store.changes()
    }
}

watched! {
    Jobs {
        "due" due() -> Vec<DueLane>, keys;
        "lease" lease(requests: &[LeaseRequest]) -> Vec<LeaseGrant>, keys;
        "settle" settle(leased: &LeasedJob, settlement: &Settlement) -> bool;
        "hold" hold(lane: &Lane, until: Timestamp) -> ();
        "replay" replay(instance: InstanceId, partition: Partition, id: &JobId) -> bool;
    }
}

watched! {
    AdmissionControl {
        "admit" admit(requests: &[BucketRequest], claim: Option<&IdempotencyClaim>) -> Admission, keys;
        "draw" draw(requests: &[BucketRequest], units: u32) -> DrawnTokens, keys;
        "give_back" give_back(requests: &[BucketRequest]) -> ();
    }

    fn check_room(&self) -> Result<(), StoreError> {
        self.store.check_room()
    }
}

watched! {
    Archive {
        "jobs" jobs_after(
            instance: InstanceId,
            state: JobState,
            cursor: Option<&JobCursor>,
            limit: usize
        ) -> Vec<JobInfo>;
        "job" job(instance: InstanceId, partition: Partition, id: &JobId) -> Option<JobInfo>;
        "tidy" purge(instance: InstanceId) -> ();
        "note" append_log(notes: &[LogEntry]) -> ();
        "notes" read_log(journal: &LogStream, limit: usize) -> Vec<(Timestamp, LogEntry)>;
        "remove" remove(removal: &Removal) -> ();
    }
}

watched! {
    HourlyCounters {
        "count" add_counts(counts: &[HourlyCounts]) -> ();
        "counts" read_counts(instance: InstanceId, hours: RangeInclusive<Hour>) -> Vec<HourlyCounts>;
    }
}

watched! {
    Operations {
        "meta" meta() -> HashMap<String, String>;
        "set_meta" set_meta(name: &str, value: &str, replace: bool) -> ();
        "posture" preflight() -> Vec<String>;
        "backlog" backlog() -> Vec<Backlog>;
        "announce" publish_heartbeat(replica: &str, body: &str) -> ();
        "announced" heartbeats() -> Vec<ReplicaHeartbeat>;
        "describe" describe() -> StoreDescription;
        "probe" probe() -> ();
        "trial" check_writes() -> ();
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

    fn reload_credentials(&self, url: &str, tls: &TlsConfig) -> Result<(), StoreError> {
        self.store.reload_credentials(url, tls)
    }

    fn last_error(&self) -> Option<LastStoreError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
