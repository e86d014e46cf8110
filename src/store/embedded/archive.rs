//! Lists of jobs, the message log, and removal.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{
    EmbeddedStore,
    query::{self, partition, rows},
    time::after,
    trim,
};
use crate::{
    domain::{InstanceId, PARTITIONS, Partition, time::from_millis},
    store::{
        DEAD_RETENTION, JobId, Lane, StoreError,
        archive::{
            Archive, DELIVERED_RETENTION, JobCursor, JobInfo, JobState, LOG_RETENTION, LogEntry, LogStream,
            MAX_DEAD_JOBS, MAX_DELIVERED_JOBS, MAX_LOG_ENTRIES, Removal,
        },
    },
};

#[async_trait]
impl Archive for EmbeddedStore {
    async fn jobs_after(
        &self,
        instance: InstanceId,
        state: JobState,
        cursor: Option<&JobCursor>,
        limit: usize,
    ) -> Result<Vec<JobInfo>, StoreError> {
        let (now, cursor) = (self.time.millis(), cursor.cloned());
        self.readers.run(move |connection| jobs(connection, now, instance, state, cursor.as_ref(), limit)).await
    }

    async fn job(&self, instance: InstanceId, partition: Partition, id: &JobId) -> Result<Option<JobInfo>, StoreError> {
        let (now, id) = (self.time.millis(), id.clone());
        self.readers
            .run(move |connection| {
                let sql = format!("SELECT {COLUMNS} FROM jobs WHERE partition = ?1 AND id = ?2 AND instance = ?3");
                let mut one = connection.prepare_cached(&sql)?;
                let job = one.query_row(params![partition.index(), id.0, instance.simple()], known).optional()?;
                Ok(job.filter(|job| job.at.as_millisecond() > forgotten(now, job.state)))
            })
            .await
    }

    /// Nothing to do: upkeep deletes expired rows.
    async fn purge(&self, _: InstanceId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn append_log(&self, notes: &[LogEntry]) -> Result<(), StoreError> {
        let notes = notes.to_vec();
        self.writer
            .run(move |connection, now| {
                let mut add = connection
                    .prepare_cached("INSERT INTO notes (partition, journal, at, bytes) VALUES (?1, ?2, ?3, ?4)")?;
                let mut trim = connection.prepare_cached(
                    "DELETE FROM notes WHERE seq IN
                     (SELECT seq FROM notes WHERE journal = ?1 ORDER BY at DESC, seq DESC LIMIT -1 OFFSET ?2)",
                )?;
                let kept = rows(MAX_LOG_ENTRIES * usize::from(PARTITIONS));
                for note in &notes {
                    add.execute(params![note.partition.index(), note.stream.0, now, note.bytes])?;
                }
                let mut trimmed: Vec<&LogStream> = Vec::new();
                for LogEntry { stream: journal, .. } in &notes {
                    if !trimmed.contains(&journal) {
                        trimmed.push(journal);
                        trim.execute(params![journal.0, kept])?;
                    }
                }
                Ok(())
            })
            .await
    }

    async fn read_log(&self, journal: &LogStream, limit: usize) -> Result<Vec<(Timestamp, LogEntry)>, StoreError> {
        let (oldest, journal) = (self.time.millis().saturating_sub(after(0, LOG_RETENTION)), journal.clone());
        self.readers
            .run(move |connection| {
                let mut newest = connection.prepare_cached(
                    "SELECT at, partition, bytes FROM notes WHERE journal = ?1 AND at > ?2
                     ORDER BY at DESC, seq DESC LIMIT ?3",
                )?;
                let notes = newest.query_map(params![journal.0, oldest, rows(limit)], |row| {
                    let note =
                        LogEntry { partition: partition(row.get(1)?), stream: journal.clone(), bytes: row.get(2)? };
                    Ok((from_millis(row.get(0)?), note))
                })?;
                notes.collect()
            })
            .await
    }

    async fn remove(&self, removal: &Removal) -> Result<(), StoreError> {
        let removal = removal.clone();
        self.writer
            .run(move |connection, _| {
                if let Some((id, _)) = &removal.record
                    && query::record(connection, i64::MIN, *id)?.is_some()
                {
                    trim::forget(connection, id.locator())?;
                }
                let mut job = connection.prepare_cached("DELETE FROM jobs WHERE partition = ?1 AND id = ?2")?;
                for id in &removal.jobs {
                    job.execute(params![removal.partition.index(), id.0])?;
                }
                // '0' is the character after '/', which ends a group.
                let mut waiting = connection.prepare_cached(
                    "DELETE FROM jobs WHERE died IS NULL AND partition = ?1 AND lane = ?2
                     AND id > ?3 || '/' AND id < ?3 || '0'",
                )?;
                for lane in &removal.lanes {
                    for group in &removal.groups {
                        waiting.execute(params![removal.partition.index(), lane.0, group])?;
                    }
                }
                let mut note = connection.prepare_cached("DELETE FROM notes WHERE journal = ?1 AND bytes = ?2")?;
                for (journal, bytes) in &removal.log_entries {
                    note.execute(params![journal.0, bytes])?;
                }
                Ok(())
            })
            .await
    }
}

const COLUMNS: &str = "partition, id, lane, attempts, since, due, died, delivered, note, body";

fn jobs(
    connection: &Connection,
    now: i64,
    instance: InstanceId,
    state: JobState,
    cursor: Option<&JobCursor>,
    limit: usize,
) -> rusqlite::Result<Vec<JobInfo>> {
    let which = match state {
        JobState::Waiting => {
            "died IS NULL AND lane >= 'c' AND lane < 'd' AND due > ?2
             AND (?4 IS NULL OR (due >= ?4 AND (due, partition, id) > (?4, ?5, ?6))) ORDER BY due, partition, id"
        }
        JobState::Delivered => ENDED_DELIVERED,
        JobState::Dead => ENDED_DEAD,
    };
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE instance = ?1 AND {which} LIMIT ?3");
    let mut statement = connection.prepare_cached(&sql)?;
    let (at, partition, id) = match cursor {
        Some(cursor) => (Some(cursor.at.as_millisecond()), cursor.partition.index(), cursor.id.0.as_str()),
        None => (None, 0, ""),
    };
    let values = params![instance.simple(), forgotten(now, state), rows(limit), at, partition, id];
    statement.query_map(values, known)?.collect()
}

const ENDED_DELIVERED: &str = "delivered = 1 AND died > ?2
    AND (?4 IS NULL OR (died <= ?4 AND (died, partition, id) < (?4, ?5, ?6))) ORDER BY died DESC, partition DESC, id DESC";
const ENDED_DEAD: &str = "delivered = 0 AND died > ?2
    AND (?4 IS NULL OR (died <= ?4 AND (died, partition, id) < (?4, ?5, ?6))) ORDER BY died DESC, partition DESC, id DESC";

/// Jobs that ended then or before are no longer listed.
fn forgotten(now: i64, state: JobState) -> i64 {
    match state {
        JobState::Waiting => i64::MIN,
        JobState::Delivered => now.saturating_sub(after(0, DELIVERED_RETENTION)),
        JobState::Dead => now.saturating_sub(after(0, DEAD_RETENTION)),
    }
}

fn known(row: &Row<'_>) -> rusqlite::Result<JobInfo> {
    let died: Option<i64> = row.get("died")?;
    let state = match (died, row.get::<_, bool>("delivered")?) {
        (None, _) => JobState::Waiting,
        (Some(_), true) => JobState::Delivered,
        (Some(_), false) => JobState::Dead,
    };
    Ok(JobInfo {
        partition: partition(row.get("partition")?),
        id: JobId(row.get("id")?),
        lane: Lane(row.get("lane")?),
        state,
        attempts: row.get("attempts")?,
        since: from_millis(row.get("since")?),
        at: from_millis(died.map_or_else(|| row.get("due"), Ok)?),
        note: row.get("note")?,
        body: row.get("body")?,
    })
}

/// Deletes the oldest ended jobs beyond the limit.
pub(super) fn drop_surplus(connection: &Connection, instance: InstanceId) -> rusqlite::Result<()> {
    for (delivered, kept) in [(true, MAX_DELIVERED_JOBS), (false, MAX_DEAD_JOBS)] {
        connection
            .prepare_cached(
                "DELETE FROM jobs WHERE seq IN (SELECT seq FROM jobs WHERE instance = ?1 AND delivered = ?2
                 AND died IS NOT NULL ORDER BY died DESC, seq DESC LIMIT -1 OFFSET ?3)",
            )?
            .execute(params![instance.simple(), delivered, rows(kept * usize::from(PARTITIONS))])?;
    }
    Ok(())
}
