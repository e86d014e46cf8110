//! Lists of jobs, the message log, and removal.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use redis::{Cmd, Value};

use super::{
    RedisStore,
    job_positions::{JobPosition, ended_set},
    key, leases, millis,
    parse::{self, StoredJob, from_value, score_millis},
    retries::ResendPolicy,
    script,
};
use crate::{
    domain::{InstanceId, Partition, time::from_millis},
    store::{
        DEAD_RETENTION, JobId, StoreError,
        archive::{
            Archive, DELIVERED_RETENTION, JobCursor, JobInfo, JobState, LOG_RETENTION, LogEntry, LogStream,
            MAX_LOG_ENTRIES, Removal,
        },
    },
};

/// Jobs purged per partition in one go.
const MAX_PURGED: usize = 500;

#[async_trait]
impl Archive for RedisStore {
    async fn jobs_after(
        &self,
        instance: InstanceId,
        state: JobState,
        cursor: Option<&JobCursor>,
        limit: usize,
    ) -> Result<Vec<JobInfo>, StoreError> {
        let positions = self.job_positions(instance, state, cursor, limit).await?;
        let mut pipeline = redis::Pipeline::with_capacity(positions.len());
        for position in &positions {
            pipeline.add_command(read_job(position.partition, &position.id));
        }
        let values = self.connection.run(&mut pipeline).await?;
        let mut jobs = Vec::with_capacity(positions.len());
        for (position, value) in positions.into_iter().zip(values) {
            // Deleted since it was listed, or incomplete.
            let job = known(position, state, from_value(value)?).filter(|(_, of)| *of == instance);
            jobs.extend(job.map(|(job, _)| job));
        }
        Ok(jobs)
    }

    async fn job(&self, instance: InstanceId, partition: Partition, id: &JobId) -> Result<Option<JobInfo>, StoreError> {
        let fields: JobFields = self.one(&read_job(partition, &id.0)).await?;
        let Some(StoredJob { instance: of, lane, .. }) = fields.0.clone().and_then(parse::parse_job) else {
            return Ok(None);
        };
        let lease = leases::of_job(&id.0, fence_of(fields.1.as_deref()));
        let sets = [
            (JobState::Waiting, key::queue(partition, &lane), &id.0),
            (JobState::Waiting, key::leases(partition), &lease),
            (JobState::Delivered, key::delivered(partition, of), &id.0),
            (JobState::Dead, key::dead(partition, of), &id.0),
        ];
        let mut pipeline = redis::pipe();
        for (_, set, member) in &sets {
            pipeline.cmd("ZSCORE").arg(set).arg(member);
        }
        let values = self.connection.run(&mut pipeline).await?;
        for ((state, ..), value) in sets.into_iter().zip(values) {
            let Some(score) = from_value::<Option<f64>>(value)? else { continue };
            let position = JobPosition { partition, id: id.0.clone(), at: score_millis(score) };
            let alive = from_millis(position.at) > self.retention_start(state);
            return Ok(known(position, state, fields).filter(|(_, of)| *of == instance && alive).map(|(job, _)| job));
        }
        Ok(None)
    }

    async fn purge(&self, instance: InstanceId) -> Result<(), StoreError> {
        for state in [JobState::Delivered, JobState::Dead] {
            let over = self.retention_start(state).as_millisecond();
            let mut pipeline = redis::pipe();
            for partition in Partition::all() {
                let set = ended_set(partition, instance, state);
                pipeline.cmd("ZRANGEBYSCORE").arg(set).arg("-inf").arg(over).arg("LIMIT").arg(0).arg(MAX_PURGED);
            }
            let values = self.connection.run(&mut pipeline).await?;
            // Expired jobs cannot be replayed, so this cannot race with a replay.
            let mut pipeline = redis::pipe();
            for (partition, value) in Partition::all().zip(values) {
                for id in from_value::<Vec<String>>(value)? {
                    pipeline.cmd("ZREM").arg(ended_set(partition, instance, state)).arg(&id);
                    pipeline.cmd("HDEL").arg(key::jobs(partition)).arg(fields_of(&id).as_slice());
                }
            }
            self.connection.run(&mut pipeline).await?;
        }
        Ok(())
    }

    async fn append_log(&self, notes: &[LogEntry]) -> Result<(), StoreError> {
        let now = self.time.now().as_millisecond();
        let mut pipeline = redis::pipe();
        let last = -1 - i64::try_from(MAX_LOG_ENTRIES).unwrap_or(i64::MAX);
        let mut journals: BTreeMap<String, Vec<(usize, &[u8])>> = BTreeMap::new();
        for (index, note) in notes.iter().enumerate() {
            journals.entry(key::journal(note.partition, &note.stream)).or_default().push((index, &note.bytes));
        }
        for (journal, notes) in journals {
            pipeline.cmd("ZADD").arg(&journal);
            for (index, bytes) in notes {
                // The fraction keeps their order: a score in milliseconds resolves 1/4096.
                pipeline.arg(format!("{now}.{:03}", index.min(999))).arg(bytes);
            }
            pipeline.cmd("ZREMRANGEBYSCORE").arg(&journal).arg("-inf").arg(now - millis(LOG_RETENTION));
            pipeline.cmd("ZREMRANGEBYRANK").arg(&journal).arg(0).arg(last);
            pipeline.cmd("PEXPIRE").arg(&journal).arg(millis(LOG_RETENTION));
        }
        self.connection.run(&mut pipeline).await.map(drop)
    }

    async fn read_log(&self, journal: &LogStream, limit: usize) -> Result<Vec<(Timestamp, LogEntry)>, StoreError> {
        let oldest = self.time.now().as_millisecond() - millis(LOG_RETENTION);
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            let name = key::journal(partition, journal);
            pipeline.cmd("ZREVRANGEBYSCORE").arg(name).arg("+inf").arg(format!("({oldest}")).arg("WITHSCORES");
            pipeline.arg("LIMIT").arg(0).arg(limit);
        }
        let values = self.connection.run(&mut pipeline).await?;
        let mut notes = Vec::new();
        for (partition, value) in Partition::all().zip(values) {
            let rows: Vec<(Vec<u8>, f64)> = from_value(value)?;
            let note = |bytes| LogEntry { partition, stream: journal.clone(), bytes };
            notes.extend(rows.into_iter().map(|(bytes, score)| (score, note(bytes))));
        }
        notes.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        notes.truncate(limit);
        Ok(notes.into_iter().map(|(score, note)| (from_millis(score_millis(score)), note)).collect())
    }

    async fn remove(&self, removal: &Removal) -> Result<(), StoreError> {
        let Removal { partition, instance, .. } = *removal;
        let mut keys = vec![
            key::jobs(partition),
            key::dead(partition, instance),
            key::delivered(partition, instance),
            key::timers(partition),
            key::leases(partition),
        ];
        keys.extend(removal.lanes.iter().map(|lane| key::queue(partition, lane)));
        if let Some((id, indexes)) = &removal.record {
            keys.push(key::record(id.locator()));
            keys.extend(indexes.iter().map(|index| key::index(partition, index)));
        }
        let mut cmd = script::REMOVE.call(&keys);
        match &removal.record {
            Some((id, _)) => cmd.arg(id.locator().as_bytes()).arg(&id.head()),
            None => cmd.arg("").arg(""),
        };
        cmd.arg(removal.lanes.len()).arg(removal.groups.len()).arg(&removal.groups);
        for id in &removal.jobs {
            cmd.arg(&id.0);
        }
        self.write_confirmed::<Value>(cmd, ResendPolicy::Same).await?;
        let mut pipeline = redis::pipe();
        for (journal, bytes) in &removal.log_entries {
            pipeline.cmd("ZREM").arg(key::journal(partition, journal)).arg(bytes);
        }
        self.connection.run(&mut pipeline).await.map(drop)
    }
}

impl RedisStore {
    /// Jobs that ended before this are no longer listed.
    pub(super) fn retention_start(&self, state: JobState) -> Timestamp {
        match state {
            JobState::Waiting => Timestamp::MIN,
            JobState::Delivered => self.time.now() - DELIVERED_RETENTION,
            JobState::Dead => self.time.now() - DEAD_RETENTION,
        }
    }
}

/// The job, and its state, which its second lease or its settlement writes.
type JobFields = (Option<Vec<u8>>, Option<String>);

/// The fence of its last lease. The first lease writes no state.
fn fence_of(state: Option<&str>) -> u64 {
    state.map_or(1, |state| state.split(' ').next().and_then(|fence| fence.parse().ok()).unwrap_or(0))
}

fn fields_of(id: &str) -> [String; 2] {
    [id.to_owned(), format!("{id}|s")]
}

fn read_job(partition: Partition, id: &str) -> Cmd {
    let mut cmd = redis::cmd("HMGET");
    cmd.arg(key::jobs(partition)).arg(fields_of(id).as_slice());
    cmd
}

fn known(position: JobPosition, state: JobState, (job, progress): JobFields) -> Option<(JobInfo, InstanceId)> {
    let StoredJob { since, instance, lane, body } = parse::parse_job(job?)?;
    let progress = progress.unwrap_or_else(|| "0 0 0 ".to_owned());
    let mut words = progress.splitn(4, ' ').skip(1);
    let attempts = words.next()?.parse().ok()?;
    let note = words.nth(1).unwrap_or_default().to_owned();
    let JobPosition { partition, id, at } = position;
    let at = from_millis(at);
    Some((JobInfo { partition, id: JobId(id), lane, state, attempts, since, at, note, body }, instance))
}
