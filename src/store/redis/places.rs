//! Where the jobs of an instance stand, page by page.

use redis::Value;

use super::{
    RedisStore, key,
    leases::Lease,
    parse::{Kept, reply},
};
use crate::{
    domain::{InstanceId, Partition},
    store::{
        Lane, LaneKind, StoreError,
        archive::{Mark, Standing},
    },
};

/// Lanes looked at per partition.
const LANES: usize = 1_000;
/// Jobs of one queue that may have the same time, to the millisecond, and still be told apart by pages.
const TIES: usize = 1_000;
/// Leases looked at per partition: more than workers have in hand there.
const IN_HAND: usize = 1_000;

/// A job's place, before it is read.
pub(super) struct Place {
    pub(super) partition: Partition,
    pub(super) id: String,
    pub(super) at: i64,
}

impl Place {
    /// As Redis orders one set, and then by partition.
    fn order(&self) -> (i64, u8, &str) {
        (self.at, self.partition.index(), &self.id)
    }
}

impl RedisStore {
    /// Strictly after `mark`, in the order in which they are shown.
    pub(super) async fn places(
        &self,
        instance: InstanceId,
        standing: Standing,
        mark: Option<&Mark>,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        let mut places = match standing {
            Standing::Waiting => self.on_their_way(instance, mark, limit).await?,
            Standing::Delivered | Standing::Dead => self.ended(instance, standing, mark, limit).await?,
        };
        places.sort_by(|one, other| one.order().cmp(&other.order()));
        if standing != Standing::Waiting {
            places.reverse();
        }
        if let Some(mark) = mark {
            let last = (mark.at.as_millisecond(), mark.partition.index(), mark.id.0.as_str());
            places.retain(|place| match standing {
                Standing::Waiting => place.order() > last,
                Standing::Delivered | Standing::Dead => place.order() < last,
            });
        }
        places.truncate(limit);
        Ok(places)
    }

    async fn ended(
        &self,
        instance: InstanceId,
        standing: Standing,
        mark: Option<&Mark>,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        let over = self.forgotten(standing).as_millisecond();
        let newest = mark.map_or_else(|| "+inf".to_owned(), |mark| mark.at.as_millisecond().to_string());
        let limit = with_ties(mark, limit);
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            let set = ended_set(partition, instance, standing);
            pipeline.cmd("ZREVRANGEBYSCORE").arg(set).arg(&newest).arg(format!("({over}")).arg("WITHSCORES");
            pipeline.arg("LIMIT").arg(0).arg(limit);
        }
        let values = self.connection.run(&mut pipeline).await?;
        places(Partition::all().zip(values))
    }

    async fn on_their_way(
        &self,
        instance: InstanceId,
        mark: Option<&Mark>,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            pipeline.cmd("ZRANGE").arg(key::lanes(partition)).arg(0).arg(LANES);
        }
        let mut queues = Vec::new();
        for (partition, value) in Partition::all().zip(self.connection.run(&mut pipeline).await?) {
            let lanes = reply::<Vec<String>>(value)?.into_iter().map(Lane);
            let ours = |lane: &Lane| lane.kind() == LaneKind::Callbacks && lane.instance() == Some(instance);
            queues.extend(lanes.filter(ours).map(|lane| (partition, lane)));
        }
        let first = mark.map_or_else(|| "-inf".to_owned(), |mark| mark.at.as_millisecond().to_string());
        let limit = with_ties(mark, limit);
        let mut pipeline = redis::pipe();
        for (partition, lane) in &queues {
            pipeline.cmd("ZRANGEBYSCORE").arg(key::queue(*partition, lane)).arg(&first).arg("+inf");
            pipeline.arg("WITHSCORES").arg("LIMIT").arg(0).arg(limit);
        }
        let values = self.connection.run(&mut pipeline).await?;
        let mut waiting = places(queues.into_iter().map(|(partition, _)| partition).zip(values))?;
        let ours = |kept: &Kept| kept.lane.kind() == LaneKind::Callbacks && kept.lane.instance() == Some(instance);
        for Lease { partition, end, job } in self.leases(&first, IN_HAND).await? {
            waiting.extend(job.filter(|(_, kept)| ours(kept)).map(|(id, _)| Place { partition, id, at: end }));
        }
        Ok(waiting)
    }
}

/// What has the time of the mark itself is read again.
fn with_ties(mark: Option<&Mark>, limit: usize) -> usize {
    if mark.is_some() { limit + TIES } else { limit }
}

pub(super) fn ended_set(partition: Partition, instance: InstanceId, standing: Standing) -> String {
    match standing {
        Standing::Delivered => key::delivered(partition, instance),
        Standing::Waiting | Standing::Dead => key::dead(partition, instance),
    }
}

fn places(values: impl Iterator<Item = (Partition, Value)>) -> Result<Vec<Place>, StoreError> {
    let mut places = Vec::new();
    for (partition, value) in values {
        let rows: Vec<(String, f64)> = reply(value)?;
        places.extend(rows.into_iter().map(|(id, score)| Place { partition, id, at: score_millis(score) }));
    }
    Ok(places)
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch fit a double's 53 bits")]
pub(super) fn score_millis(score: f64) -> i64 {
    score as i64
}
