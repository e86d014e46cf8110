//! Counters of an instance by the hour, for operators: what all replicas counted together in the last days.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;
use crate::domain::{InstanceId, Partition};

/// How long the counters of an hour are kept after its end: a week, and a day more.
pub const COUNTER_RETENTION: Duration = Duration::from_hours(8 * 24);

const SECONDS: i64 = 3600;

/// An hour of UTC, counted from the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Hour(i64);

impl Hour {
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_second().div_euclid(SECONDS))
    }

    /// The hour this many hours before.
    #[must_use]
    pub const fn before(self, hours: i64) -> Self {
        Self(self.0 - hours)
    }

    /// As stored.
    pub const fn number(self) -> i64 {
        self.0
    }

    pub(super) const fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// The oldest hour that is still kept at `now`.
    pub(super) fn first_kept(now: Timestamp) -> Self {
        Self::of(now - COUNTER_RETENTION)
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The counters of an instance in one hour, by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HourlyCounts {
    pub instance: InstanceId,
    pub hour: Hour,
    pub counts: BTreeMap<String, u64>,
}

impl HourlyCounts {
    /// Spreads the hours of an instance, and the instances of an hour, over all partitions.
    pub(super) fn partition(instance: InstanceId, hour: Hour) -> Partition {
        let place = hour.0 + i64::from(instance.as_bytes()[0]);
        Partition::from_byte(place.to_le_bytes()[0])
    }
}

/// Adds and reads hourly counters.
#[async_trait]
pub trait HourlyCounters: Send + Sync + 'static {
    /// Adds to the counters of each hour in one step, and never twice. After an error, some hours may have been added
    /// and others not: repeating the call could count twice.
    async fn add_counts(&self, counts: &[HourlyCounts]) -> Result<(), StoreError>;

    /// The counters of these hours that are still kept, oldest first; hours without any are left out.
    async fn read_counts(
        &self,
        instance: InstanceId,
        hours: RangeInclusive<Hour>,
    ) -> Result<Vec<HourlyCounts>, StoreError>;
}
