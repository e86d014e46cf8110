//! The queue of jobs. A lease is a due time in the future, so an expired lease needs no cleaning up.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::{
    domain::{InstanceId, Partition, time::from_millis},
    store::{
        DEAD_RETENTION, GROUP_SCAN, Job, JobId, LEASE_DURATION, Lane, LeaseGrant, LeaseRequest, LeasedJob, MAX_HOLD,
        MAX_LEASE, Settlement, StoreError, archive::DELIVERED_RETENTION,
    },
};

use super::{archive, query::rows, time::after, timers};

/// Returns whether the job is leased to the caller. A job that already exists is left unchanged.
pub(super) fn add(connection: &Connection, now: i64, partition: Partition, job: &Job) -> rusqlite::Result<bool> {
    let leased = job.lease && job.due.is_none() && !is_held(connection, now, &job.lane)?;
    let due = job.due.map_or(now, Timestamp::as_millisecond);
    let added = connection
        .prepare_cached(
            "INSERT INTO jobs (partition, id, instance, lane, due, leased, fence, lapsed, since, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?6, ?7, ?8) ON CONFLICT (partition, id) DO NOTHING",
        )?
        .execute(params![
            partition.index(),
            job.id.0,
            job.instance.simple(),
            job.lane.0,
            if leased { after(now, LEASE_DURATION) } else { due },
            leased,
            now,
            job.body
        ])?;
    Ok(leased && added == 1)
}

pub(super) fn lease(connection: &Connection, now: i64, request: &LeaseRequest) -> Result<LeaseGrant, StoreError> {
    let LeaseRequest { partition, lane, limit, busy_groups } = request;
    if *lane == Lane::timer() {
        return Ok(timers::lease(connection, now, *partition, *limit)?);
    }
    if is_held(connection, now, lane)? {
        return Ok(LeaseGrant::default());
    }
    let mut due = connection.prepare_cached(
        "SELECT seq, id, instance, fence, attempts, lapsed, since, body FROM jobs
         WHERE died IS NULL AND partition = ?1 AND lane = ?2 AND due <= ?3 ORDER BY due, seq LIMIT ?4",
    )?;
    let mut rows = due.query(params![partition.index(), lane.0, now, rows(limit.saturating_add(GROUP_SCAN))])?;
    let mut groups: HashSet<String> = busy_groups.iter().cloned().collect();
    let mut jobs = Vec::new();
    while jobs.len() < *limit
        && let Some(row) = rows.next()?
    {
        let id = JobId(row.get("id")?);
        if id.group().is_some_and(|group| !groups.insert(group.to_owned())) {
            continue;
        }
        let instance: String = row.get("instance")?;
        let job = LeasedJob {
            partition: *partition,
            id,
            instance: instance.parse::<InstanceId>().map_err(|error| StoreError::Corrupt(error.to_string()))?,
            lane: lane.clone(),
            fence: row.get::<_, i64>("fence")?.cast_unsigned() + 1,
            attempts: row.get("attempts")?,
            expired_leases: row.get("lapsed")?,
            since: from_millis(row.get("since")?),
            body: row.get("body")?,
        };
        jobs.push((row.get::<_, i64>("seq")?, job));
    }
    // Updated after the scan, which must not meet the rows again.
    let mut take = connection
        .prepare_cached("UPDATE jobs SET due = ?2, leased = 1, lapsed = lapsed + 1, fence = ?3 WHERE seq = ?1")?;
    for (seq, job) in &jobs {
        take.execute(params![seq, after(now, LEASE_DURATION), job.fence.cast_signed()])?;
    }
    let first: Option<i64> = connection
        .prepare_cached("SELECT min(due) FROM jobs WHERE died IS NULL AND partition = ?1 AND lane = ?2")?
        .query_row(params![partition.index(), lane.0], |row| row.get(0))?;
    let oldest_left = first.filter(|due| *due <= now).map(from_millis);
    Ok(LeaseGrant { jobs: jobs.into_iter().map(|(_, job)| job).collect(), oldest_left })
}

/// Returns `false` if the fence has risen or the job is gone.
pub(super) fn settle(
    connection: &Connection,
    now: i64,
    leased: &LeasedJob,
    settlement: &Settlement,
) -> rusqlite::Result<bool> {
    if leased.lane == Lane::timer() {
        return timers::settle(connection, leased, settlement);
    }
    let job = "partition = ?1 AND id = ?2 AND fence = ?3 AND died IS NULL";
    let key = (leased.partition.index(), &leased.id.0, leased.fence.cast_signed());
    let changed = match settlement {
        Settlement::Done => connection
            .prepare_cached(&format!("DELETE FROM jobs WHERE {job}"))?
            .execute(params![key.0, key.1, key.2])?,
        Settlement::Delivered => {
            let changed = connection
                .prepare_cached(&format!(
                    "UPDATE jobs SET leased = 0, lapsed = 0, died = ?4, delivered = 1, attempts = attempts + 1, note = '' WHERE {job}"
                ))?
                .execute(params![key.0, key.1, key.2, now])?;
            // Counting them costs more than deleting one, so this is done only now and then.
            if now % 64 == 0 {
                archive::drop_surplus(connection, leased.instance)?;
            }
            changed
        }
        Settlement::Retry { at, note } => connection
            .prepare_cached(&format!(
                "UPDATE jobs SET leased = 0, lapsed = 0, due = ?4, attempts = attempts + 1, note = ?5 WHERE {job}"
            ))?
            .execute(params![key.0, key.1, key.2, at.as_millisecond(), note])?,
        Settlement::Postpone { at } => connection
            .prepare_cached(&format!("UPDATE jobs SET leased = 0, lapsed = 0, due = ?4 WHERE {job}"))?
            .execute(params![key.0, key.1, key.2, at.as_millisecond()])?,
        Settlement::Dead { note, .. } => connection
            .prepare_cached(&format!(
                "UPDATE jobs SET leased = 0, lapsed = 0, died = ?4, attempts = attempts + 1, note = ?5 WHERE {job}"
            ))?
            .execute(params![key.0, key.1, key.2, now, note])?,
    };
    Ok(changed == 1)
}

/// The last call wins.
pub(super) fn hold(connection: &Connection, lane: &Lane, until: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO holds (lane, until) VALUES (?1, ?2)")?
        .execute(params![lane.0, until.as_millisecond()])?;
    Ok(())
}

pub(super) fn replay(
    connection: &Connection,
    now: i64,
    instance: InstanceId,
    partition: Partition,
    id: &JobId,
) -> rusqlite::Result<bool> {
    let forgotten = |memory| now.saturating_sub(after(0, memory));
    let queued = connection
        .prepare_cached(
            "UPDATE jobs SET died = NULL, delivered = 0, due = ?1, attempts = 0, note = ''
             WHERE partition = ?2 AND id = ?3 AND instance = ?4 AND died > iif(delivered, ?6, ?5)",
        )?
        .execute(params![
            now,
            partition.index(),
            id.0,
            instance.simple(),
            forgotten(DEAD_RETENTION),
            forgotten(DELIVERED_RETENTION)
        ])?;
    Ok(queued == 1)
}

/// Ends all leases: the process that held them is gone.
pub(super) fn void_leases(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    connection.execute("UPDATE jobs SET leased = 0, due = ?1 WHERE leased = 1", [now])?;
    connection.execute("UPDATE records SET rings_at = ?1 WHERE rings_at < 0", [now])?;
    Ok(())
}

/// Shortens leases that were written while the clock was ahead, to begin now.
pub(super) fn shorten_leases(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    let (end, longest) = (after(now, LEASE_DURATION), after(now, MAX_LEASE));
    connection
        .prepare_cached("UPDATE jobs SET due = ?1 WHERE leased = 1 AND due > ?2")?
        .execute(params![end, longest])?;
    connection
        .prepare_cached("UPDATE records SET rings_at = -?1 WHERE rings_at < 0 AND rings_at < -?2")?
        .execute(params![end, longest])?;
    Ok(())
}

/// Checked whenever jobs are leased, so a hold changes no due times and can be ended early. A hold that ends later than
/// the longest one was written while the clock was ahead.
fn is_held(connection: &Connection, now: i64, lane: &Lane) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM holds WHERE lane = ?1 AND until > ?2 AND until <= ?3")?.exists(params![
        lane.0,
        now,
        after(now, MAX_HOLD)
    ])
}
