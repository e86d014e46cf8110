//! Rate-limit buckets and idempotency keys.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    domain::{keys::Digest, quota::Allowance},
    store::{BucketRequest, DrawnTokens, IdempotencyClaim, IdempotencyRecord, StoreError, by_partition},
};

use super::time::after;

const RESERVATION_TTL: Duration = Duration::from_hours(24);

pub(super) fn take(connection: &Connection, now: i64, requests: &[BucketRequest]) -> rusqlite::Result<Vec<Allowance>> {
    let mut found =
        requests.iter().map(|request| next(connection, now, request)).collect::<rusqlite::Result<Vec<_>>>()?;
    for group in by_partition(requests) {
        let short = group.iter().any(|&index| matches!(found[index].1, Allowance::Exhausted { .. }));
        for index in group {
            let (request, (tat, allowance)) = (&requests[index], &mut found[index]);
            match allowance {
                Allowance::Allowed { remaining } if short => *remaining += 1,
                Allowance::Allowed { .. } => write(connection, request, *tat)?,
                Allowance::Exhausted { .. } => {}
            }
        }
    }
    Ok(found.into_iter().map(|(_, allowance)| allowance).collect())
}

pub(super) fn give_back(connection: &Connection, now: i64, requests: &[BucketRequest]) -> rusqlite::Result<()> {
    for request in requests {
        if let Some(tat) = read(connection, request)? {
            write(connection, request, request.quota.give_back(tat, now.saturating_mul(1000)))?;
        }
    }
    Ok(())
}

/// Takes unit by unit for as long as all buckets have one.
pub(super) fn draw(
    connection: &Connection,
    now: i64,
    requests: &[BucketRequest],
    units: u32,
) -> rusqlite::Result<DrawnTokens> {
    for drawn in 0..=units {
        let short = requests.iter().map(|one| next(connection, now, one)).collect::<rusqlite::Result<Vec<_>>>()?;
        let wait = |(_, allowance): &(i64, Allowance)| match allowance {
            Allowance::Exhausted { retry_after } => *retry_after,
            Allowance::Allowed { .. } => Duration::ZERO,
        };
        let wait = short.iter().map(wait).max().unwrap_or_default();
        if drawn == units || !wait.is_zero() {
            return Ok(DrawnTokens { units: drawn, wait });
        }
        take(connection, now, requests)?;
    }
    Ok(DrawnTokens { units, wait: Duration::ZERO })
}

/// What [`take()`] would return for one bucket.
pub(super) fn peek(connection: &Connection, now: i64, request: &BucketRequest) -> rusqlite::Result<Allowance> {
    Ok(next(connection, now, request)?.1)
}

fn next(connection: &Connection, now: i64, request: &BucketRequest) -> rusqlite::Result<(i64, Allowance)> {
    let tat = read(connection, request)?;
    Ok(request.quota.take(tat.unwrap_or(0), now.saturating_mul(1000)))
}

fn read(connection: &Connection, request: &BucketRequest) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT tat FROM buckets WHERE partition = ?1 AND name = ?2")?
        .query_row(params![request.partition.index(), request.bucket], |row| row.get(0))
        .optional()
}

fn write(connection: &Connection, request: &BucketRequest, tat: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO buckets (partition, name, tat) VALUES (?1, ?2, ?3)")?
        .execute(params![request.partition.index(), request.bucket, tat])?;
    Ok(())
}

/// Returns the claim that holds the key: the first one made.
pub(super) fn claim_key(
    connection: &Connection,
    now: i64,
    wanted: &IdempotencyClaim,
) -> Result<IdempotencyRecord, StoreError> {
    for key in wanted.key.all() {
        let holder: Option<(String, Vec<u8>)> = connection
            .prepare_cached("SELECT fingerprint, claim FROM reservations WHERE key = ?1 AND until > ?2")?
            .query_row(params![key.hex(), now], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((fingerprint, claim)) = holder
            && wanted.replaces.as_ref() != Some(&claim)
        {
            let fingerprint = Digest::from_hex(&fingerprint);
            let fingerprint =
                fingerprint.ok_or_else(|| StoreError::Corrupt("a fingerprint is no digest".to_owned()))?;
            return Ok(IdempotencyRecord { fingerprint, content: claim });
        }
    }
    for (key, fingerprint) in wanted.key.all().zip(wanted.fingerprint.all()) {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO reservations (key, fingerprint, claim, until) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![key.hex(), fingerprint.hex(), wanted.content, after(now, RESERVATION_TTL)])?;
    }
    Ok(IdempotencyRecord { fingerprint: wanted.fingerprint.current(), content: wanted.content.clone() })
}
