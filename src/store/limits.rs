//! Rate limits and idempotency keys.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::domain::{
    LookUp, Partition,
    keys::Digest,
    quota::{Allowance, Quota},
};

/// A request for one unit of a bucket.
#[derive(Clone, Debug)]
pub struct BucketRequest {
    pub partition: Partition,
    pub bucket: String,
    pub quota: Quota,
}

/// Indices of the requests that are served in one step, because they lie in one partition.
pub(super) fn by_partition(requests: &[BucketRequest]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        match groups.iter_mut().find(|group| requests[group[0]].partition == request.partition) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

/// Claims an idempotency key for a day.
#[derive(Clone, Debug)]
pub struct IdempotencyClaim {
    pub partition: Partition,
    pub key: LookUp,
    /// A digest of the request; another request under the same key has another. As many digests as `key` has.
    pub fingerprint: LookUp,
    /// What the response is derived from, unless an earlier request holds the key. Opaque to the store.
    pub content: Vec<u8>,
    /// An earlier claim to replace, if it still holds the key.
    pub replaces: Option<Vec<u8>>,
}

/// The claim that holds an idempotency key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotencyRecord {
    pub fingerprint: Digest,
    pub content: Vec<u8>,
}

/// Result of [`AdmissionControl::admit`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    /// One for each [`BucketRequest`].
    pub allowances: Vec<Allowance>,
    /// The claim that holds the key now: this request's, or an earlier one's.
    pub idempotency_record: Option<IdempotencyRecord>,
}

/// Result of [`AdmissionControl::draw`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DrawnTokens {
    pub units: u32,
    /// Time until another unit is available.
    pub wait: Duration,
}

/// Takes from rate-limit buckets and claims idempotency keys.
#[async_trait]
pub trait AdmissionControl: Send + Sync + 'static {
    /// Takes from all buckets, each named once, and claims the key, in one round trip. If a bucket is empty, nothing is
    /// taken from the buckets of its partition; those of other partitions and the key are not affected.
    async fn admit(
        &self,
        requests: &[BucketRequest],
        claim: Option<&IdempotencyClaim>,
    ) -> Result<Admission, StoreError>;

    /// Gives a unit back to each of the buckets, which lie in one partition.
    async fn give_back(&self, requests: &[BucketRequest]) -> Result<(), StoreError>;

    /// Fails if the commit of new work would be refused, so that nothing is taken for it. Redis, when it is full, takes
    /// nothing by itself.
    fn check_room(&self) -> Result<(), StoreError>;

    /// Takes up to `units` from each of the buckets, which lie in one partition: as many as the emptiest of them has.
    async fn draw(&self, requests: &[BucketRequest], units: u32) -> Result<DrawnTokens, StoreError>;
}
