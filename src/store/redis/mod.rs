//! The store for any number of replicas: Redis 7 or Valkey 8, alone, behind Sentinels or as a cluster.
//!
//! Every change is one Lua script on one partition. The keys of a partition share a hash tag, so a script runs on a
//! cluster as it does on a single master. Scripts return the time they ran at; each replica derives the store's clock
//! from it.

mod archive;
mod buckets;
mod change_pubsub;
mod cluster;
mod cluster_command;
mod cluster_error;
mod confirmed_writer;
mod connection;
mod counters;
mod endpoint;
mod error_hint;
mod job_positions;
mod jobs;
mod key;
mod leases;
mod leasing;
mod limits;
mod master;
mod node;
mod operations;
mod parse;
mod preflight;
mod records;
mod recovery;
mod replicated_connection;
mod retries;
mod script;
mod seed_nodes;
mod slot;
mod slot_map;
mod subscriber;
mod switch_master;
mod time;

use std::{sync::Arc, time::Duration};

use redis::{Cmd, Value};

pub use connection::addresses;

pub use crate::config::Durability;

use self::{
    buckets::Buckets, change_pubsub::ChangePubSub, connection::RedisConnection, parse::from_value,
    retries::ResendPolicy, time::ServerClockEstimate,
};
use super::{Background, StoreError};
use crate::{clock::Clock, config::TlsConfig};

/// A [`super::Store`] on Redis 7 or Valkey 8.
#[derive(Clone)]
pub struct RedisStore {
    connection: RedisConnection,
    durability: Durability,
    time: Arc<ServerClockEstimate>,
    buckets: Buckets,
    pubsub: Arc<ChangePubSub>,
    background: Background,
}

impl RedisStore {
    /// Does not connect yet: an unreachable store must not keep the process from starting.
    pub fn new(url: &str, durability: Durability, clock: Clock) -> Result<Self, StoreError> {
        Self::with_tls(url, &TlsConfig::default(), durability, clock)
    }

    /// As [`Self::new`], with certificates for a URL whose scheme begins with `rediss`.
    pub fn with_tls(url: &str, tls: &TlsConfig, durability: Durability, clock: Clock) -> Result<Self, StoreError> {
        let background = Background::default();
        let connection = RedisConnection::new(url, tls, durability, &background)?;
        let pubsub = Arc::new(ChangePubSub::new(connection.clone(), background.clone()));
        let time = Arc::new(ServerClockEstimate::new(clock));
        let buckets = Buckets::new(connection.clone(), Arc::clone(&time));
        Ok(Self { connection, durability, time, buckets, pubsub, background })
    }

    async fn one<T: redis::FromRedisValue>(&self, cmd: &Cmd) -> Result<T, StoreError> {
        let mut pipeline = redis::Pipeline::with_capacity(1);
        let mut values = self.connection.run(pipeline.add_command(cmd.clone())).await?;
        from_value(values.pop().unwrap_or(Value::Nil))
    }

    /// Sends a write that must survive a fail-over in a durable store.
    async fn write_confirmed<T: redis::FromRedisValue>(&self, cmd: Cmd, repeat: ResendPolicy) -> Result<T, StoreError> {
        from_value(self.connection.write_confirmed(cmd, repeat).await?)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
