//! Commits a change: compares all versions, then writes everything.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    domain::{LookUp, keys::Digest, time::from_millis},
    store::{Change, CommitOutcome, MESSAGE_ID_RETENTION, RecordChange, StoreError},
};

use super::{queue, time::after, trim};

pub(super) fn commit(connection: &Connection, now: i64, change: &Change) -> Result<CommitOutcome, StoreError> {
    let messages = change.answers.into_iter().flat_map(LookUp::all);
    for message in messages.clone() {
        if answered(connection, now, message)? {
            return Ok(CommitOutcome::Duplicate);
        }
    }
    for record in &change.records {
        if let Some(refusal) = compare(connection, now, record)? {
            return Ok(refusal);
        }
    }
    let time = from_millis(now);
    if change.valid_until.is_some_and(|until| time >= until) {
        return Ok(CommitOutcome::Late(time));
    }
    for record in &change.records {
        write(connection, now, record)?;
    }
    for message in messages {
        connection
            .prepare_cached("INSERT OR REPLACE INTO messages (digest, until) VALUES (?1, ?2)")?
            .execute(params![message.hex(), after(now, MESSAGE_ID_RETENTION)])?;
    }
    let mut leased = Vec::with_capacity(change.jobs.len());
    for job in &change.jobs {
        leased.push(queue::add(connection, now, change.partition, job)?);
    }
    Ok(CommitOutcome::Applied { leased })
}

fn answered(connection: &Connection, now: i64, message: Digest) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM messages WHERE digest = ?1 AND until > ?2")?
        .exists(params![message.hex(), now])
}

fn compare(connection: &Connection, now: i64, record: &RecordChange) -> rusqlite::Result<Option<CommitOutcome>> {
    let found: Option<(i64, [u8; 6])> = connection
        .prepare_cached("SELECT version, head FROM records WHERE locator = ?1 AND retain_until > ?2")?
        .query_row(params![record.id.locator().as_bytes(), now], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match found {
        None => (record.expected > 0).then_some(CommitOutcome::Conflict),
        Some((_, head)) if record.expected == 0 && head != record.id.head() => Some(CommitOutcome::Collision),
        Some((version, head)) => {
            let same = head == record.id.head() && version.cast_unsigned() == record.expected;
            (!same).then_some(CommitOutcome::Conflict)
        }
    })
}

fn write(connection: &Connection, now: i64, record: &RecordChange) -> rusqlite::Result<()> {
    let locator = record.id.locator();
    let (retain_until, timer) = (record.retain_until.as_millisecond(), record.timer.map(Timestamp::as_millisecond));
    let version = now.saturating_mul(1000).max(record.expected.cast_signed() + 1);
    match &record.bytes {
        Some(bytes) if record.expected == 0 => {
            // An expired record may not be deleted yet; `compare` has made sure that no live one is here.
            trim::forget(connection, locator)?;
            connection
                .prepare_cached(
                    "INSERT INTO records (locator, head, partition, version, retain_until, rings_at, bytes)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    locator.as_bytes(),
                    record.id.head(),
                    locator.partition().index(),
                    version,
                    retain_until,
                    timer,
                    bytes
                ])?;
        }
        Some(bytes) => {
            connection
                .prepare_cached(
                    "UPDATE records SET version = ?2, retain_until = ?3, rings_at = coalesce(?4, rings_at),
                     bytes = ?5 WHERE locator = ?1",
                )?
                .execute(params![locator.as_bytes(), version, retain_until, timer, bytes])?;
        }
        None => {}
    }
    for index in &record.indexes {
        connection
            .prepare_cached("INSERT OR IGNORE INTO entries (list, created_at, id) VALUES (?1, ?2, ?3)")?
            .execute(params![index.0, record.created_at.as_millisecond(), record.id.as_bytes()])?;
    }
    Ok(())
}
