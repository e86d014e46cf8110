//! Deletes expired rows, one batch at a time. Reads ignore them anyway.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    domain::time::from_millis,
    store::{
        DEAD_RETENTION, Locator, RecordId,
        archive::{DELIVERED_RETENTION, LOG_RETENTION},
        backlog::HOLD_RETENTION,
        counters::Hour,
    },
};

use super::time::after;

/// Deletes at most `size` expired rows of each kind, found by the index on their end. Returns whether more may be left.
pub(super) fn batch(connection: &Connection, now: i64, size: usize) -> rusqlite::Result<bool> {
    let limit = i64::try_from(size).unwrap_or(i64::MAX);
    let before = |memory| now.saturating_sub(after(0, memory));
    let ended = [
        ("messages", "digest", "until", now),
        ("reservations", "key", "until", now),
        ("holds", "lane", "until", before(HOLD_RETENTION)),
        ("buckets", "rowid", "tat", now.saturating_mul(1000)),
        ("jobs", "seq", "died", before(DEAD_RETENTION)),
        ("jobs", "seq", "delivered = 1 AND died", before(DELIVERED_RETENTION)),
        ("notes", "seq", "at", before(LOG_RETENTION)),
        ("counters", "rowid", "hour", Hour::first_kept(from_millis(now)).before(1).number()),
    ];
    let mut more = records(connection, now, limit)? == size;
    for (table, key, end, now) in ended {
        let sql = format!("DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {end} <= ?1 LIMIT ?2)");
        more |= connection.prepare_cached(&sql)?.execute(params![now, limit])? == size;
    }
    Ok(more)
}

/// Deletes the record at a locator with its entries in all lists.
pub(super) fn forget(connection: &Connection, locator: Locator) -> rusqlite::Result<()> {
    let head: Option<[u8; 6]> = connection
        .prepare_cached("DELETE FROM records WHERE locator = ?1 RETURNING head")?
        .query_row([locator.as_bytes()], |row| row.get(0))
        .optional()?;
    if let Some(head) = head {
        let id = RecordId::from_parts(head, locator);
        connection.prepare_cached("DELETE FROM entries WHERE id = ?1")?.execute([id.as_bytes()])?;
    }
    Ok(())
}

fn records(connection: &Connection, now: i64, limit: i64) -> rusqlite::Result<usize> {
    let sql = "SELECT locator FROM records WHERE retain_until <= ?1 ORDER BY retain_until LIMIT ?2";
    let mut ended = connection.prepare_cached(sql)?;
    let locators =
        ended.query_map([now, limit], |row| row.get::<_, [u8; 10]>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    for locator in &locators {
        forget(connection, Locator::new(*locator))?;
    }
    Ok(locators.len())
}
