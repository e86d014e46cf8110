//! Conversions between Redis values and the store's types.

use jiff::Timestamp;
use redis::{Cmd, FromRedisValue, Value};

use crate::{
    domain::{InstanceId, keys::Digest, time::from_millis},
    store::{IdempotencyRecord, Job, Lane, Locator, RecordChange, RecordId, StoreError, StoredRecord},
};

pub(super) fn from_value<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    T::from_redis_value(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch fit a double's 53 bits")]
pub(super) fn score_millis(score: f64) -> i64 {
    score as i64
}

pub(super) fn too_few_values(script: &str) -> StoreError {
    StoreError::Corrupt(format!("{script} returned too few values"))
}

pub(super) fn read_record(key: &str) -> Cmd {
    let mut cmd = redis::cmd("GET");
    cmd.arg(key);
    cmd
}

/// Length of a record's header: its version, the first bytes of its id, and its end in milliseconds.
const HEAD: usize = 8 + 6 + 6;

/// `None` if the record does not exist or has expired.
pub(super) fn stored(
    locator: Locator,
    value: Option<Vec<u8>>,
    now: Timestamp,
) -> Result<Option<StoredRecord>, StoreError> {
    let Some(mut bytes) = value else { return Ok(None) };
    let head = || {
        let (version, rest) = bytes.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk::<6>()?;
        let mut until = [0; 8];
        until[2..].copy_from_slice(rest.first_chunk::<6>()?);
        Some((u64::from_be_bytes(*version), RecordId::from_parts(*id, locator), i64::from_be_bytes(until)))
    };
    let Some((version, id, until)) = head() else {
        return Err(StoreError::Corrupt("a stored record has no valid header".to_owned()));
    };
    if from_millis(until) <= now {
        return Ok(None);
    }
    bytes.drain(..HEAD);
    Ok(Some(StoredRecord { id, version, bytes }))
}

/// The first bytes of a value stored under `id`.
pub(super) fn head(id: RecordId, version: u64) -> Vec<u8> {
    [version.to_be_bytes().as_slice(), &id.head()].concat()
}

/// The version of a record in the reply to [`read_record`].
pub(super) fn version(value: &Value) -> Option<u64> {
    let Value::BulkString(bytes) = value else { return None };
    // The value of a bucket is shorter.
    let head = bytes.first_chunk::<HEAD>()?;
    head.first_chunk::<8>().map(|version| u64::from_be_bytes(*version))
}

/// The time of a script's write by the server's own clock, which the script returns.
pub(super) fn written(value: &Value) -> Option<u64> {
    let Value::Array(words) = value else { return None };
    match words.as_slice() {
        [Value::BulkString(word), _, Value::Int(us), ..]
            if matches!(word.as_slice(), b"applied" | b"duplicate" | b"barrier") =>
        {
            u64::try_from(*us).ok()
        }
        _ => None,
    }
}

/// The value of a record without its version, which the script sets; empty if the record is unchanged.
pub(super) fn write_record(record: &RecordChange) -> Vec<u8> {
    let Some(bytes) = &record.bytes else { return Vec::new() };
    let until = record.retain_until.as_millisecond().max(0).to_be_bytes();
    [record.id.head().as_slice(), &until[2..], bytes].concat()
}

/// Most bytes of a job's header line.
const JOB_HEAD: usize = 256;

fn first_line(bytes: &[u8]) -> Option<(usize, &str)> {
    let length = bytes.iter().take(JOB_HEAD).position(|byte| *byte == b'\n')?;
    Some((length, std::str::from_utf8(&bytes[..length]).ok()?))
}

/// The value of a job. Its first character asks for a lease.
pub(super) fn write_job(job: &Job, now: Timestamp) -> Vec<u8> {
    let (lease, since) = (i32::from(job.lease && job.due.is_none()), now.as_millisecond());
    let head = format!("{lease} {since} {} {}\n", job.instance.simple(), job.lane);
    [head.as_bytes(), &job.body].concat()
}

/// A job as stored.
pub(super) struct StoredJob {
    pub(super) since: Timestamp,
    pub(super) instance: InstanceId,
    pub(super) lane: Lane,
    pub(super) body: Vec<u8>,
}

/// Reverses [`write_job`].
pub(super) fn parse_job(mut bytes: Vec<u8>) -> Option<StoredJob> {
    let (length, head) = first_line(&bytes)?;
    let mut words = head.splitn(4, ' ').skip(1);
    let since = from_millis(words.next()?.parse().ok()?);
    let instance = words.next()?.parse().ok()?;
    let lane = Lane(words.next()?.to_owned());
    bytes.drain(..=length);
    Some(StoredJob { since, instance, lane, body: bytes })
}

pub(super) fn write_claim(fingerprint: Digest, claim: &[u8]) -> Vec<u8> {
    [fingerprint.as_bytes(), claim].concat()
}

pub(super) fn read_claim(bytes: &[u8]) -> Result<IdempotencyRecord, StoreError> {
    let (fingerprint, claim) = bytes
        .split_first_chunk()
        .ok_or_else(|| StoreError::Corrupt("a stored reservation has no valid header".to_owned()))?;
    Ok(IdempotencyRecord { fingerprint: Digest::from_bytes(*fingerprint), content: claim.to_vec() })
}
