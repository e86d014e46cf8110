//! Jobs: listing lanes with due jobs, settling, holding lanes and replaying. Leasing is in [`super::leasing`].

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    RedisStore, key,
    leases::TIMER,
    millis,
    parse::{self, StoredJob, from_value, too_few_values},
    retries::ResendPolicy,
    script,
};
use crate::{
    domain::{InstanceId, Partition, time::from_millis},
    store::{
        DEAD_RETENTION, DueLane, JobId, Jobs, Lane, LeaseGrant, LeaseRequest, LeasedJob, MAX_LEASE, Settlement,
        StoreError,
        archive::{DELIVERED_RETENTION, MAX_DEAD_JOBS, MAX_DELIVERED_JOBS},
        backlog::HOLD_RETENTION,
    },
};

/// Maximum number of lanes read per partition and poll.
const MAX_LANES_PER_POLL: usize = 256;

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
        self.lease_all(requests).await
    }

    async fn settle(&self, leased: &LeasedJob, settlement: &Settlement) -> Result<bool, StoreError> {
        if leased.lane == Lane::timer() {
            return self.settle_timer(leased, settlement).await;
        }
        let (action, at, note) = match settlement {
            Settlement::Done => ("done", 0, ""),
            Settlement::Delivered => ("ended", 0, ""),
            Settlement::Retry { at, note } => ("retry", at.as_millisecond(), note.as_str()),
            Settlement::Postpone { at } => ("postpone", at.as_millisecond(), ""),
            Settlement::Dead { note, .. } => ("ended", 0, note.as_str()),
        };
        let partition = leased.partition;
        let (ended, retention, max_archived) = match settlement {
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
        cmd.arg(self.time.test_offset_millis())
            .arg(&leased.lane.0)
            .arg(&leased.id.0)
            .arg(leased.fence)
            .arg(action)
            .arg(at)
            .arg(note)
            .arg(millis(retention))
            .arg(max_archived);
        let (now, settled): (i64, i64) = from_value(self.connection.write(cmd, ResendPolicy::Marked).await?)?;
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
                .arg(until.as_millisecond() + millis(HOLD_RETENTION) - self.time.test_offset_millis());
            if over {
                // A held lane is listed with the end of its hold. The next lease corrects the due time.
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
        cmd.arg(self.time.test_offset_millis()).arg(&lane.0).arg(&id.0);
        cmd.arg(millis(DEAD_RETENTION)).arg(millis(DELIVERED_RETENTION));
        let (now, replayed): (i64, i64) = self.write_confirmed(cmd, ResendPolicy::Never).await?;
        self.time.observe(now);
        Ok(replayed == 1)
    }
}

impl RedisStore {
    /// Lanes with due jobs, and partitions with expired leases. Unreachable partitions are left out.
    async fn due_lanes(&self) -> Result<(Vec<DueLane>, Vec<Partition>), StoreError> {
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            let mut cmd = script::DUE.call(&[key::lanes(partition), key::timers(partition), key::leases(partition)]);
            cmd.arg(self.time.test_offset_millis()).arg(MAX_LANES_PER_POLL).arg(millis(MAX_LEASE));
            pipeline.add_command(cmd);
        }
        let values = self.connection.run_best_effort(&mut pipeline).await?;
        let (mut due, mut lapsed) = (Vec::new(), Vec::new());
        for (partition, value) in Partition::all().zip(values) {
            let Some(value) = value else { continue };
            let answer: Vec<String> = from_value(value)?;
            let [now, leases_expired, timers, lanes @ ..] = answer.as_slice() else {
                return Err(too_few_values("due.lua"));
            };
            let now = now.parse().map_err(|_| StoreError::Corrupt("due.lua returned no time".to_owned()))?;
            self.time.observe(now);
            if leases_expired == "1" {
                lapsed.push(partition);
            }
            let timers = (&Lane::timer().0, timers);
            let lanes = lanes.chunks_exact(2).map(|pair| (&pair[0], &pair[1]));
            for (lane, score) in std::iter::once(timers).chain(lanes) {
                if let Some(since) = due_time(score) {
                    due.push(DueLane { partition, lane: Lane(lane.clone()), since });
                }
            }
        }
        Ok((due, lapsed))
    }

    async fn settle_timer(&self, leased: &LeasedJob, settlement: &Settlement) -> Result<bool, StoreError> {
        let at = match settlement {
            Settlement::Retry { at, .. } | Settlement::Postpone { at } => at.as_millisecond(),
            Settlement::Done | Settlement::Delivered | Settlement::Dead { .. } => 0,
        };
        let mut cmd = script::SETTLE_TIMER.call(&[key::timers(leased.partition), key::leases(leased.partition)]);
        cmd.arg(&leased.body).arg(leased.fence).arg(at).arg(TIMER);
        self.one::<i64>(&cmd).await.map(|_| true)
    }
}

/// Parses a score in milliseconds since the epoch. `None` if it is `0`, which stands for no due time.
pub(super) fn due_time(score: &str) -> Option<Timestamp> {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch fit a double's 53 bits")]
    let millis = score.parse::<f64>().unwrap_or_default() as i64;
    (millis != 0).then(|| from_millis(millis))
}

pub(super) fn stored_job(job: Vec<u8>) -> Result<StoredJob, StoreError> {
    parse::parse_job(job).ok_or_else(|| StoreError::Corrupt("a stored job has no valid header".to_owned()))
}
