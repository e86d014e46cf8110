//! Timers: a column of their records with the due time. While a timer is leased, the column holds the negated end of
//! the lease, which is also the fence.

use rusqlite::{Connection, params};

use crate::{
    domain::{Partition, time::from_millis},
    store::{LEASE_DURATION, LeaseGrant, LeasedJob, Locator, Settlement},
};

use super::{query::rows, time::after};

pub(super) fn lease(
    connection: &Connection,
    now: i64,
    partition: Partition,
    limit: usize,
) -> rusqlite::Result<LeaseGrant> {
    connection
        .prepare_cached("UPDATE records SET rings_at = -rings_at WHERE partition = ?1 AND rings_at BETWEEN -?2 AND -1")?
        .execute(params![partition.index(), now])?;
    let mut due = connection.prepare_cached(
        "SELECT locator, rings_at FROM records WHERE partition = ?1 AND rings_at BETWEEN 0 AND ?2
         ORDER BY rings_at LIMIT ?3",
    )?;
    let found = due.query_map(params![partition.index(), now, rows(limit)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found = found.collect::<rusqlite::Result<Vec<([u8; 10], i64)>>>()?;
    let end = after(now, LEASE_DURATION);
    let mut take = connection.prepare_cached("UPDATE records SET rings_at = -?2 WHERE locator = ?1")?;
    for (locator, _) in &found {
        take.execute(params![locator, end])?;
    }
    let first: Option<i64> = connection
        .prepare_cached("SELECT min(rings_at) FROM records WHERE partition = ?1 AND rings_at > 0")?
        .query_row([partition.index()], |row| row.get(0))?;
    let fence = end.cast_unsigned();
    let jobs = found.into_iter().map(|(locator, due)| LeasedJob::timer(Locator::new(locator), fence, from_millis(due)));
    Ok(LeaseGrant { jobs: jobs.collect(), oldest_left: first.filter(|due| *due <= now).map(from_millis) })
}

/// A timer that was set anew meanwhile is left unchanged.
pub(super) fn settle(connection: &Connection, leased: &LeasedJob, settlement: &Settlement) -> rusqlite::Result<bool> {
    let at = match settlement {
        Settlement::Retry { at, .. } | Settlement::Postpone { at } => Some(at.as_millisecond()),
        Settlement::Done | Settlement::Delivered | Settlement::Dead { .. } => None,
    };
    connection
        .prepare_cached("UPDATE records SET rings_at = ?3 WHERE locator = ?1 AND rings_at = -?2")?
        .execute(params![leased.body, leased.fence.cast_signed(), at])?;
    Ok(true)
}
