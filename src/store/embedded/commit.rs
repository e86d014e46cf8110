//! One change: compared, then written whole.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    domain::{keys::Digest, time::from_millis},
    store::{Change, Committed, MESSAGE_MEMORY, RecordChange, StoreError},
};

use super::{queue, time::after, trim};

pub(super) fn commit(connection: &Connection, now: i64, change: &Change) -> Result<Committed, StoreError> {
    if let Some(message) = change.answers
        && answered(connection, now, message)?
    {
        return Ok(Committed::Duplicate);
    }
    for record in &change.records {
        if let Some(refusal) = compare(connection, now, record)? {
            return Ok(refusal);
        }
    }
    let time = from_millis(now);
    if change.valid_until.is_some_and(|until| time >= until) {
        return Ok(Committed::Late(time));
    }
    for record in &change.records {
        write(connection, now, record)?;
    }
    if let Some(message) = change.answers {
        connection
            .prepare_cached("INSERT OR REPLACE INTO messages (digest, until) VALUES (?1, ?2)")?
            .execute(params![message.hex(), after(now, MESSAGE_MEMORY)])?;
    }
    let mut leased = Vec::with_capacity(change.jobs.len());
    for job in &change.jobs {
        leased.push(queue::add(connection, now, change.partition, job)?);
    }
    for timer in &change.cancel {
        queue::cancel(connection, change.partition, timer)?;
    }
    for (timer, due) in &change.retime {
        queue::retime(connection, change.partition, timer, *due)?;
    }
    Ok(Committed::Applied { leased })
}

fn answered(connection: &Connection, now: i64, message: Digest) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM messages WHERE digest = ?1 AND until > ?2")?
        .exists(params![message.hex(), now])
}

fn compare(connection: &Connection, now: i64, record: &RecordChange) -> rusqlite::Result<Option<Committed>> {
    let version: Option<i64> = connection
        .prepare_cached("SELECT version FROM records WHERE id = ?1 AND retain_until > ?2")?
        .query_row(params![record.key.id.as_bytes(), now], |row| row.get(0))
        .optional()?;
    if version.unwrap_or(0).cast_unsigned() != record.expected {
        return Ok(Some(Committed::Conflict));
    }
    if record.expected == 0
        && let Some(code) = record.key.code
    {
        let taken = connection
            .prepare_cached("SELECT 1 FROM records WHERE code = ?1 AND retain_until > ?2")?
            .exists(params![code.hex(), now])?;
        return Ok(taken.then_some(Committed::Collision));
    }
    Ok(None)
}

fn write(connection: &Connection, now: i64, record: &RecordChange) -> rusqlite::Result<()> {
    let id = record.key.id.as_bytes();
    let retain_until = record.retain_until.as_millisecond();
    let version = now.saturating_mul(1000).max(record.expected.cast_signed() + 1);
    match &record.bytes {
        Some(bytes) if record.expected == 0 => {
            let code = record.key.code.map(Digest::hex);
            make_room(connection, *id, code.as_deref())?;
            connection
                .prepare_cached(
                    "INSERT INTO records (id, code, version, retain_until, bytes) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![id, code, version, retain_until, bytes])?;
        }
        Some(bytes) => {
            connection
                .prepare_cached("UPDATE records SET version = ?2, retain_until = ?3, bytes = ?4 WHERE id = ?1")?
                .execute(params![id, version, retain_until, bytes])?;
        }
        None => {}
    }
    for index in &record.indexes {
        connection
            .prepare_cached("INSERT OR IGNORE INTO entries (list, created_at, id) VALUES (?1, ?2, ?3)")?
            .execute(params![index.0, record.created_at.as_millisecond(), id])?;
    }
    Ok(())
}

/// Removes records that have run out but were not trimmed yet: [`compare`] has seen to it that no other is here.
fn make_room(connection: &Connection, id: [u8; 16], code: Option<&str>) -> rusqlite::Result<()> {
    trim::forget(connection, id)?;
    let other: Option<[u8; 16]> = connection
        .prepare_cached("SELECT id FROM records WHERE code = ?1")?
        .query_row([code], |row| row.get(0))
        .optional()?;
    other.map_or(Ok(()), |id| trim::forget(connection, id))
}
