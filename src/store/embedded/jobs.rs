//! Implements [`Jobs`]; the queries are in `queue` and `timers`.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{EmbeddedStore, query, queue};
use crate::{
    domain::{InstanceId, Partition},
    store::{DueLane, JobId, Jobs, Lane, LeaseGrant, LeaseRequest, LeasedJob, Settlement, StoreError},
};

#[async_trait]
impl Jobs for EmbeddedStore {
    async fn due(&self) -> Result<Vec<DueLane>, StoreError> {
        let now = self.time.millis();
        self.readers.run(move |connection| query::due(connection, now)).await
    }

    async fn lease(&self, requests: &[LeaseRequest]) -> Result<Vec<LeaseGrant>, StoreError> {
        let requests = requests.to_vec();
        self.writer
            .run(move |connection, now| requests.iter().map(|request| queue::lease(connection, now, request)).collect())
            .await
    }

    async fn settle(&self, leased: &LeasedJob, settlement: &Settlement) -> Result<bool, StoreError> {
        let (leased, settlement) = (leased.clone(), settlement.clone());
        self.writer.run(move |connection, now| Ok(queue::settle(connection, now, &leased, &settlement)?)).await
    }

    async fn hold(&self, lane: &Lane, until: Timestamp) -> Result<(), StoreError> {
        let lane = lane.clone();
        self.writer.run(move |connection, _| Ok(queue::hold(connection, &lane, until)?)).await
    }

    async fn replay(&self, instance: InstanceId, partition: Partition, id: &JobId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.writer.run(move |connection, now| Ok(queue::replay(connection, now, instance, partition, &id)?)).await
    }
}
