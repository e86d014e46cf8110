//! Lists the jobs of an instance, page by page.

use redis::Value;

use super::{
    RedisStore, key,
    leases::Lease,
    parse::{StoredJob, from_value, score_millis},
};
use crate::{
    domain::{InstanceId, Partition},
    store::{
        Lane, LaneKind, StoreError,
        archive::{JobCursor, JobState},
    },
};

/// Lanes read per partition.
const MAX_LANES: usize = 1_000;
/// Jobs of one queue with the same millisecond that pagination can still tell apart.
const MAX_TIES: usize = 1_000;
/// Leases read per partition: more than workers can hold there.
const MAX_LEASES: usize = 1_000;

/// The position of a job in the listing, before the job itself is read.
pub(super) struct JobPosition {
    pub(super) partition: Partition,
    pub(super) id: String,
    pub(super) at: i64,
}

impl JobPosition {
    /// The order of a sorted set in Redis, then of partitions.
    fn order(&self) -> (i64, u8, &str) {
        (self.at, self.partition.index(), &self.id)
    }
}

impl RedisStore {
    /// The positions strictly after `mark`, in display order.
    pub(super) async fn job_positions(
        &self,
        instance: InstanceId,
        state: JobState,
        cursor: Option<&JobCursor>,
        limit: usize,
    ) -> Result<Vec<JobPosition>, StoreError> {
        let mut positions = match state {
            JobState::Waiting => self.waiting_positions(instance, cursor, limit).await?,
            JobState::Delivered | JobState::Dead => self.ended_positions(instance, state, cursor, limit).await?,
        };
        positions.sort_by(|one, other| one.order().cmp(&other.order()));
        if state != JobState::Waiting {
            positions.reverse();
        }
        if let Some(cursor) = cursor {
            let last = (cursor.at.as_millisecond(), cursor.partition.index(), cursor.id.0.as_str());
            positions.retain(|position| match state {
                JobState::Waiting => position.order() > last,
                JobState::Delivered | JobState::Dead => position.order() < last,
            });
        }
        positions.truncate(limit);
        Ok(positions)
    }

    async fn ended_positions(
        &self,
        instance: InstanceId,
        state: JobState,
        cursor: Option<&JobCursor>,
        limit: usize,
    ) -> Result<Vec<JobPosition>, StoreError> {
        let over = self.retention_start(state).as_millisecond();
        let newest = cursor.map_or_else(|| "+inf".to_owned(), |cursor| cursor.at.as_millisecond().to_string());
        let limit = with_ties(cursor, limit);
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            let set = ended_set(partition, instance, state);
            pipeline.cmd("ZREVRANGEBYSCORE").arg(set).arg(&newest).arg(format!("({over}")).arg("WITHSCORES");
            pipeline.arg("LIMIT").arg(0).arg(limit);
        }
        let values = self.connection.run(&mut pipeline).await?;
        read_positions(Partition::all().zip(values))
    }

    async fn waiting_positions(
        &self,
        instance: InstanceId,
        cursor: Option<&JobCursor>,
        limit: usize,
    ) -> Result<Vec<JobPosition>, StoreError> {
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            pipeline.cmd("ZRANGE").arg(key::lanes(partition)).arg(0).arg(MAX_LANES);
        }
        let mut queues = Vec::new();
        for (partition, value) in Partition::all().zip(self.connection.run(&mut pipeline).await?) {
            let lanes = from_value::<Vec<String>>(value)?.into_iter().map(Lane);
            let ours = |lane: &Lane| lane.kind() == LaneKind::Callbacks && lane.instance() == Some(instance);
            queues.extend(lanes.filter(ours).map(|lane| (partition, lane)));
        }
        let first = cursor.map_or_else(|| "-inf".to_owned(), |cursor| cursor.at.as_millisecond().to_string());
        let limit = with_ties(cursor, limit);
        let mut pipeline = redis::pipe();
        for (partition, lane) in &queues {
            pipeline.cmd("ZRANGEBYSCORE").arg(key::queue(*partition, lane)).arg(&first).arg("+inf");
            pipeline.arg("WITHSCORES").arg("LIMIT").arg(0).arg(limit);
        }
        let values = self.connection.run(&mut pipeline).await?;
        let mut waiting = read_positions(queues.into_iter().map(|(partition, _)| partition).zip(values))?;
        let ours = |kept: &StoredJob| kept.lane.kind() == LaneKind::Callbacks && kept.lane.instance() == Some(instance);
        for Lease { partition, end, job } in self.leases(&first, MAX_LEASES).await? {
            waiting.extend(job.filter(|(_, kept)| ours(kept)).map(|(id, _)| JobPosition { partition, id, at: end }));
        }
        Ok(waiting)
    }
}

/// Jobs with the same time as `mark` are read again.
fn with_ties(cursor: Option<&JobCursor>, limit: usize) -> usize {
    if cursor.is_some() { limit + MAX_TIES } else { limit }
}

pub(super) fn ended_set(partition: Partition, instance: InstanceId, state: JobState) -> String {
    match state {
        JobState::Delivered => key::delivered(partition, instance),
        JobState::Waiting | JobState::Dead => key::dead(partition, instance),
    }
}

fn read_positions(values: impl Iterator<Item = (Partition, Value)>) -> Result<Vec<JobPosition>, StoreError> {
    let mut positions = Vec::new();
    for (partition, value) in values {
        let rows: Vec<(String, f64)> = from_value(value)?;
        positions.extend(rows.into_iter().map(|(id, score)| JobPosition { partition, id, at: score_millis(score) }));
    }
    Ok(positions)
}
