//! Backlog, heartbeats and description, for operators.

use std::collections::{BTreeMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::time::after;
use crate::{
    domain::{Partition, time::from_millis},
    store::{Backlog, Lane, LaneKind, MAX_HOLD, REPLICA_RETENTION, ReplicaHeartbeat, StoreDescription},
};

/// Jobs counted in one lane of one partition; with more, the figure is a lower bound.
const COUNTED: i64 = 100_000;
/// Jobs read at each end of a queue: the oldest is either next in turn at the front, or waits for its last retry at the
/// back.
const ENDS: i64 = 4;

/// Visits each lane by the index, and reads the ends of its queue.
pub(super) fn waiting(connection: &Connection, now: i64) -> rusqlite::Result<Vec<Backlog>> {
    let mut next = connection.prepare_cached(
        "SELECT partition, jobs.lane, due, until FROM jobs LEFT JOIN holds ON holds.lane = jobs.lane AND until <= ?3
         WHERE died IS NULL AND (partition, jobs.lane) > (?1, ?2) ORDER BY partition, jobs.lane, due LIMIT 1",
    )?;
    let mut count = connection.prepare_cached(
        "SELECT count(*) FROM
         (SELECT 1 FROM jobs WHERE died IS NULL AND partition = ?1 AND lane = ?2 LIMIT ?3)",
    )?;
    let mut oldest = connection.prepare_cached(
        "SELECT min(since) FROM (
           SELECT since FROM (SELECT since FROM jobs WHERE died IS NULL AND partition = ?1 AND lane = ?2
             ORDER BY due LIMIT ?3)
           UNION ALL
           SELECT since FROM (SELECT since FROM jobs WHERE died IS NULL AND partition = ?1 AND lane = ?2
             ORDER BY due DESC LIMIT ?3))",
    )?;
    let mut kinds = BTreeMap::new();
    let mut held_lanes = HashSet::new();
    let mut last = (-1, String::new());
    loop {
        let row = next.query_row(params![last.0, last.1, after(now, MAX_HOLD)], |row| {
            Ok((
                (row.get::<_, i64>(0)?, row.get::<_, String>(1)?),
                row.get::<_, i64>(2)?,
                row.get::<_, Option<i64>>(3)?,
            ))
        });
        let Some((at, due, hold)) = row.optional()? else { break };
        let lane = Lane(at.1.clone());
        let backlog = kinds.entry(lane.kind().as_str()).or_insert_with(|| Backlog::empty(lane.kind().as_str()));
        let depth = count.query_row(params![at.0, at.1, COUNTED], |row| row.get::<_, i64>(0))?;
        backlog.add_waiting(&lane, depth.unsigned_abs());
        let hold = hold.map(from_millis);
        backlog.observe_due(from_millis(due), hold, from_millis(now));
        if hold.is_some_and(|until| until > from_millis(now)) && held_lanes.insert(lane.clone()) {
            backlog.held += 1;
        }
        let since: Option<i64> = oldest.query_row(params![at.0, at.1, ENDS], |row| row.get(0))?;
        if let Some(since) = since {
            backlog.observe_oldest(from_millis(since));
        }
        last = at;
    }
    let timers = timers(connection, now)?;
    Ok(kinds.into_values().chain(timers).collect())
}

fn timers(connection: &Connection, now: i64) -> rusqlite::Result<Option<Backlog>> {
    let mut look = connection.prepare_cached(
        "SELECT count(*), min(rings_at) FROM (SELECT rings_at FROM records WHERE partition = ?1 AND rings_at > 0
         ORDER BY rings_at LIMIT ?2)",
    )?;
    let mut backlog = Backlog::empty(LaneKind::Timer.as_str());
    for partition in Partition::all() {
        let (depth, first): (i64, Option<i64>) =
            look.query_row(params![partition.index(), COUNTED], |row| Ok((row.get(0)?, row.get(1)?)))?;
        backlog.depth += depth.unsigned_abs();
        if let Some(due) = first {
            backlog.observe_due(from_millis(due), None, from_millis(now));
        }
    }
    Ok((backlog.depth > 0).then_some(backlog))
}

pub(super) fn announce(connection: &Connection, now: i64, replica: &str, body: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM replicas WHERE at <= ?1")?
        .execute([now.saturating_sub(after(0, REPLICA_RETENTION))])?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO replicas (name, at, words) VALUES (?1, ?2, ?3)")?
        .execute(params![replica, now, body])?;
    Ok(())
}

pub(super) fn announced(connection: &Connection, now: i64) -> rusqlite::Result<Vec<ReplicaHeartbeat>> {
    let mut newest =
        connection.prepare_cached("SELECT name, at, words FROM replicas WHERE at > ?1 ORDER BY at DESC, name")?;
    let rows = newest.query_map([now.saturating_sub(after(0, REPLICA_RETENTION))], |row| {
        Ok(ReplicaHeartbeat { replica: row.get(0)?, at: from_millis(row.get(1)?), body: row.get(2)? })
    })?;
    rows.collect()
}

/// Type, size and maximum size of the store.
pub(super) fn describe(connection: &Connection) -> rusqlite::Result<StoreDescription> {
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let size: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let used_bytes = (pages * size).unsigned_abs();
    let disk = connection.path().and_then(|path| rustix::fs::statvfs(path).ok());
    let free = disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let room = free.map(|free| format!(", {} MiB free on its disk", free >> 20)).unwrap_or_default();
    Ok(StoreDescription {
        addresses: Vec::new(),
        text: format!("SQLite {}, one process, {} KiB{room}", rusqlite::version(), used_bytes / 1024),
        used_bytes,
        limit_bytes: free.map_or(0, |free| used_bytes.saturating_add(free)),
        replicas_missing: 0,
    })
}
