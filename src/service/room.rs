//! How much of the store one instance may fill, so that nobody's requests fail for another's. Room is counted as rates
//! are: taken when a request begins, and given back over the time that its record stays. Jobs are counted where they wait.

use std::time::Duration;

use super::{Instance, Service, ServiceError, limit::Limit};
use crate::{
    domain::{
        InstanceId, Request,
        quota::{Allowance, Name, Quota},
    },
    metrics::label::{ByInstance, InstanceLabel},
};

/// Bytes of a login beside its texts, at its largest: the record with its entries in lists, its timer and its message's
/// id, and the body of its callback, which stays for an hour after it was delivered and for three days where it cannot
/// be. Measured in Redis: `tests/it/footprint.rs`. A link that waits is a sixth of it; it is not known before its end
/// what becomes of it.
const LOGIN_BYTES: u64 = 3_000;
/// Jobs that wait are counted every few seconds.
const RECOUNT: Duration = Duration::from_secs(10);
/// Requests of about the same size are counted together.
const STEP: u64 = 1024;

impl Service {
    /// What a request takes of the room of its instance. It lies beside the other limits of the instance.
    pub(super) fn room_limits(&self, instance: &Instance, request: &Request) -> Vec<Limit> {
        let limits = &instance.config.limits;
        // As long as the record of a login is kept. One that nobody uses leaves sooner, and gives nothing back before.
        let stays = instance.config.longest_life() + instance.config.retention;
        let records = limits.records.map(|most| (Name::Records, Quota::weighed(most, stays, 1)));
        let bytes = self.share(instance).map(|most| (Name::Bytes, Quota::weighed(most, stays, weight(request))));
        let of = |(name, quota)| self.instance_limit(instance, name, b"", quota);
        records.into_iter().chain(bytes).map(of).collect()
    }

    /// Bytes. None where nobody else needs the store, and while its size is not known.
    fn share(&self, instance: &Instance) -> Option<u64> {
        let percent = u64::from(instance.config.limits.store_percent?);
        let room = u64::try_from(self.metrics.store_limit_bytes.get()).unwrap_or_default();
        (room > 0 && self.instances.several()).then(|| room / 100 * percent)
    }

    /// Jobs of an instance that wait, as this replica last counted them.
    pub(crate) fn pending_jobs(&self, instance: InstanceId) -> u64 {
        let seen = self.vitals.seen.load();
        seen.iter().flat_map(|seen| &seen.backlog).filter_map(|backlog| backlog.instances.get(&instance)).sum()
    }

    /// Whether so much of the instance's work waits that nothing more is begun.
    pub(super) fn refuse_more_jobs(&self, instance: &Instance) -> Result<(), ServiceError> {
        let Some(most) = instance.config.limits.pending_jobs else { return Ok(()) };
        if self.pending_jobs(instance.config.id) < most {
            return Ok(());
        }
        self.count_limit(Name::PendingJobs);
        Err(ServiceError::RoomUsed { retry_after: RECOUNT })
    }

    /// Notes how full the room of an instance is.
    pub(super) fn note_room(&self, instance: &Instance, limits: &[Limit], allowances: &[Allowance]) {
        let used = |(limit, allowance): (&Limit, &Allowance)| {
            let left = match allowance {
                Allowance::Allowed { remaining } => *remaining,
                Allowance::Exhausted { .. } => 0,
            };
            limit.name.is_room().then(|| 1.0 - f64::from(left) / f64::from(limit.bucket.quota.burst()))
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
    let more = [&request.redirect_url, &request.metadata, &request.state, &request.user_agent, &request.client_ref];
    let length = |text: &&Option<String>| text.as_ref().map_or(0, String::len) as u64;
    // The callback says these again.
    let told = [&request.metadata, &request.client_ref, &request.purpose];
    let all: u64 = texts.iter().chain(&urls).chain(&more).chain(&told).map(length).sum();
    LOGIN_BYTES + all.next_multiple_of(STEP)
}
