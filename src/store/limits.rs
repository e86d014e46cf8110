//! Limits: buckets, and idempotency keys.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::domain::{
    Partition,
    keys::Digest,
    quota::{Allowance, Quota},
};

/// One unit of a bucket.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    pub partition: Partition,
    pub bucket: String,
    pub quota: Quota,
}

/// Indexes of those that are taken in one step.
pub(super) fn by_partition(takes: &[TokenRequest]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, take) in takes.iter().enumerate() {
        match groups.iter_mut().find(|group| takes[group[0]].partition == take.partition) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

/// Claims an idempotency key for a request, for a day.
#[derive(Clone, Debug)]
pub struct ReservationRequest {
    pub partition: Partition,
    pub key: Digest,
    /// What the request said; another body under the same key differs here.
    pub fingerprint: Digest,
    /// What the request will be made from, unless an earlier one holds the key. Opaque here.
    pub claim: Vec<u8>,
    /// Gives way, if it is what holds the key.
    pub replaces: Option<Vec<u8>>,
}

/// Who holds an idempotency key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    pub fingerprint: Digest,
    pub claim: Vec<u8>,
}

/// Answer to [`Limits::admit`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    /// One for each [`TokenRequest`].
    pub allowances: Vec<Allowance>,
    /// Whoever holds the key now: us, or an earlier request.
    pub reservation: Option<Reservation>,
}

/// Answer to [`Limits::draw`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DrawnTokens {
    pub units: u32,
    /// Until there is another one.
    pub wait: Duration,
}

/// Takes from buckets and claims keys.
#[async_trait]
pub trait Limits: Send + Sync + 'static {
    /// Takes from all buckets, each named once, and claims the key, in one round trip. Where a bucket is short nothing
    /// is taken from those of its partition; other partitions and the key know nothing of it.
    async fn admit(
        &self,
        takes: &[TokenRequest],
        reserve: Option<&ReservationRequest>,
    ) -> Result<Admission, StoreError>;

    /// Takes up to `units` from all buckets alike, which lie in one partition: as many as the shortest has.
    async fn draw(&self, takes: &[TokenRequest], units: u32) -> Result<DrawnTokens, StoreError>;
}
