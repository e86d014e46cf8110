//! Jobs: which are due, who holds a lease on them, and how they are settled.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::Timestamp;
use redis::Value;

use super::{
    RedisStore,
    connection::Repeat,
    key,
    leases::TIMER,
    millis,
    parse::{self, StoredJob, reply},
    script,
};
use crate::{
    domain::{InstanceId, Partition, time::from_millis},
    store::{
        DEAD_RETENTION, DueLane, GROUP_SCAN, JobId, Jobs, LEASE_DURATION, Lane, LeaseGrant, LeaseRequest, Leased,
        Locator, MAX_HOLD, MAX_LEASE, Settlement, StoreError,
        archive::{DELIVERED_RETENTION, MAX_DEAD_JOBS, MAX_DELIVERED_JOBS},
        backlog::HOLD_RETENTION,
    },
};

/// Lanes read per partition and poll.
const MAX_LANES: usize = 256;
/// Queues that one script leases from.
const MAX_QUEUES: usize = 64;

#[async_trait]
impl Jobs for RedisStore {
    async fn due(&self) -> Result<Vec<DueLane>, StoreError> {
        let (mut due, lapsed) = self.due_lanes().await?;
        if !lapsed.is_empty() {
            self.reclaim(&lapsed).await?;
            (due, _) = self.due_lanes().await?;
        }
        due.sort_by_key(|due| due.since);
        Ok(due)
    }

    async fn lease(&self, requests: &[LeaseRequest]) -> Result<Vec<LeaseGrant>, StoreError> {
        let batches = self.batches(requests);
        let answers = join_all(batches.iter().map(async |batch| {
            if batch[0].1.lane == Lane::timer() { self.lease_timers(batch).await } else { self.lease_jobs(batch).await }
        }))
        .await;
        let mut granted = vec![LeaseGrant::default(); requests.len()];
        let all_failed = answers.iter().all(Result::is_err);
        for (batch, answer) in batches.iter().zip(answers) {
            match answer {
                Ok(answers) => batch.iter().zip(answers).for_each(|((place, _), answer)| granted[*place] = answer),
                Err(error) if all_failed => return Err(error),
                // The jobs that other masters have leased to us must be worked on.
                Err(error) => tracing::debug!(%error, "a part of the due work could not be leased"),
            }
        }
        Ok(granted)
    }

    async fn settle(&self, leased: &Leased, settlement: &Settlement) -> Result<bool, StoreError> {
        if leased.lane == Lane::timer() {
            return self.settle_timer(leased, settlement).await;
        }
        let (word, at, note) = match settlement {
            Settlement::Done => ("done", 0, ""),
            Settlement::Delivered => ("ended", 0, ""),
            Settlement::Retry { at, note } => ("retry", at.as_millisecond(), note.as_str()),
            Settlement::Postpone { at } => ("postpone", at.as_millisecond(), ""),
            Settlement::Dead { note, .. } => ("ended", 0, note.as_str()),
        };
        let partition = leased.partition;
        let (ended, memory, kept) = match settlement {
            Settlement::Delivered => {
                (key::delivered(partition, leased.instance), DELIVERED_RETENTION, MAX_DELIVERED_JOBS)
            }
            _ => (key::dead(partition, leased.instance), DEAD_RETENTION, MAX_DEAD_JOBS),
        };
        let mut cmd = script::SETTLE.call(&[
            key::lanes(partition),
            key::queue(partition, &leased.lane),
            key::jobs(partition),
            key::leases(partition),
            ended,
        ]);
        cmd.arg(self.time.shift())
            .arg(&leased.lane.0)
            .arg(&leased.id.0)
            .arg(leased.fence)
            .arg(word)
            .arg(at)
            .arg(note)
            .arg(millis(memory))
            .arg(kept);
        let (now, settled): (i64, i64) = self.one(&cmd).await?;
        if now > 0 {
            self.time.observe(now);
        }
        Ok(settled == 1)
    }

    async fn hold(&self, lane: &Lane, until: Timestamp) -> Result<(), StoreError> {
        let now = self.time.now();
        let over = until <= now;
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            pipeline
                .cmd("SET")
                .arg(key::hold(partition, lane))
                .arg(until.as_millisecond())
                .arg("PXAT")
                .arg(until.as_millisecond() + millis(HOLD_RETENTION) - self.time.shift());
            if over {
                // Listed at the end of the hold; the next lease reports its real due time.
                let mut listed = redis::cmd("ZADD");
                listed.arg(key::lanes(partition)).arg("XX").arg("LT").arg(now.as_millisecond()).arg(&lane.0);
                pipeline.add_command(listed);
            }
        }
        self.connection.run(&mut pipeline).await.map(drop)
    }

    async fn replay(&self, instance: InstanceId, partition: Partition, id: &JobId) -> Result<bool, StoreError> {
        let job: Option<Vec<u8>> = self.one(redis::cmd("HGET").arg(key::jobs(partition)).arg(&id.0)).await?;
        let Some(job) = job else { return Ok(false) };
        let lane = stored_job(job)?.lane;
        let mut cmd = script::REPLAY.call(&[
            key::lanes(partition),
            key::queue(partition, &lane),
            key::jobs(partition),
            key::dead(partition, instance),
            key::delivered(partition, instance),
        ]);
        cmd.arg(self.time.shift()).arg(&lane.0).arg(&id.0);
        cmd.arg(millis(DEAD_RETENTION)).arg(millis(DELIVERED_RETENTION));
        let (now, replayed): (i64, i64) = self.confirmed(cmd, Repeat::Never).await?;
        self.time.observe(now);
        Ok(replayed == 1)
    }
}

impl RedisStore {
    /// Lanes with due work, and partitions with expired leases.
    async fn due_lanes(&self) -> Result<(Vec<DueLane>, Vec<Partition>), StoreError> {
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            let mut cmd = script::DUE.call(&[key::lanes(partition), key::timers(partition), key::leases(partition)]);
            cmd.arg(self.time.shift()).arg(MAX_LANES).arg(millis(MAX_LEASE));
            pipeline.add_command(cmd);
        }
        let values = self.connection.run_partly(&mut pipeline).await?;
        let (mut due, mut lapsed) = (Vec::new(), Vec::new());
        for (partition, value) in Partition::all().zip(values) {
            let Some(value) = value else { continue };
            let mut answer: Vec<String> = reply(value)?;
            let lanes = answer.split_off(3);
            self.time.observe(answer[0].parse().unwrap_or_default());
            if answer[1] == "1" {
                lapsed.push(partition);
            }
            let timers = (&Lane::timer().0, &answer[2]);
            let lanes = lanes.chunks_exact(2).map(|pair| (&pair[0], &pair[1]));
            for (lane, score) in std::iter::once(timers).chain(lanes) {
                if let Some(since) = due_time(score) {
                    due.push(DueLane { partition, lane: Lane(lane.clone()), since });
                }
            }
        }
        Ok((due, lapsed))
    }

    /// Requests that one script answers, with their places: those of one lane stand together.
    fn batches<'a>(&self, requests: &'a [LeaseRequest]) -> Vec<Vec<(usize, &'a LeaseRequest)>> {
        let apart = self.connection.has_many_masters();
        let mut batches: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (place, request) in requests.iter().enumerate() {
            let partition = apart.then_some(request.partition);
            batches.entry((request.lane == Lane::timer(), partition)).or_default().push((place, request));
        }
        let sorted = batches.into_values().map(|mut batch| {
            batch.sort_by_key(|(_, request)| &request.lane);
            batch
        });
        sorted.flat_map(|batch| batch.chunks(MAX_QUEUES).map(<[_]>::to_vec).collect::<Vec<_>>()).collect()
    }

    async fn lease_jobs(&self, batch: &[(usize, &LeaseRequest)]) -> Result<Vec<LeaseGrant>, StoreError> {
        let keys: Vec<String> = batch
            .iter()
            .flat_map(|(_, LeaseRequest { partition, lane, .. })| {
                [
                    key::lanes(*partition),
                    key::queue(*partition, lane),
                    key::jobs(*partition),
                    key::hold(*partition, lane),
                    key::leases(*partition),
                ]
            })
            .collect();
        let mut cmd = script::LEASE.call(&keys);
        cmd.arg(self.time.shift()).arg(millis(LEASE_DURATION)).arg(millis(MAX_HOLD)).arg(GROUP_SCAN);
        for lane in batch.chunk_by(|(_, one), (_, next)| one.lane == next.lane) {
            let (_, LeaseRequest { lane: name, busy, .. }) = lane[0];
            cmd.arg(&name.0).arg(busy.len()).arg(&busy[..]).arg(lane.len());
            for (_, request) in lane {
                cmd.arg(request.limit);
            }
        }
        // Confirmed: a lease that a fail-over could undo must not be acted upon.
        let answer: Vec<Value> = self.confirmed(cmd, Repeat::Same).await?;
        let [now, queues @ ..] = answer.as_slice() else { return Err(too_little("lease.lua")) };
        self.time.observe(reply(now.clone())?);
        batch.iter().zip(queues).map(|((_, request), queue)| leased(request, queue)).collect()
    }

    async fn lease_timers(&self, batch: &[(usize, &LeaseRequest)]) -> Result<Vec<LeaseGrant>, StoreError> {
        let sets = batch.iter().map(|(_, request)| request.partition);
        let keys: Vec<String> = sets.flat_map(|partition| [key::timers(partition), key::leases(partition)]).collect();
        let mut cmd = script::LEASE_TIMERS.call(&keys);
        cmd.arg(self.time.shift()).arg(millis(LEASE_DURATION)).arg(TIMER);
        for (_, request) in batch {
            cmd.arg(request.limit);
        }
        // Not confirmed: a timer that fires twice does no harm.
        let answer: Vec<Value> = self.one(&cmd).await?;
        let [now, fence, sets @ ..] = answer.as_slice() else { return Err(too_little("lease_timers.lua")) };
        self.time.observe(reply(now.clone())?);
        let fence: u64 = reply(fence.clone())?;
        sets.iter().map(|set| rung(fence, set)).collect()
    }

    async fn settle_timer(&self, leased: &Leased, settlement: &Settlement) -> Result<bool, StoreError> {
        let at = match settlement {
            Settlement::Retry { at, .. } | Settlement::Postpone { at } => at.as_millisecond(),
            Settlement::Done | Settlement::Delivered | Settlement::Dead { .. } => 0,
        };
        let mut cmd = script::SETTLE_TIMER.call(&[key::timers(leased.partition), key::leases(leased.partition)]);
        cmd.arg(&leased.body).arg(leased.fence).arg(at).arg(TIMER);
        self.one::<i64>(&cmd).await.map(|_| true)
    }
}

/// As `lease.lua` answers for one queue.
fn leased(request: &LeaseRequest, queue: &Value) -> Result<LeaseGrant, StoreError> {
    let Value::Array(queue) = queue else { return Err(too_little("lease.lua")) };
    let [more, rows @ ..] = queue.as_slice() else { return Err(too_little("lease.lua")) };
    let (rows, _) = rows.as_chunks::<5>();
    let jobs = rows.iter().map(|[id, fence, attempts, lapsed, job]| {
        let StoredJob { since, instance, body, .. } = stored_job(reply(job.clone())?)?;
        Ok(Leased {
            partition: request.partition,
            id: JobId(reply(id.clone())?),
            instance,
            lane: request.lane.clone(),
            fence: reply(fence.clone())?,
            attempts: reply(attempts.clone())?,
            lapsed: reply(lapsed.clone())?,
            since,
            body,
        })
    });
    Ok(LeaseGrant { jobs: jobs.collect::<Result<_, StoreError>>()?, more: due_time(&reply::<String>(more.clone())?) })
}

/// As `lease_timers.lua` answers for one set of timers.
fn rung(fence: u64, set: &Value) -> Result<LeaseGrant, StoreError> {
    let Value::Array(set) = set else { return Err(too_little("lease_timers.lua")) };
    let [more, rows @ ..] = set.as_slice() else { return Err(too_little("lease_timers.lua")) };
    let (rows, _) = rows.as_chunks::<2>();
    let jobs = rows.iter().map(|[locator, due]| {
        let bytes: Vec<u8> = reply(locator.clone())?;
        let locator =
            Locator::from_slice(&bytes).ok_or_else(|| StoreError::Corrupt("a timer of nothing".to_owned()))?;
        let since = due_time(&reply::<String>(due.clone())?).unwrap_or_default();
        Ok(Leased::timer(locator, fence, since))
    });
    Ok(LeaseGrant { jobs: jobs.collect::<Result<_, StoreError>>()?, more: due_time(&reply::<String>(more.clone())?) })
}

fn too_little(script: &str) -> StoreError {
    StoreError::Corrupt(format!("{script} returned too few values"))
}

/// A score in milliseconds; `0` stands for none.
fn due_time(score: &str) -> Option<Timestamp> {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch fit a double's 53 bits")]
    let millis = score.parse::<f64>().unwrap_or_default() as i64;
    (millis != 0).then(|| from_millis(millis))
}

fn stored_job(job: Vec<u8>) -> Result<StoredJob, StoreError> {
    parse::read_job(job).ok_or_else(|| StoreError::Corrupt("a job without a head".to_owned()))
}
