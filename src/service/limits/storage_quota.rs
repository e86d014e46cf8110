//! Storage limits: how much of the store an instance may fill, so that one instance cannot make the requests of others
//! fail. Storage is accounted like a rate: taken when a request is made, and given back over the time that its record
//! is kept. Pending jobs are counted from the queues.

use std::time::Duration;

use super::rate_limit::{Limit, Limits};
use crate::{
    domain::{
        Request,
        quota::{Allowance, LimitName, Quota},
    },
    metrics::label::{ByInstance, InstanceLabel},
    service::{Instance, RequestContext, ServiceError},
    store::BucketRequest,
};

/// Upper bound of the bytes that a login takes apart from its texts: the record, its list entries, its timer, its
/// message id, and the body of its callback, which is kept for one hour after delivery, or three days if it cannot be
/// delivered. Measured in Redis by `tests/it/footprint.rs`. A pending link takes a sixth of this, but how it ends is
/// unknown when it is made.
const LOGIN_BYTES: u64 = 3_000;
/// Pending jobs are recounted every few seconds.
const RECOUNT_INTERVAL: Duration = Duration::from_secs(10);
/// Text sizes are rounded up to this many bytes, so that requests of similar size share a weight.
const TEXT_ROUNDING: u64 = 1024;

impl Limits {
    /// The storage that a request takes from its instance, in the same partition as the instance's other limits.
    pub(in crate::service) fn storage_limits(&self, instance: &Instance, request: &Request) -> Vec<Limit> {
        let limits = &instance.config.limits;
        // The retention of a used login. An unused one is removed sooner, but its storage is not given back earlier.
        let stays = instance.config.longest_life() + instance.config.retention;
        let records = limits.records.map(|most| (LimitName::Records, Quota::weighted(most, stays, 1)));
        let bytes =
            self.store_share(instance).map(|most| (LimitName::Bytes, Quota::weighted(most, stays, weight(request))));
        let of = |(name, quota)| self.instance_limit(instance, name, b"", quota);
        records.into_iter().chain(bytes).map(of).collect()
    }

    /// The instance's share of the store in bytes. `None` if no share is configured, if it is the only
    /// instance, or if the size of the store is unknown.
    fn store_share(&self, instance: &Instance) -> Option<u64> {
        let percent = u64::from(instance.config.limits.store_percent?);
        let room = u64::try_from(self.metrics.store_limit_bytes.get()).unwrap_or_default();
        (room > 0 && self.instances.has_several()).then(|| room / 100 * percent)
    }

    /// Gives back what a request has taken by [`Self::storage_limits`], if it stores nothing. If that fails, the
    /// instance gets it back over time.
    pub(in crate::service) async fn give_back_storage(&self, cx: &RequestContext, limits: &[Limit]) {
        let taken = limits.iter().filter(|limit| limit.name.is_storage());
        let taken: Vec<BucketRequest> = taken.flat_map(|limit| limit.bucket.bucket_requests()).collect();
        if !taken.is_empty() {
            let _ = cx.store.give_back(&taken).await;
        }
    }

    /// Whether the instance has too many pending jobs to accept new work.
    pub(in crate::service) fn has_too_many_jobs(&self, instance: &Instance) -> bool {
        instance.config.limits.pending_jobs.is_some_and(|most| self.health.pending_jobs(instance.config.id) >= most)
    }

    /// The error for an instance with too many pending jobs. Counts it in the metrics.
    pub(in crate::service) fn too_many_jobs(&self) -> ServiceError {
        self.count_limit(LimitName::PendingJobs);
        ServiceError::StorageQuotaExceeded { retry_after: RECOUNT_INTERVAL }
    }

    /// Updates the metric of the instance's used storage.
    pub(in crate::service) fn record_storage_use(
        &self,
        instance: &Instance,
        limits: &[Limit],
        allowances: &[Allowance],
    ) {
        let used = |(limit, allowance): (&Limit, &Allowance)| {
            let left = match allowance {
                Allowance::Allowed { remaining } => *remaining,
                Allowance::Exhausted { .. } => 0,
            };
            limit.name.is_storage().then(|| 1.0 - f64::from(left) / f64::from(limit.bucket.quota.burst()))
        };
        if let Some(used) = limits.iter().zip(allowances).filter_map(used).reduce(f64::max) {
            self.metrics
                .instance_room_ratio
                .get_or_create(&ByInstance { instance: InstanceLabel(instance.config.id) })
                .set(used);
        }
    }
}

fn weight(request: &Request) -> u64 {
    let texts = [&request.texts.prompt, &request.texts.success, &request.texts.failed, &request.texts.expired];
    let urls = [&request.callbacks.success, &request.callbacks.failed, &request.callbacks.expired, &request.link];
    let more = [
        &request.redirect_url,
        &request.other_way_url,
        &request.metadata,
        &request.state,
        &request.user_agent,
        &request.client_ref,
    ];
    let length = |text: &&Option<String>| text.as_ref().map_or(0, String::len) as u64;
    // The callback contains these a second time.
    let described = [&request.metadata, &request.client_ref, &request.purpose];
    let all: u64 = texts.iter().chain(&urls).chain(&more).chain(&described).map(length).sum();
    LOGIN_BYTES + all.next_multiple_of(TEXT_ROUNDING)
}
