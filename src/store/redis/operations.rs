//! Health and status of the store: backlog, heartbeats, and whether the masters accept writes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use redis::Value;

use super::{
    RedisStore, key, millis,
    parse::{self, from_value},
    preflight,
    retries::ResendPolicy,
    script,
};
use crate::{
    config::TlsConfig,
    domain::{Partition, time::from_millis},
    store::{
        Background, Backlog, Lane, MAX_HOLD, Operations, REPLICA_RETENTION, ReplicaHeartbeat, Store, StoreDescription,
        StoreError, time_budget::TimeBudget,
    },
};

const FORMAT: &str = "2";
/// Lanes read per partition; with more, the figures are lower bounds.
const MAX_LANES: usize = 256;
/// Jobs read at each end of a queue: the oldest is either next in turn at the front, or waits for its last retry at the
/// back.
const SAMPLES_PER_END: isize = 4;
/// Leases read per partition.
const MAX_LEASES: usize = 256;

#[async_trait]
impl Operations for RedisStore {
    fn background(&self) -> &Background {
        &self.background
    }

    fn skew_millis(&self) -> i64 {
        self.time.skew_millis()
    }

    fn within(&self, budget: &Arc<TimeBudget>) -> Option<Arc<dyn Store>> {
        Some(Arc::new(Self { connection: self.connection.within(budget), ..self.clone() }))
    }

    fn reload_credentials(&self, url: &str, tls: &TlsConfig) -> Result<(), StoreError> {
        self.connection.replace_url(url, tls)
    }

    async fn meta(&self) -> Result<HashMap<String, String>, StoreError> {
        let mut meta: HashMap<String, String> = self.one(redis::cmd("HGETALL").arg(key::META)).await?;
        match meta.remove("format") {
            Some(format) if format == FORMAT => {}
            Some(format) => {
                return Err(StoreError::Misconfigured(format!(
                    "the store has format {format}, this version reads {FORMAT}"
                )));
            }
            None => self.set_meta("format", FORMAT, false).await?,
        }
        Ok(meta)
    }

    async fn set_meta(&self, name: &str, value: &str, replace: bool) -> Result<(), StoreError> {
        let mut cmd = redis::cmd(if replace { "HSET" } else { "HSETNX" });
        cmd.arg(key::META).arg(name).arg(value);
        self.write_confirmed::<Value>(cmd, ResendPolicy::Same).await.map(drop)
    }

    async fn preflight(&self) -> Result<Vec<String>, StoreError> {
        preflight::check_all(&self.infos().await?, self.durability)
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        let queues = self.queues().await?;
        let mut pipeline = redis::pipe();
        for (partition, lane) in &queues {
            let timers = *lane == Lane::timer();
            let queue = if timers { key::timers(*partition) } else { key::queue(*partition, lane) };
            pipeline.cmd("GET").arg(key::hold(*partition, lane));
            pipeline.cmd("ZCARD").arg(&queue);
            pipeline.cmd("ZRANGE").arg(&queue).arg(0).arg(SAMPLES_PER_END - 1).arg("WITHSCORES");
            pipeline.cmd("ZRANGE").arg(&queue).arg(-SAMPLES_PER_END).arg(-1);
        }
        let mut values = self.connection.run(&mut pipeline).await?.into_iter();
        let mut next = || values.next().unwrap_or(Value::Nil);
        let now = self.time.now();
        let mut kinds = BTreeMap::new();
        let mut held_lanes = HashSet::new();
        let mut jobs = redis::pipe();
        let mut queried = Vec::new();
        for (partition, lane) in &queues {
            let hold = from_value::<Option<i64>>(next())?.map(from_millis).filter(|until| *until <= now + MAX_HOLD);
            let depth: u64 = from_value(next())?;
            let front: Vec<(Vec<u8>, f64)> = from_value(next())?;
            let back: Vec<Vec<u8>> = from_value(next())?;
            let backlog = kinds.entry(lane.kind().as_str()).or_insert_with(|| Backlog::empty(lane.kind().as_str()));
            backlog.add_waiting(lane, depth);
            if hold.is_some_and(|until| until > now) && depth > 0 && held_lanes.insert(lane) {
                backlog.held += 1;
            }
            if let Some((_, due)) = front.first() {
                #[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch fit 53 bits")]
                backlog.observe_due(from_millis(*due as i64), hold, now);
            }
            if *lane != Lane::timer() {
                for id in front.iter().map(|(id, _)| id).chain(&back) {
                    jobs.cmd("HGET").arg(key::jobs(*partition)).arg(id);
                    queried.push(lane.kind().as_str());
                }
            }
        }
        let values = if queried.is_empty() { Vec::new() } else { self.connection.run(&mut jobs).await? };
        for (kind, value) in queried.into_iter().zip(values) {
            // `None` if it was settled meanwhile.
            let job: Option<Vec<u8>> = from_value(value)?;
            if let (Some(kept), Some(backlog)) = (job.and_then(parse::parse_job), kinds.get_mut(kind)) {
                backlog.observe_oldest(kept.since);
            }
        }
        for lease in self.leases("-inf", MAX_LEASES).await? {
            let lane = lease.job.as_ref().map_or_else(Lane::timer, |(_, kept)| kept.lane.clone());
            let kind = lane.kind().as_str();
            let backlog = kinds.entry(kind).or_insert_with(|| Backlog::empty(kind));
            backlog.add_waiting(&lane, 1);
            if let Some((_, kept)) = lease.job {
                backlog.observe_oldest(kept.since);
            }
        }
        Ok(kinds.into_values().filter(|backlog| backlog.depth > 0).collect())
    }

    async fn publish_heartbeat(&self, replica: &str, text: &str) -> Result<(), StoreError> {
        let now = self.time.now().as_millisecond();
        let mut pipeline = redis::pipe();
        pipeline.cmd("HSET").arg(key::REPLICAS).arg(replica).arg(format!("{now} {text}"));
        pipeline.cmd("PEXPIRE").arg(key::REPLICAS).arg(millis(REPLICA_RETENTION));
        self.connection.run(&mut pipeline).await.map(drop)
    }

    async fn heartbeats(&self) -> Result<Vec<ReplicaHeartbeat>, StoreError> {
        let rows: Vec<(String, String)> = self.one(redis::cmd("HGETALL").arg(key::REPLICAS)).await?;
        let oldest = self.time.now() - REPLICA_RETENTION;
        let mut announced = Vec::new();
        let mut gone = redis::cmd("HDEL");
        gone.arg(key::REPLICAS);
        let mut forget = false;
        for (replica, row) in rows {
            let heartbeat = row.split_once(' ').and_then(|(at, text)| Some((from_millis(at.parse().ok()?), text)));
            match heartbeat {
                Some((at, text)) if at > oldest => {
                    announced.push(ReplicaHeartbeat { replica, at, body: text.to_owned() });
                }
                _ => {
                    gone.arg(replica);
                    forget = true;
                }
            }
        }
        if forget {
            self.one::<Value>(&gone).await?;
        }
        announced.sort_by_key(|one| (std::cmp::Reverse(one.at), one.replica.clone()));
        Ok(announced)
    }

    async fn describe(&self) -> Result<StoreDescription, StoreError> {
        let infos = self.infos().await?;
        let mut addresses = preflight::addresses(&infos);
        addresses.extend(self.connection.servers().await);
        Ok(StoreDescription { addresses, ..preflight::describe_all(infos, self.durability)? })
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        for partition in self.partition_of_each_master().await? {
            let mut cmd = script::TAKE.call(&[key::canary(partition)]);
            cmd.arg(self.time.test_offset_millis()).arg(1).arg(1).arg(1_000_000);
            pipeline.add_command(cmd);
        }
        for value in self.connection.run_best_effort(&mut pipeline).await?.into_iter().flatten() {
            self.buckets.decode_taken(value)?;
        }
        Ok(())
    }

    async fn check_writes(&self) -> Result<(), StoreError> {
        let write = |partition| {
            let mut cmd = redis::cmd("SET");
            cmd.arg(key::trial(partition)).arg(1).arg("EX").arg(60);
            self.write_confirmed::<Value>(cmd, ResendPolicy::Same)
        };
        try_join_all(self.partition_of_each_master().await?.into_iter().map(write)).await.map(drop)
    }
}

impl RedisStore {
    /// One partition of each master, for a write that tests that master.
    async fn partition_of_each_master(&self) -> Result<Vec<Partition>, StoreError> {
        let random = usize::from(crate::random::bytes::<1>()[0]);
        let masters = self.connection.masters(false).await?;
        Ok(masters
            .iter()
            .filter_map(|master| master.partitions.get(random % master.partitions.len().max(1)).copied())
            .collect())
    }

    /// Lanes that may have work, and the timers, which are in no list of lanes.
    async fn queues(&self) -> Result<Vec<(Partition, Lane)>, StoreError> {
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            pipeline.cmd("ZRANGE").arg(key::lanes(partition)).arg(0).arg(MAX_LANES - 1);
        }
        let values = self.connection.run(&mut pipeline).await?;
        let mut queues: Vec<_> = Partition::all().map(|partition| (partition, Lane::timer())).collect();
        for (partition, value) in Partition::all().zip(values) {
            let names: Vec<String> = from_value(value)?;
            queues.extend(names.into_iter().map(|name| (partition, Lane(name))));
        }
        Ok(queues)
    }

    /// The `INFO` of each master, with the master's name.
    async fn infos(&self) -> Result<Vec<(String, Result<String, StoreError>)>, StoreError> {
        let answers = self.connection.send_to_all_masters(&redis::cmd("INFO")).await?;
        Ok(answers.into_iter().map(|(master, answer)| (master.name, answer.and_then(from_value))).collect())
    }
}
