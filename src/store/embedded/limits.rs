//! Implements [`AdmissionControl`]; the queries are in `admit`.

use async_trait::async_trait;

use super::{EmbeddedStore, admit};
use crate::store::{Admission, AdmissionControl, BucketRequest, DrawnTokens, IdempotencyClaim, StoreError};

#[async_trait]
impl AdmissionControl for EmbeddedStore {
    async fn admit(
        &self,
        takes: &[BucketRequest],
        reserve: Option<&IdempotencyClaim>,
    ) -> Result<Admission, StoreError> {
        let (takes, reserve) = (takes.to_vec(), reserve.cloned());
        // A claim is the beginning of new work.
        if reserve.is_some() {
            self.writer.has_room()?;
        }
        self.writer
            .run(move |connection, now| {
                let allowances = admit::take(connection, now, &takes)?;
                let idempotency_record =
                    reserve.as_ref().map(|wanted| admit::reserve(connection, now, wanted)).transpose()?;
                Ok(Admission { allowances, idempotency_record })
            })
            .await
    }

    async fn draw(&self, takes: &[BucketRequest], units: u32) -> Result<DrawnTokens, StoreError> {
        let takes = takes.to_vec();
        self.writer.run(move |connection, now| Ok(admit::draw(connection, now, &takes, units)?)).await
    }
}
