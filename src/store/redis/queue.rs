//! Jobs and lists: what spans partitions or hands out work.

use jiff::Timestamp;
use redis::Value;

use super::{
    RedisStore, key, millis,
    parse::{self, Kept, reply},
    script,
};
use crate::{
    domain::{InstanceId, Partition, time::from_millis},
    store::{
        DEAD_MEMORY, Destination, Index, JobId, LEASE, Leased, Position, Settlement, StoreError, Stored,
        archive::{DEAD_KEPT, DELIVERED_KEPT, DELIVERED_MEMORY},
    },
};

/// Destinations looked at per partition and poll.
const DESTINATIONS: usize = 64;

impl RedisStore {
    pub(super) async fn due_everywhere(&self) -> Result<Vec<(Partition, Destination)>, StoreError> {
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            let mut cmd =
                script::DUE.call(&[key::destinations(partition), key::queue(partition, &Destination::timer())]);
            cmd.arg(self.time.shift()).arg(DESTINATIONS);
            pipeline.add_command(cmd);
        }
        let values = self.connection.run_partly(&mut pipeline).await?;
        let mut due = Vec::new();
        for (partition, value) in Partition::all().zip(values) {
            let Some(value) = value else { continue };
            let mut answer: Vec<String> = reply(value)?;
            let destinations = answer.split_off(2);
            self.time.observe(answer[0].parse().unwrap_or_default());
            if answer[1] == "1" {
                due.push((0.0, (partition, Destination::timer())));
            }
            for pair in destinations.chunks_exact(2) {
                let since: f64 = pair[1].parse().unwrap_or_default();
                due.push((since, (partition, Destination(pair[0].clone()))));
            }
        }
        due.sort_by(|one, other| one.0.total_cmp(&other.0));
        Ok(due.into_iter().map(|(_, destination)| destination).collect())
    }

    pub(super) async fn lease_some(
        &self,
        partition: Partition,
        destination: &Destination,
        limit: usize,
    ) -> Result<Vec<Leased>, StoreError> {
        let mut cmd = script::LEASE.call(&[
            key::destinations(partition),
            key::queue(partition, destination),
            key::jobs(partition),
            key::hold(partition, destination),
        ]);
        cmd.arg(self.time.shift()).arg(millis(LEASE)).arg(parse::listed(destination)).arg(limit);
        // Confirmed: what a fail-over could still take back must not be acted upon.
        let answer: Vec<Value> = self.confirmed(cmd).await?;
        if let Some(now) = answer.first() {
            self.time.observe(reply(now.clone())?);
        }
        let mut leased = Vec::new();
        for row in answer.get(1..).unwrap_or_default().chunks_exact(4) {
            let [id, fence, attempts, job] = row else { continue };
            let Kept { since, instance, body, .. } = kept(reply(job.clone())?)?;
            leased.push(Leased {
                partition,
                id: JobId(reply(id.clone())?),
                instance,
                destination: destination.clone(),
                fence: reply(fence.clone())?,
                attempts: reply(attempts.clone())?,
                since,
                body,
            });
        }
        Ok(leased)
    }

    pub(super) async fn settle_one(&self, leased: &Leased, settlement: &Settlement) -> Result<bool, StoreError> {
        let (word, at, note) = match settlement {
            Settlement::Done => ("done", 0, ""),
            Settlement::Delivered => ("ended", 0, ""),
            Settlement::Retry { at, note } => ("retry", at.as_millisecond(), note.as_str()),
            Settlement::Postpone { at } => ("postpone", at.as_millisecond(), ""),
            Settlement::Dead { note } => ("ended", 0, note.as_str()),
        };
        let partition = leased.partition;
        let (ended, memory, kept) = match settlement {
            Settlement::Delivered => (key::delivered(partition, leased.instance), DELIVERED_MEMORY, DELIVERED_KEPT),
            _ => (key::dead(partition, leased.instance), DEAD_MEMORY, DEAD_KEPT),
        };
        let mut cmd = script::SETTLE.call(&[
            key::destinations(partition),
            key::queue(partition, &leased.destination),
            key::jobs(partition),
            ended,
        ]);
        cmd.arg(self.time.shift())
            .arg(parse::listed(&leased.destination))
            .arg(&leased.id.0)
            .arg(leased.fence)
            .arg(word)
            .arg(at)
            .arg(note)
            .arg(millis(memory))
            .arg(kept);
        let (now, settled): (i64, i64) = self.one(&cmd).await?;
        self.time.observe(now);
        Ok(settled == 1)
    }

    pub(super) async fn hold_everywhere(&self, destination: &Destination, until: Timestamp) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            pipeline
                .cmd("SET")
                .arg(key::hold(partition, destination))
                .arg(until.as_millisecond())
                .arg("PXAT")
                .arg(until.as_millisecond() - self.time.shift());
        }
        self.connection.run(&mut pipeline).await.map(drop)
    }

    /// A merge of all partitions' newest entries. Entries whose record is gone are skipped, so it goes on
    /// until the page is full or nothing is left.
    pub(super) async fn page(
        &self,
        index: &Index,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let bound = after.map_or("+inf".to_owned(), |position| position.created_at.as_millisecond().to_string());
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            pipeline
                .cmd("ZREVRANGEBYSCORE")
                .arg(key::index(partition, index))
                .arg(&bound)
                .arg("-inf")
                .arg("WITHSCORES");
            // Entries of the bound's own millisecond may be before it; they are few, and cut off below.
            pipeline.arg("LIMIT").arg(0).arg(limit.saturating_add(SAME_MILLISECOND));
        }
        let values = self.connection.run(&mut pipeline).await?;
        let mut entries: Vec<(i64, Partition, String)> = Vec::new();
        for (partition, value) in Partition::all().zip(values) {
            let rows: Vec<(String, f64)> = reply(value)?;
            #[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch fit a double's 53 bits")]
            entries.extend(rows.into_iter().map(|(locator, score)| (score as i64, partition, locator)));
        }
        let mut pipeline = redis::pipe();
        for (_, partition, locator) in &entries {
            pipeline.add_command(parse::read_record(&key::record(*partition, locator)));
        }
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let values = self.connection.run(&mut pipeline).await?;
        let mut found = Vec::new();
        for ((created, ..), value) in entries.into_iter().zip(values) {
            if let Some(stored) = parse::stored(reply(value)?, self.time.now())? {
                found.push((Position { created_at: from_millis(created), id: stored.id }, stored));
            }
        }
        found.retain(|(position, _)| after.is_none_or(|after| position < after));
        found.sort_by(|(a, _), (b, _)| b.cmp(a));
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, stored)| stored).collect())
    }

    pub(super) async fn replay_one(
        &self,
        instance: InstanceId,
        partition: Partition,
        id: &JobId,
    ) -> Result<bool, StoreError> {
        let job: Option<Vec<u8>> = self.one(redis::cmd("HGET").arg(key::jobs(partition)).arg(&id.0)).await?;
        let Some(job) = job else { return Ok(false) };
        let destination = kept(job)?.destination;
        let mut cmd = script::REPLAY.call(&[
            key::destinations(partition),
            key::queue(partition, &destination),
            key::jobs(partition),
            key::dead(partition, instance),
            key::delivered(partition, instance),
        ]);
        cmd.arg(self.time.shift()).arg(parse::listed(&destination)).arg(&id.0);
        cmd.arg(millis(DEAD_MEMORY)).arg(millis(DELIVERED_MEMORY));
        let (now, replayed): (i64, i64) = self.confirmed(cmd).await?;
        self.time.observe(now);
        Ok(replayed == 1)
    }
}

fn kept(job: Vec<u8>) -> Result<Kept, StoreError> {
    parse::read_job(job).ok_or_else(|| StoreError::Broken("a job without a head".to_owned()))
}

/// More records than one partition creates within one millisecond.
const SAME_MILLISECOND: usize = 64;
