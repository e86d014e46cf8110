//! Jobs: which are due, who holds a lease on them, and how they are settled.

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
        let answers = join_all(requests.iter().map(|request| self.lease_one(request))).await;
        if let Some(error) = answers.iter().find_map(|answer| answer.as_ref().err()) {
            if answers.iter().all(Result::is_err) {
                return Err(error.clone());
            }
            // The jobs that other masters have leased to us must be worked on.
            tracing::debug!(%error, "a part of the due work could not be leased");
        }
        Ok(answers.into_iter().map(Result::unwrap_or_default).collect())
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
            Settlement::Dead { note } => ("ended", 0, note.as_str()),
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

    async fn lease_one(&self, request: &LeaseRequest) -> Result<LeaseGrant, StoreError> {
        let LeaseRequest { partition, lane, limit, busy } = request;
        if *lane == Lane::timer() {
            return self.lease_timers(*partition, *limit).await;
        }
        let mut cmd = script::LEASE.call(&[
            key::lanes(*partition),
            key::queue(*partition, lane),
            key::jobs(*partition),
            key::hold(*partition, lane),
            key::leases(*partition),
        ]);
        let ids = if lane.kind().is_message() { limit + GROUP_SCAN } else { *limit };
        cmd.arg(self.time.shift()).arg(millis(LEASE_DURATION)).arg(&lane.0).arg(limit).arg(ids);
        cmd.arg(millis(MAX_HOLD)).arg(busy);
        // Confirmed: a lease that a fail-over could undo must not be acted upon.
        let answer: Vec<Value> = self.confirmed(cmd, Repeat::Same).await?;
        let [now, more, rows @ ..] = answer.as_slice() else {
            return Err(StoreError::Corrupt("lease.lua said too little".to_owned()));
        };
        self.time.observe(reply(now.clone())?);
        let mut jobs = Vec::with_capacity(rows.len() / 5);
        for row in rows.chunks_exact(5) {
            let [id, fence, attempts, lapsed, job] = row else { continue };
            let StoredJob { since, instance, body, .. } = stored_job(reply(job.clone())?)?;
            jobs.push(Leased {
                partition: *partition,
                id: JobId(reply(id.clone())?),
                instance,
                lane: lane.clone(),
                fence: reply(fence.clone())?,
                attempts: reply(attempts.clone())?,
                lapsed: reply(lapsed.clone())?,
                since,
                body,
            });
        }
        Ok(LeaseGrant { jobs, more: due_time(&reply::<String>(more.clone())?) })
    }

    async fn lease_timers(&self, partition: Partition, limit: usize) -> Result<LeaseGrant, StoreError> {
        let mut cmd = script::LEASE_TIMERS.call(&[key::timers(partition), key::leases(partition)]);
        cmd.arg(self.time.shift()).arg(millis(LEASE_DURATION)).arg(limit).arg(TIMER);
        // Not confirmed: a timer that fires twice does no harm.
        let answer: Vec<Value> = self.one(&cmd).await?;
        let [now, more, fence, rows @ ..] = answer.as_slice() else {
            return Err(StoreError::Corrupt("lease_timers.lua said too little".to_owned()));
        };
        self.time.observe(reply(now.clone())?);
        let fence: u64 = reply(fence.clone())?;
        let (rows, _) = rows.as_chunks::<2>();
        let jobs = rows.iter().map(|[locator, due]| {
            let bytes: Vec<u8> = reply(locator.clone())?;
            let locator =
                Locator::from_slice(&bytes).ok_or_else(|| StoreError::Corrupt("a timer of nothing".to_owned()))?;
            let since = due_time(&reply::<String>(due.clone())?).unwrap_or_default();
            Ok(Leased::timer(locator, fence, since))
        });
        Ok(LeaseGrant {
            jobs: jobs.collect::<Result<_, StoreError>>()?,
            more: due_time(&reply::<String>(more.clone())?),
        })
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

/// A score in milliseconds; `0` means none.
fn due_time(score: &str) -> Option<Timestamp> {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch fit a double's 53 bits")]
    let millis = score.parse::<f64>().unwrap_or_default() as i64;
    (millis != 0).then(|| from_millis(millis))
}

fn stored_job(job: Vec<u8>) -> Result<StoredJob, StoreError> {
    parse::read_job(job).ok_or_else(|| StoreError::Corrupt("a job without a head".to_owned()))
}
