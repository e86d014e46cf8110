//! Leases due jobs and timers: requests to one master share a script.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use redis::{Cmd, Value};

use super::{
    RedisStore,
    jobs::{due_time, stored_job},
    key,
    leases::TIMER,
    millis,
    parse::{StoredJob, from_value, too_few_values},
    retries::ResendPolicy,
    script,
};
use crate::store::{
    GROUP_SCAN, JobId, LEASE_DURATION, Lane, LeaseGrant, LeaseRequest, LeasedJob, Locator, MAX_HOLD, StoreError,
};

/// Queues that one script leases from.
const MAX_QUEUES: usize = 64;
/// How often the store is asked to put back what a lease without an answer may have taken.
const PUT_BACK_INTERVAL: Duration = Duration::from_millis(250);

/// Requests that one script answers, with their indices among all requests. Those of one lane are adjacent.
type Batch<'a> = Vec<(usize, &'a LeaseRequest)>;

impl RedisStore {
    pub(super) async fn lease_all(&self, requests: &[LeaseRequest]) -> Result<Vec<LeaseGrant>, StoreError> {
        let batches = self.batches(requests);
        let answers = join_all(batches.iter().map(async |batch| {
            if is_of_timers(batch) { self.lease_timers(batch).await } else { self.lease_jobs(batch).await }
        }))
        .await;
        let mut granted = vec![LeaseGrant::default(); requests.len()];
        let all_failed = answers.iter().all(Result::is_err);
        for (batch, answer) in batches.iter().zip(answers) {
            match answer {
                Ok(answers) => batch.iter().zip(answers).for_each(|((index, _), answer)| granted[*index] = answer),
                Err(error) if all_failed => return Err(error),
                // The jobs that other masters have leased to us must be worked on.
                Err(error) => tracing::debug!(%error, "jobs of some partitions could not be leased; trying again"),
            }
        }
        Ok(granted)
    }

    fn batches<'a>(&self, requests: &'a [LeaseRequest]) -> Vec<Batch<'a>> {
        let apart = self.connection.has_many_masters();
        let mut batches: BTreeMap<_, Batch<'a>> = BTreeMap::new();
        for (index, request) in requests.iter().enumerate() {
            let partition = apart.then_some(request.partition);
            batches.entry((request.lane == Lane::timer(), partition)).or_default().push((index, request));
        }
        let sorted = batches.into_values().map(|mut batch| {
            batch.sort_by_key(|(_, request)| &request.lane);
            batch
        });
        sorted.flat_map(|batch| batch.chunks(MAX_QUEUES).map(<[_]>::to_vec).collect::<Vec<_>>()).collect()
    }

    async fn lease_jobs(&self, batch: &[(usize, &LeaseRequest)]) -> Result<Vec<LeaseGrant>, StoreError> {
        let grant = key::new_grant(batch[0].1.partition);
        // Confirmed: a lease that a fail-over could undo must not be acted upon.
        let answer =
            self.connection.write_confirmed(self.lease_jobs_command(&grant, batch, true), ResendPolicy::Marked).await;
        if is_in_doubt(&answer) {
            self.put_back_later(self.lease_jobs_command(&grant, batch, false));
        }
        let answer: Vec<Value> = from_value(answer?)?;
        let [now, queues @ ..] = answer.as_slice() else { return Err(too_few_values("lease.lua")) };
        self.time.observe(from_value(now.clone())?);
        batch.iter().zip(queues).map(|((_, request), queue)| leased_jobs(request, queue)).collect()
    }

    /// Leases nothing unless `lease`.
    fn lease_jobs_command(&self, grant: &str, batch: &[(usize, &LeaseRequest)], lease: bool) -> Cmd {
        let queues = batch.iter().flat_map(|(_, LeaseRequest { partition, lane, .. })| {
            [
                key::lanes(*partition),
                key::queue(*partition, lane),
                key::jobs(*partition),
                key::hold(*partition, lane),
                key::leases(*partition),
            ]
        });
        let keys: Vec<String> = std::iter::once(grant.to_owned()).chain(queues).collect();
        let mut cmd = script::LEASE.call(&keys);
        cmd.arg(self.time.test_offset_millis()).arg(millis(LEASE_DURATION)).arg(millis(MAX_HOLD)).arg(GROUP_SCAN);
        for lane in batch.chunk_by(|(_, one), (_, next)| one.lane == next.lane) {
            let (_, LeaseRequest { lane: name, busy_groups, .. }) = lane[0];
            cmd.arg(&name.0).arg(busy_groups.len()).arg(&busy_groups[..]).arg(lane.len());
            for (_, request) in lane {
                cmd.arg(if lease { request.limit } else { 0 });
            }
        }
        cmd
    }

    async fn lease_timers(&self, batch: &[(usize, &LeaseRequest)]) -> Result<Vec<LeaseGrant>, StoreError> {
        let grant = key::new_grant(batch[0].1.partition);
        // Not confirmed: a timer that fires twice does no harm.
        let answer = self.connection.write(self.lease_timers_command(&grant, batch, true), ResendPolicy::Marked).await;
        if is_in_doubt(&answer) {
            self.put_back_later(self.lease_timers_command(&grant, batch, false));
        }
        let answer: Vec<Value> = from_value(answer?)?;
        let [now, fence, sets @ ..] = answer.as_slice() else { return Err(too_few_values("lease_timers.lua")) };
        self.time.observe(from_value(now.clone())?);
        let fence: u64 = from_value(fence.clone())?;
        sets.iter().map(|set| leased_timers(fence, set)).collect()
    }

    /// Leases nothing unless `lease`.
    fn lease_timers_command(&self, grant: &str, batch: &[(usize, &LeaseRequest)], lease: bool) -> Cmd {
        let sets = batch.iter().map(|(_, request)| request.partition);
        let sets = sets.flat_map(|partition| [key::timers(partition), key::leases(partition)]);
        let keys: Vec<String> = std::iter::once(grant.to_owned()).chain(sets).collect();
        let mut cmd = script::LEASE_TIMERS.call(&keys);
        cmd.arg(self.time.test_offset_millis()).arg(millis(LEASE_DURATION)).arg(TIMER);
        for (_, request) in batch {
            cmd.arg(if lease { request.limit } else { 0 });
        }
        cmd
    }

    /// Repeats a lease that got no answer, without leasing anything: what it took before is due again, and need not
    /// wait for the end of its lease. Gives up when that has ended.
    fn put_back_later(&self, mut cmd: Cmd) {
        cmd.arg("again");
        // The time of the request is over.
        let connection = self.connection.without_budget();
        tokio::spawn(async move {
            let deadline = Instant::now() + LEASE_DURATION;
            while connection.write(cmd.clone(), ResendPolicy::Same).await.is_err() && Instant::now() < deadline {
                tokio::time::sleep(PUT_BACK_INTERVAL).await;
            }
        });
    }
}

fn is_of_timers(batch: &[(usize, &LeaseRequest)]) -> bool {
    batch[0].1.lane == Lane::timer()
}

/// Whether a lease may have been applied although the caller gets an error.
fn is_in_doubt(answer: &Result<Value, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable(_)))
}

/// The reply of `lease.lua` for one queue.
fn leased_jobs(request: &LeaseRequest, queue: &Value) -> Result<LeaseGrant, StoreError> {
    let Value::Array(queue) = queue else { return Err(too_few_values("lease.lua")) };
    let [oldest_left, rows @ ..] = queue.as_slice() else { return Err(too_few_values("lease.lua")) };
    let (rows, _) = rows.as_chunks::<5>();
    let jobs = rows.iter().map(|[id, fence, attempts, lapsed, job]| {
        let StoredJob { since, instance, body, .. } = stored_job(from_value(job.clone())?)?;
        Ok(LeasedJob {
            partition: request.partition,
            id: JobId(from_value(id.clone())?),
            instance,
            lane: request.lane.clone(),
            fence: from_value(fence.clone())?,
            attempts: from_value(attempts.clone())?,
            expired_leases: from_value(lapsed.clone())?,
            since,
            body,
        })
    });
    Ok(LeaseGrant {
        jobs: jobs.collect::<Result<_, StoreError>>()?,
        oldest_left: due_time(&from_value::<String>(oldest_left.clone())?),
    })
}

/// The reply of `lease_timers.lua` for one set of timers.
fn leased_timers(fence: u64, set: &Value) -> Result<LeaseGrant, StoreError> {
    let Value::Array(set) = set else { return Err(too_few_values("lease_timers.lua")) };
    let [oldest_left, rows @ ..] = set.as_slice() else { return Err(too_few_values("lease_timers.lua")) };
    let (rows, _) = rows.as_chunks::<2>();
    let jobs = rows.iter().map(|[locator, due]| {
        let bytes: Vec<u8> = from_value(locator.clone())?;
        let locator = Locator::from_slice(&bytes)
            .ok_or_else(|| StoreError::Corrupt("a timer entry is not a valid record locator".to_owned()))?;
        let since = due_time(&from_value::<String>(due.clone())?).unwrap_or_default();
        Ok(LeasedJob::timer(locator, fence, since))
    });
    Ok(LeaseGrant {
        jobs: jobs.collect::<Result<_, StoreError>>()?,
        oldest_left: due_time(&from_value::<String>(oldest_left.clone())?),
    })
}
