//! A store that is watched: how long each operation takes, and why it fails.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    Admission, Announced, Backlog, Change, Committed, Description, Drawn, DueLane, Found, Granted, Index, JobId, Lane,
    LeaseRequest, Leased, Locator, Position, RecordId, Refusal, Reserve, Settlement, Store, StoreError, Stored, Take,
    archive::{Archive, Journal, KnownJob, Mark, Note, Removal, Standing},
    background::Background,
    changes::Changes,
    patience,
};
use crate::{
    domain::{InstanceId, Partition},
    metrics::{
        Metrics,
        label::{ByOperation, OperationCause},
    },
};

/// Any store, with its metrics.
pub struct Measured {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    refused: Mutex<Option<Refusal>>,
}

impl Measured {
    pub fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        Self { store, metrics, refused: Mutex::default() }
    }

    async fn watch<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let start = Instant::now();
        let outcome = patience::spend(work).await;
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

#[async_trait]
impl Store for Measured {
    fn now(&self) -> Timestamp {
        self.store.now()
    }

    fn changes(&self) -> &Arc<Changes> {
        self.store.changes()
    }

    fn background(&self) -> &Background {
        self.store.background()
    }

    fn skew_millis(&self) -> i64 {
        self.store.skew_millis()
    }

    async fn load(&self, id: RecordId) -> Result<Option<Stored>, StoreError> {
        self.watch("load", self.store.load(id)).await
    }

    async fn find(&self, peek: Option<&Take>, places: &[Locator]) -> Result<Found, StoreError> {
        self.watch("find", self.store.find(peek, places)).await
    }

    async fn admit(&self, takes: &[Take], reserve: Option<&Reserve>) -> Result<Admission, StoreError> {
        self.watch("admit", self.store.admit(takes, reserve)).await
    }

    async fn draw(&self, takes: &[Take], units: u32) -> Result<Drawn, StoreError> {
        self.watch("draw", self.store.draw(takes, units)).await
    }

    async fn commit(&self, change: &Change) -> Result<Committed, StoreError> {
        self.watch("commit", self.store.commit(change)).await
    }

    async fn due(&self) -> Result<Vec<DueLane>, StoreError> {
        self.watch("due", self.store.due()).await
    }

    async fn lease(&self, requests: &[LeaseRequest]) -> Result<Vec<Granted>, StoreError> {
        self.watch("lease", self.store.lease(requests)).await
    }

    async fn settle(&self, leased: &Leased, settlement: &Settlement) -> Result<bool, StoreError> {
        self.watch("settle", self.store.settle(leased, settlement)).await
    }

    async fn hold(&self, lane: &Lane, until: Timestamp) -> Result<(), StoreError> {
        self.watch("hold", self.store.hold(lane, until)).await
    }

    async fn list(&self, index: &Index, after: Option<&Position>, limit: usize) -> Result<Vec<Stored>, StoreError> {
        self.watch("list", self.store.list(index, after, limit)).await
    }

    async fn replay(&self, instance: InstanceId, partition: Partition, id: &JobId) -> Result<bool, StoreError> {
        self.watch("replay", self.store.replay(instance, partition, id)).await
    }

    async fn meta(&self) -> Result<HashMap<String, String>, StoreError> {
        self.watch("meta", self.store.meta()).await
    }

    async fn set_meta(&self, name: &str, value: &str, replace: bool) -> Result<(), StoreError> {
        self.watch("set_meta", self.store.set_meta(name, value, replace)).await
    }

    async fn posture(&self) -> Result<Vec<String>, StoreError> {
        self.watch("posture", self.store.posture()).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        self.watch("backlog", self.store.backlog()).await
    }

    async fn announce(&self, replica: &str, words: &str) -> Result<(), StoreError> {
        self.watch("announce", self.store.announce(replica, words)).await
    }

    async fn announced(&self) -> Result<Vec<Announced>, StoreError> {
        self.watch("announced", self.store.announced()).await
    }

    async fn describe(&self) -> Result<Description, StoreError> {
        self.watch("describe", self.store.describe()).await
    }

    fn take_up(&self, url: &str) -> Result<(), StoreError> {
        self.store.take_up(url)
    }

    fn last_refusal(&self) -> Option<Refusal> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.watch("probe", self.store.probe()).await
    }

    async fn trial(&self) -> Result<(), StoreError> {
        self.watch("trial", self.store.trial()).await
    }
}

#[async_trait]
impl Archive for Measured {
    async fn jobs_after(
        &self,
        instance: InstanceId,
        standing: Standing,
        mark: Option<&Mark>,
        limit: usize,
    ) -> Result<Vec<KnownJob>, StoreError> {
        self.watch("jobs", self.store.jobs_after(instance, standing, mark, limit)).await
    }

    async fn job(
        &self,
        instance: InstanceId,
        partition: Partition,
        id: &JobId,
    ) -> Result<Option<KnownJob>, StoreError> {
        self.watch("job", self.store.job(instance, partition, id)).await
    }

    async fn tidy(&self, instance: InstanceId) -> Result<(), StoreError> {
        self.watch("tidy", self.store.tidy(instance)).await
    }

    async fn note(&self, notes: &[Note]) -> Result<(), StoreError> {
        self.watch("note", self.store.note(notes)).await
    }

    async fn notes(&self, journal: &Journal, limit: usize) -> Result<Vec<(Timestamp, Note)>, StoreError> {
        self.watch("notes", self.store.notes(journal, limit)).await
    }

    async fn remove(&self, removal: &Removal) -> Result<(), StoreError> {
        self.watch("remove", self.store.remove(removal)).await
    }
}
