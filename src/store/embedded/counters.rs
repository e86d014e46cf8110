//! Hourly counters: one row for each counter of an instance and hour.

use std::{collections::BTreeMap, ops::RangeInclusive};

use async_trait::async_trait;
use rusqlite::{Connection, params};

use super::EmbeddedStore;
use crate::{
    domain::{InstanceId, time::from_millis},
    store::{
        StoreError,
        counters::{Hour, HourlyCounters, HourlyCounts},
    },
};

#[async_trait]
impl HourlyCounters for EmbeddedStore {
    async fn add_counts(&self, counts: &[HourlyCounts]) -> Result<(), StoreError> {
        let counts = counts.to_vec();
        self.writer.run(move |connection, _| Ok(add(connection, &counts)?)).await
    }

    async fn read_counts(
        &self,
        instance: InstanceId,
        hours: RangeInclusive<Hour>,
    ) -> Result<Vec<HourlyCounts>, StoreError> {
        let oldest = Hour::first_kept(from_millis(self.time.millis())).max(*hours.start());
        let hours = oldest..=*hours.end();
        self.readers.run(move |connection| read(connection, instance, &hours)).await
    }
}

fn add(connection: &Connection, counts: &[HourlyCounts]) -> rusqlite::Result<()> {
    let mut add = connection.prepare_cached(
        "INSERT INTO counters (instance, hour, name, count) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (instance, hour, name) DO UPDATE SET count = count + excluded.count",
    )?;
    for HourlyCounts { instance, hour, counts } in counts {
        for (name, count) in counts {
            add.execute(params![instance.simple(), hour.number(), name, count.cast_signed()])?;
        }
    }
    Ok(())
}

fn read(
    connection: &Connection,
    instance: InstanceId,
    hours: &RangeInclusive<Hour>,
) -> rusqlite::Result<Vec<HourlyCounts>> {
    let mut read = connection.prepare_cached(
        "SELECT hour, name, count FROM counters WHERE instance = ?1 AND hour BETWEEN ?2 AND ?3 ORDER BY hour",
    )?;
    let mut rows = read.query(params![instance.simple(), hours.start().number(), hours.end().number()])?;
    let mut found: Vec<HourlyCounts> = Vec::new();
    while let Some(row) = rows.next()? {
        let hour = Hour::from_number(row.get(0)?);
        if found.last().is_none_or(|last| last.hour != hour) {
            found.push(HourlyCounts { instance, hour, counts: BTreeMap::new() });
        }
        let last = found.last_mut().expect("there is one for this hour");
        last.counts.insert(row.get(1)?, row.get::<_, i64>(2)?.unsigned_abs());
    }
    Ok(found)
}
