//! Implements [`AdmissionControl`]; the queries are in `admit`.

use async_trait::async_trait;

use super::{EmbeddedStore, admit};
use crate::store::{Admission, AdmissionControl, BucketRequest, DrawnTokens, IdempotencyClaim, StoreError};

#[async_trait]
impl AdmissionControl for EmbeddedStore {
    async fn admit(
        &self,
        requests: &[BucketRequest],
        claim: Option<&IdempotencyClaim>,
    ) -> Result<Admission, StoreError> {
        let (requests, claim) = (requests.to_vec(), claim.cloned());
        self.writer
            .run(move |connection, now| {
                let allowances = admit::take(connection, now, &requests)?;
                let idempotency_record =
                    claim.as_ref().map(|claim| admit::claim_key(connection, now, claim)).transpose()?;
                Ok(Admission { allowances, idempotency_record })
            })
            .await
    }

    fn check_room(&self) -> Result<(), StoreError> {
        self.writer.has_room()
    }

    async fn give_back(&self, requests: &[BucketRequest]) -> Result<(), StoreError> {
        let requests = requests.to_vec();
        self.writer.run(move |connection, now| Ok(admit::give_back(connection, now, &requests)?)).await
    }

    async fn draw(&self, requests: &[BucketRequest], units: u32) -> Result<DrawnTokens, StoreError> {
        let requests = requests.to_vec();
        self.writer.run(move |connection, now| Ok(admit::draw(connection, now, &requests, units)?)).await
    }
}
