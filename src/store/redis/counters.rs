//! Hourly counters: one hash for each instance and hour.

use std::{collections::BTreeMap, ops::RangeInclusive};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use redis::Value;

use super::{RedisStore, key, millis, parse::from_value, retries::ResendPolicy, script};
use crate::{
    domain::InstanceId,
    store::{
        StoreError,
        counters::{COUNTER_RETENTION, Hour, HourlyCounters, HourlyCounts},
    },
};

#[async_trait]
impl HourlyCounters for RedisStore {
    async fn add_counts(&self, counts: &[HourlyCounts]) -> Result<(), StoreError> {
        let add = |hourly: &HourlyCounts| {
            let mut cmd = script::COUNT.call(&[key::counters(hourly.instance, hourly.hour)]);
            cmd.arg(millis(COUNTER_RETENTION));
            for (name, count) in &hourly.counts {
                cmd.arg(name).arg(count);
            }
            // Resending would count twice what was added but not answered.
            self.connection.write(cmd, ResendPolicy::Never)
        };
        try_join_all(counts.iter().map(add)).await.map(drop)
    }

    async fn read_counts(
        &self,
        instance: InstanceId,
        hours: RangeInclusive<Hour>,
    ) -> Result<Vec<HourlyCounts>, StoreError> {
        let oldest = Hour::first_kept(self.time.now()).max(*hours.start());
        let hours: Vec<Hour> = (oldest.number()..=hours.end().number()).map(Hour::from_number).collect();
        let mut pipeline = redis::Pipeline::with_capacity(hours.len());
        for hour in &hours {
            pipeline.cmd("HGETALL").arg(key::counters(instance, *hour));
        }
        let values: Vec<Value> = self.connection.run(&mut pipeline).await?;
        let mut found = Vec::new();
        for (hour, value) in hours.into_iter().zip(values) {
            let counts: BTreeMap<String, u64> = from_value(value)?;
            if !counts.is_empty() {
                found.push(HourlyCounts { instance, hour, counts });
            }
        }
        Ok(found)
    }
}
