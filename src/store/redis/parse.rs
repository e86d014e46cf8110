//! Between Redis values and the store's types.

use jiff::Timestamp;
use redis::{Cmd, FromRedisValue, Value};

use crate::{
    domain::{InstanceId, keys::Digest, time::from_millis},
    store::{Job, Lane, RecordChange, Reservation, Reserve, StoreError, Stored},
};

pub(super) fn reply<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    T::from_redis_value(value).map_err(|error| StoreError::Broken(error.to_string()))
}

pub(super) fn read_record(key: &str) -> Cmd {
    let mut cmd = redis::cmd("GET");
    cmd.arg(key);
    cmd
}

/// `None` for a record that is not there, or past its time. Its first line is its head: version, end and id.
pub(super) fn stored(value: Option<Vec<u8>>, now: Timestamp) -> Result<Option<Stored>, StoreError> {
    let Some(mut bytes) = value else { return Ok(None) };
    let broken = || StoreError::Broken("a record without a head".to_owned());
    let (length, head) = first_line(&bytes).ok_or_else(broken)?;
    let mut words = head.split(' ');
    let mut word = || words.next().ok_or_else(broken);
    let version = word()?.parse().map_err(|_| broken())?;
    let until = word()?.parse().map_err(|_| broken())?;
    let id = word()?.parse().map_err(|_| broken())?;
    if from_millis(until) <= now {
        return Ok(None);
    }
    bytes.drain(..=length);
    Ok(Some(Stored { id, version, bytes }))
}

fn first_line(bytes: &[u8]) -> Option<(usize, &str)> {
    let length = bytes.iter().take(256).position(|byte| *byte == b'\n')?;
    Some((length, std::str::from_utf8(&bytes[..length]).ok()?))
}

/// A record as it is kept, but for its version, which the script sets; nothing, if it stays as it is.
pub(super) fn write_record(record: &RecordChange) -> Vec<u8> {
    let Some(bytes) = &record.bytes else { return Vec::new() };
    let head = format!("{} {}\n", record.retain_until.as_millisecond(), record.key.id.simple());
    [head.as_bytes(), bytes].concat()
}

/// A job as it is kept, if it gets the lease it asks for.
pub(super) fn write_job(job: &Job, now: Timestamp) -> Vec<u8> {
    let (lease, since) = (i32::from(job.lease && job.due.is_none()), now.as_millisecond());
    let head = format!("{lease} {since} {} {}\n", job.instance.simple(), job.lane);
    [head.as_bytes(), &job.body].concat()
}

/// A job as it is kept.
pub(super) struct Kept {
    pub(super) since: Timestamp,
    pub(super) instance: InstanceId,
    pub(super) lane: Lane,
    pub(super) body: Vec<u8>,
}

/// Reverses [`write_job`].
pub(super) fn read_job(mut bytes: Vec<u8>) -> Option<Kept> {
    let (length, head) = first_line(&bytes)?;
    let mut words = head.splitn(4, ' ').skip(1);
    let since = from_millis(words.next()?.parse().ok()?);
    let instance = words.next()?.parse().ok()?;
    let lane = Lane(words.next()?.to_owned());
    bytes.drain(..=length);
    Some(Kept { since, instance, lane, body: bytes })
}

/// How scripts name a lane: timers are found without being listed.
pub(super) fn listed(lane: &Lane) -> &str {
    if *lane == Lane::timer() { "" } else { &lane.0 }
}

pub(super) fn write_claim(reserve: &Reserve) -> String {
    format!("{} {}", reserve.fingerprint.hex(), reserve.id.simple())
}

pub(super) fn read_claim(text: &str) -> Result<Reservation, StoreError> {
    let claim = text.split_once(' ').and_then(|(fingerprint, id)| {
        Some(Reservation { fingerprint: Digest::from_hex(fingerprint)?, id: id.parse().ok()? })
    });
    claim.ok_or_else(|| StoreError::Broken("a reservation that is none".to_owned()))
}
