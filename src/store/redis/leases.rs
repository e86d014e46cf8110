//! Leased jobs and timers: one sorted set for each partition, by the end of the lease.

use super::{
    RedisStore, key, millis,
    parse::{self, StoredJob, from_value, score_millis},
    script,
};
use crate::{
    domain::Partition,
    store::{MAX_LEASE, StoreError},
};

/// Leases reclaimed per partition and poll.
const MAX_RECLAIMED: usize = 256;
/// Prefix of a timer's locator among the leases. The id of a job begins with a letter or a digit.
pub(super) const TIMER: &[u8] = b"\0";

/// What is leased.
#[derive(Clone, Copy)]
enum LeaseMember<'a> {
    /// The locator of its record.
    Timer(&'a [u8]),
    /// Its id, and the fence of the lease.
    Job(&'a str, &'a str),
}

/// A leased job or timer.
pub(super) struct Lease {
    pub(super) partition: Partition,
    /// In milliseconds since the epoch.
    pub(super) end: i64,
    /// `None` for a timer.
    pub(super) job: Option<(String, StoredJob)>,
}

/// A [`Lease`] whose job is not read yet.
struct LeaseEntry {
    partition: Partition,
    member: Vec<u8>,
    end: i64,
}

/// The member that stands for the lease of a job.
pub(super) fn of_job(id: &str, fence: u64) -> String {
    format!("{id}|{fence}")
}

impl LeaseEntry {
    fn member(&self) -> Option<LeaseMember<'_>> {
        if let Some(locator) = self.member.strip_prefix(TIMER) {
            return Some(LeaseMember::Timer(locator));
        }
        std::str::from_utf8(&self.member).ok()?.rsplit_once('|').map(|(id, fence)| LeaseMember::Job(id, fence))
    }
}

impl RedisStore {
    /// The first `limit` leases of each partition that end at `from` or later. Jobs that no longer exist are left out.
    pub(super) async fn leases(&self, from: &str, limit: usize) -> Result<Vec<Lease>, StoreError> {
        let listed = self.lease_entries(Partition::all().map(|partition| (partition, from, "+inf")), limit).await?;
        let jobs = self.jobs_of(&listed).await?;
        let leases = listed.iter().zip(jobs).filter_map(|(listed, job)| {
            let job = match listed.member()? {
                LeaseMember::Timer(_) => None,
                LeaseMember::Job(id, _) => Some((id.to_owned(), job?)),
            };
            Some(Lease { partition: listed.partition, end: listed.end, job })
        });
        Ok(leases.collect())
    }

    /// Requeues jobs and timers whose lease has expired.
    pub(super) async fn reclaim(&self, partitions: &[Partition]) -> Result<(), StoreError> {
        let now = self.time.now().as_millisecond();
        let (over, unbelievable) = (now.to_string(), format!("({}", now + millis(MAX_LEASE)));
        let ranges = [("-inf", over.as_str()), (unbelievable.as_str(), "+inf")];
        let both = partitions.iter().flat_map(|partition| ranges.map(|(from, to)| (*partition, from, to)));
        let lapsed = self.lease_entries(both, MAX_RECLAIMED).await?;
        let jobs = self.jobs_of(&lapsed).await?;
        let mut pipeline = redis::pipe();
        for (lease, job) in lapsed.iter().zip(&jobs) {
            let (partition, timers) = (lease.partition, key::timers(lease.partition));
            let (queue, name, lane, fence) = match (lease.member(), job) {
                (Some(LeaseMember::Timer(locator)), _) => (timers, locator, "", ""),
                (Some(LeaseMember::Job(id, fence)), Some(StoredJob { lane, .. })) => {
                    (key::queue(partition, lane), id.as_bytes(), lane.0.as_str(), fence)
                }
                _ => (timers, [].as_slice(), "", ""),
            };
            let keys = [key::leases(partition), queue, key::lanes(partition), key::jobs(partition)];
            let mut cmd = script::RECLAIM.call(&keys);
            cmd.arg(&lease.member).arg(name).arg(lease.end.min(now)).arg(lane).arg(fence);
            pipeline.add_command(cmd);
        }
        if lapsed.is_empty() {
            return Ok(());
        }
        self.connection.run(&mut pipeline).await.map(drop)
    }

    async fn lease_entries(
        &self,
        ranges: impl Iterator<Item = (Partition, &str, &str)>,
        limit: usize,
    ) -> Result<Vec<LeaseEntry>, StoreError> {
        let mut pipeline = redis::pipe();
        let mut queried = Vec::new();
        for (partition, from, to) in ranges {
            pipeline.cmd("ZRANGEBYSCORE").arg(key::leases(partition)).arg(from).arg(to).arg("WITHSCORES");
            pipeline.arg("LIMIT").arg(0).arg(limit);
            queried.push(partition);
        }
        let mut listed = Vec::new();
        for (partition, value) in queried.into_iter().zip(self.connection.run(&mut pipeline).await?) {
            let rows: Vec<(Vec<u8>, f64)> = from_value(value)?;
            listed.extend(rows.into_iter().map(|(member, end)| LeaseEntry {
                partition,
                member,
                end: score_millis(end),
            }));
        }
        Ok(listed)
    }

    /// One entry for each lease: `None` for timers, and for jobs that no longer exist.
    async fn jobs_of(&self, leases: &[LeaseEntry]) -> Result<Vec<Option<StoredJob>>, StoreError> {
        let mut pipeline = redis::pipe();
        let mut queried = Vec::new();
        for (index, lease) in leases.iter().enumerate() {
            if let Some(LeaseMember::Job(id, _)) = lease.member() {
                pipeline.cmd("HGET").arg(key::jobs(lease.partition)).arg(id);
                queried.push(index);
            }
        }
        let values = if queried.is_empty() { Vec::new() } else { self.connection.run(&mut pipeline).await? };
        let mut jobs: Vec<Option<StoredJob>> = leases.iter().map(|_| None).collect();
        for (index, value) in queried.into_iter().zip(values) {
            jobs[index] = from_value::<Option<Vec<u8>>>(value)?.and_then(parse::parse_job);
        }
        Ok(jobs)
    }
}
