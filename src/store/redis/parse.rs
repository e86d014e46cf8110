//! Between Redis values and the store's types.

use jiff::Timestamp;
use redis::{Cmd, FromRedisValue, Value};

use crate::{
    domain::{InstanceId, keys::Digest, time::from_millis},
    store::{Destination, Job, Reservation, Reserve, StoreError, Stored},
};

pub(super) fn reply<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    T::from_redis_value(value).map_err(|error| StoreError::Broken(error.to_string()))
}

pub(super) type Fields = (Option<String>, Option<u64>, Option<i64>, Option<Vec<u8>>);

pub(super) fn read_record(key: &str) -> Cmd {
    let mut cmd = redis::cmd("HMGET");
    cmd.arg(key).arg("id").arg("version").arg("until").arg("bytes");
    cmd
}

/// `None` for a record that is not there, or past its time.
pub(super) fn stored(fields: Fields, now: Timestamp) -> Result<Option<Stored>, StoreError> {
    let (Some(id), Some(version), Some(until), Some(bytes)) = fields else { return Ok(None) };
    if from_millis(until) <= now {
        return Ok(None);
    }
    let id = id.parse().map_err(|_| StoreError::Broken("a record without an id".to_owned()))?;
    Ok(Some(Stored { id, version, bytes }))
}

/// What is known of a job beside its state: the instance, then the destination.
pub(super) fn write_head(job: &Job) -> String {
    format!("{} {}", job.instance.simple(), job.destination)
}

/// The time of the commit stands before what [`write_head`] wrote.
pub(super) fn read_head(head: &str) -> Option<(Timestamp, InstanceId, Destination)> {
    let mut words = head.splitn(3, ' ');
    let since = from_millis(words.next()?.parse().ok()?);
    Some((since, words.next()?.parse().ok()?, Destination(words.next()?.to_owned())))
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
