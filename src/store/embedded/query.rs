//! Read queries. Each follows an index from its first row to its last.

use std::cmp::Reverse;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::{
    domain::{Partition, time::from_millis},
    store::{DueLane, Index, Lane, Locator, MAX_HOLD, Position, RecordId, StoredRecord},
};

use super::time::after;

pub(super) fn record(connection: &Connection, now: i64, id: RecordId) -> rusqlite::Result<Option<StoredRecord>> {
    Ok(kept_at(connection, now, id.locator())?.filter(|stored| stored.id == id))
}

pub(super) fn kept_at(connection: &Connection, now: i64, locator: Locator) -> rusqlite::Result<Option<StoredRecord>> {
    connection
        .prepare_cached("SELECT locator, head, version, bytes FROM records WHERE locator = ?1 AND retain_until > ?2")?
        .query_row(params![locator.as_bytes(), now], stored)
        .optional()
}

pub(super) fn list(
    connection: &Connection,
    now: i64,
    lists: &[Index],
    after: Option<&Position>,
    limit: usize,
) -> rusqlite::Result<Vec<StoredRecord>> {
    let (created_at, id) =
        after.map_or((i64::MAX, [u8::MAX; 16]), |after| (after.created_at.as_millisecond(), *after.id.as_bytes()));
    // SQLite never reorders a cross join, so the list is the outer loop.
    let mut page = connection.prepare_cached(
        "SELECT locator, head, version, bytes, created_at FROM entries CROSS JOIN records ON locator = substr(id, 7)
         WHERE list = ?1 AND (created_at, id) < (?2, ?3) AND retain_until > ?4 AND head = substr(id, 1, 6)
         ORDER BY created_at DESC, id DESC LIMIT ?5",
    )?;
    let mut found = Vec::new();
    for list in lists {
        let positioned = |row: &Row<'_>| Ok((row.get::<_, i64>("created_at")?, stored(row)?));
        for one in page.query_map(params![list.0, created_at, id, now, rows(limit)], positioned)? {
            found.push(one?);
        }
    }
    if lists.len() > 1 {
        found.sort_by_key(|(created_at, stored)| Reverse((*created_at, stored.id)));
        found.dedup_by_key(|(_, stored)| stored.id);
        found.truncate(limit);
    }
    Ok(found.into_iter().map(|(_, stored)| stored).collect())
}

/// Visits each lane by the index; its first job is the one due first. The cost is proportional to the number of lanes,
/// not of jobs.
pub(super) fn due(connection: &Connection, now: i64) -> rusqlite::Result<Vec<DueLane>> {
    let mut next = connection.prepare_cached(
        "SELECT partition, jobs.lane, max(due, coalesce(until, due))
         FROM jobs LEFT JOIN holds ON holds.lane = jobs.lane AND until <= ?3
         WHERE died IS NULL AND (partition, jobs.lane) > (?1, ?2)
         ORDER BY partition, jobs.lane, due LIMIT 1",
    )?;
    let mut found = Vec::new();
    let mut last = (-1, String::new());
    loop {
        let row = next.query_row(params![last.0, last.1, after(now, MAX_HOLD)], |row| {
            Ok(((row.get(0)?, row.get::<_, String>(1)?), row.get::<_, i64>(2)?))
        });
        let Some((lane, due)) = row.optional()? else { break };
        if due <= now {
            found.push(DueLane { partition: partition(lane.0), lane: Lane(lane.1.clone()), since: from_millis(due) });
        }
        last = lane;
    }
    drop(next);
    for partition in Partition::all() {
        if let Some(due) = first_timer(connection, now, partition)? {
            found.push(DueLane { partition, lane: Lane::timer(), since: from_millis(due) });
        }
    }
    found.sort_by_key(|due| due.since);
    Ok(found)
}

/// The due time of a partition's first timer, or the end of its first expired lease, if that is past.
fn first_timer(connection: &Connection, now: i64, partition: Partition) -> rusqlite::Result<Option<i64>> {
    let (first, lapsed): (Option<i64>, Option<i64>) = connection
        .prepare_cached(
            "SELECT (SELECT min(rings_at) FROM records WHERE partition = ?1 AND rings_at > 0),
                    (SELECT max(rings_at) FROM records WHERE partition = ?1 AND rings_at < 0)",
        )?
        .query_row([partition.index()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok([first, lapsed.map(|end| -end)].into_iter().flatten().filter(|due| *due <= now).min())
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredRecord> {
    Ok(StoredRecord {
        id: RecordId::from_parts(row.get("head")?, Locator::new(row.get("locator")?)),
        version: row.get::<_, i64>("version")?.cast_unsigned(),
        bytes: row.get("bytes")?,
    })
}

pub(super) fn partition(index: i64) -> Partition {
    Partition::from_byte(u8::try_from(index).unwrap_or(0))
}

pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
