//! The timers: a column of their records. As with jobs a lease is a due time that lies ahead; it is the fence, too.

use rusqlite::{Connection, params};

use crate::{
    domain::{Partition, time::from_millis},
    store::{Granted, LEASE, Leased, Locator, Settlement},
};

use super::{query::rows, time::after};

pub(super) fn lease(
    connection: &Connection,
    now: i64,
    partition: Partition,
    limit: usize,
) -> rusqlite::Result<Granted> {
    let mut due = connection.prepare_cached(
        "SELECT locator, rings_at FROM records WHERE partition = ?1 AND rings_at <= ?2 ORDER BY rings_at LIMIT ?3",
    )?;
    let found = due.query_map(params![partition.index(), now, rows(limit)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found = found.collect::<rusqlite::Result<Vec<([u8; 10], i64)>>>()?;
    let end = after(now, LEASE);
    let mut take = connection.prepare_cached("UPDATE records SET rings_at = ?2 WHERE locator = ?1")?;
    for (locator, _) in &found {
        take.execute(params![locator, end])?;
    }
    let first: Option<i64> = connection
        .prepare_cached("SELECT min(rings_at) FROM records WHERE partition = ?1 AND rings_at > 0")?
        .query_row([partition.index()], |row| row.get(0))?;
    let fence = end.cast_unsigned();
    let jobs = found.into_iter().map(|(locator, due)| Leased::timer(Locator::new(locator), fence, from_millis(due)));
    Ok(Granted { jobs: jobs.collect(), more: first.filter(|due| *due <= now).map(from_millis) })
}

/// One that was set anew meanwhile stays as it is.
pub(super) fn settle(connection: &Connection, leased: &Leased, settlement: &Settlement) -> rusqlite::Result<bool> {
    let at = match settlement {
        Settlement::Retry { at, .. } | Settlement::Postpone { at } => Some(at.as_millisecond()),
        Settlement::Done | Settlement::Delivered | Settlement::Dead { .. } => None,
    };
    connection
        .prepare_cached("UPDATE records SET rings_at = ?3 WHERE locator = ?1 AND rings_at = ?2")?
        .execute(params![leased.body, leased.fence.cast_signed(), at])?;
    Ok(true)
}
