//! Identifiers, each with its own type so that they cannot be confused.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Number of partitions that keys are spread over. Stored with the data; changing it requires a migration.
pub const PARTITIONS: u8 = 32;

/// One of the [`PARTITIONS`] slices of the key space. All keys of a verification are in the same partition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Partition(u8);

impl Partition {
    /// The partition given by the low five bits of `byte`.
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte % PARTITIONS)
    }

    pub const fn index(self) -> u8 {
        self.0
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self)
    }
}

/// Identifies a verification: a `UUIDv7` whose last five bits are its partition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VerificationId(Uuid);

impl VerificationId {
    /// Builds an id from Unix time in milliseconds and ten random bytes. The last five bits are the partition.
    pub fn new(millis: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The same id, moved to `partition`.
    #[must_use]
    pub fn in_partition(self, partition: Partition) -> Self {
        let mut bytes = *self.as_bytes();
        bytes[15] = bytes[15] & !(PARTITIONS - 1) | partition.index();
        Self::from_bytes(bytes)
    }

    pub fn partition(self) -> Partition {
        Partition::from_byte(self.0.as_bytes()[15])
    }

    /// Unix time in milliseconds at which the id was created.
    pub fn created_millis(self) -> i64 {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.as_bytes()[..6]);
        i64::from_be_bytes(millis)
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Thirty-two lower-case hex digits; the form used in store keys.
    pub fn simple(self) -> String {
        self.0.simple().encode_lower(&mut Uuid::encode_buffer()).to_owned()
    }
}

/// Identifies an instance: a path segment of the API.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(Uuid);

impl InstanceId {
    /// Placeholder for data that belongs to no instance.
    pub const NONE: Self = Self(Uuid::nil());

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    pub fn from_random(random: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(random).into_uuid())
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    pub fn simple(self) -> String {
        self.0.simple().encode_lower(&mut Uuid::encode_buffer()).to_owned()
    }
}

/// Identifies an idempotent call that creates no record: the value that its idempotency key maps to.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimId(Uuid);

impl ClaimId {
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

macro_rules! textual {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    )*};
}
textual!(VerificationId, InstanceId, ClaimId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_its_partition_and_its_time() {
        let id = VerificationId::new(1_795_168_830_123, [0xff; 10]);
        assert_eq!(id.partition(), Partition::from_byte(31));
        assert_eq!(id.0.get_version_num(), 7);
        assert_eq!(&id.simple()[..12], format!("{:012x}", 1_795_168_830_123_u64));
        assert_eq!(id.to_string().parse::<VerificationId>().unwrap(), id);
        for partition in Partition::all() {
            let moved = id.in_partition(partition);
            assert_eq!((moved.partition(), moved.as_bytes()[..15].to_vec()), (partition, id.as_bytes()[..15].to_vec()));
        }
    }
}
