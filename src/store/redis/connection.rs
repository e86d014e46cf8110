//! Connections to Redis: to a single master, or to the masters of a cluster.

use std::{sync::Arc, time::Instant};

use futures_util::FutureExt as _;
use redis::{Cmd, Pipeline, Value};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

pub(super) use super::node::{MasterNode, RuntimeThread};
use super::{
    Durability,
    cluster::Cluster,
    confirmed_writer::ConfirmedWriter,
    endpoint::Endpoint,
    node::Node,
    retries::{REPORTING_RESERVE, ResendPolicy, send_with_retries, write_with_retries},
    seed_nodes::SeedNodes,
    switch_master,
};
use crate::{
    config::TlsConfig,
    domain::Partition,
    store::{
        StoreError,
        background::Background,
        time_budget::{OF_A_REQUEST, TimeBudget},
    },
};

/// A handle to the connections. Clones share them, and each may limit its calls by a time budget of its own.
#[derive(Clone)]
pub(super) struct RedisConnection {
    topology: Arc<Topology>,
    /// `None`: each call has the time of a request.
    budget: Option<Arc<TimeBudget>>,
}

enum Topology {
    One {
        node: Arc<Node>,
        writer: Option<ConfirmedWriter>,
        /// Watches Sentinels for a new master; only where the URL names Sentinels.
        _master_watch: Option<AbortOnDropHandle<()>>,
    },
    Cluster(Box<Cluster>),
}

impl RedisConnection {
    /// Errors do not quote `url`, which may hold a password.
    pub(super) fn new(
        url: &str,
        tls: &TlsConfig,
        durability: Durability,
        background: &Background,
    ) -> Result<Self, StoreError> {
        if let Some(seeds) = SeedNodes::parse(url, tls)? {
            return Ok(Topology::Cluster(Box::new(Cluster::new(seeds, durability, background))).into());
        }
        let node = Arc::new(Node::new(Endpoint::parse(url, tls)?, durability));
        let confirmed = durability != Durability::Standard;
        let open = || ConfirmedWriter::open(&Handle::current(), background, Arc::clone(&node), durability);
        let writer = confirmed.then(open);
        let master_watch = node.endpoint().address().is_none().then(|| switch_master::start(&node));
        Ok(Topology::One { node, writer, _master_watch: master_watch }.into())
    }

    /// The same connections, with calls limited by `budget`.
    pub(super) fn within(&self, budget: &Arc<TimeBudget>) -> Self {
        Self { topology: Arc::clone(&self.topology), budget: Some(Arc::clone(budget)) }
    }

    /// The same connections, with the time of one request for each call.
    pub(super) fn without_budget(&self) -> Self {
        Self { budget: None, ..self.clone() }
    }

    /// The deadline of a call that starts now, including its retries.
    fn deadline(&self) -> Instant {
        let left = self.budget.as_ref().map_or(OF_A_REQUEST, |budget| budget.left());
        Instant::now() + left.saturating_sub(REPORTING_RESERVE)
    }

    /// Replaces the URL by another one of the same store. New connections use its credentials and these certificates.
    pub(super) fn replace_url(&self, url: &str, tls: &TlsConfig) -> Result<(), StoreError> {
        match (&*self.topology, SeedNodes::parse(url, tls)?) {
            (Topology::Cluster(cluster), Some(seeds)) => cluster.replace_seeds(seeds),
            (Topology::One { node, .. }, None) => {
                node.set_endpoint(Endpoint::parse(url, tls)?);
                Ok(())
            }
            _ => Err(StoreError::Misconfigured("store.url: leads to a store of another kind".to_owned())),
        }
    }

    /// Sends a pipeline of idempotent commands, with retries within the request's store time.
    pub(super) async fn run(&self, pipeline: &mut Pipeline) -> Result<Vec<Value>, StoreError> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        match &*self.topology {
            Topology::One { node, .. } => send_with_retries(node, pipeline.ignore_errors(), self.deadline()).await,
            // Boxed to keep the future small without a cluster.
            Topology::Cluster(cluster) => cluster.run(pipeline, self.deadline()).boxed().await,
        }
    }

    /// Like [`RedisConnection::run`], but in a cluster a command whose master is unreachable, or whose slot is migrating,
    /// yields `None` at once instead of delaying the others.
    pub(super) async fn run_best_effort(&self, pipeline: &mut Pipeline) -> Result<Vec<Option<Value>>, StoreError> {
        match &*self.topology {
            Topology::One { .. } => Ok(self.run(pipeline).await?.into_iter().map(Some).collect()),
            Topology::Cluster(cluster) => cluster.run_best_effort(pipeline).boxed().await,
        }
    }

    /// Sends a write; in a durable store, waits until it is confirmed.
    pub(super) async fn write_confirmed(&self, cmd: Cmd, repeat: ResendPolicy) -> Result<Value, StoreError> {
        match &*self.topology {
            Topology::One { node, writer: Some(writer), .. } => {
                write_with_retries(node, repeat, self.deadline(), |again| writer.run(repeat.of(&cmd, again), false))
                    .await
            }
            Topology::One { writer: None, .. } => self.write(cmd, repeat).await,
            Topology::Cluster(cluster) => cluster.write_confirmed(cmd, repeat, self.deadline()).boxed().await,
        }
    }

    /// Sends a write that needs no confirmation by replicas, also in a durable store.
    pub(super) async fn write(&self, cmd: Cmd, repeat: ResendPolicy) -> Result<Value, StoreError> {
        match &*self.topology {
            Topology::One { node, .. } => {
                write_with_retries(node, repeat, self.deadline(), |again| node.write(repeat.of(&cmd, again))).await
            }
            Topology::Cluster(cluster) => cluster.write(cmd, repeat, self.deadline()).boxed().await,
        }
    }

    /// Reads records. A durable store waits until the writes they come from are confirmed.
    pub(super) async fn read_confirmed(&self, cmds: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        match &*self.topology {
            _ if cmds.is_empty() => Ok(Vec::new()),
            Topology::One { writer: Some(writer), node, .. } => {
                write_with_retries(node, ResendPolicy::Same, self.deadline(), |_| {
                    writer.read(node, cmds.clone(), false)
                })
                .await
            }
            Topology::One { writer: None, .. } => {
                let mut pipeline = Pipeline::with_capacity(cmds.len());
                for cmd in cmds {
                    pipeline.add_command(cmd);
                }
                self.run(&mut pipeline).await
            }
            Topology::Cluster(cluster) => cluster.read_confirmed(cmds, self.deadline()).boxed().await,
        }
    }

    /// Whether two partitions may lie on two masters.
    pub(super) fn has_many_masters(&self) -> bool {
        matches!(*self.topology, Topology::Cluster(_))
    }

    /// Sends a command without keys to every master.
    pub(super) async fn send_to_all_masters(
        &self,
        cmd: &Cmd,
    ) -> Result<Vec<(MasterNode, Result<Value, StoreError>)>, StoreError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(cmd.clone()).ignore_errors();
        let masters = self.masters(false).await?;
        let asked = masters.into_iter().map(async |master| {
            let answer = match &*self.topology {
                Topology::One { .. } => send_with_retries(&master.node, &pipeline, self.deadline()).await,
                Topology::Cluster(cluster) => cluster.ask_node(&master.node, &pipeline, self.deadline()).await,
            };
            (master, answer.map(|mut values| values.pop().unwrap_or(Value::Nil)))
        });
        Ok(futures_util::future::join_all(asked).await)
    }

    /// Servers that were reached, or that their cluster or their Sentinels name.
    pub(super) async fn servers(&self) -> Vec<(String, u16)> {
        match &*self.topology {
            Topology::One { node, .. } => node.last_address().into_iter().chain(node.peers().await).collect(),
            Topology::Cluster(cluster) => cluster.nodes(),
        }
    }

    /// Returns when the single master has been replaced. Never returns in a cluster, where each command finds its
    /// master.
    pub(super) async fn wait_for_new_master(&self) {
        match &*self.topology {
            Topology::One { node, .. } => drop(node.master_changes().changed().await),
            Topology::Cluster(_) => std::future::pending().await,
        }
    }

    /// All masters. `anew` refetches a cluster's slot map, which is known to be stale.
    pub(super) async fn masters(&self, anew: bool) -> Result<Vec<MasterNode>, StoreError> {
        match &*self.topology {
            Topology::One { node, .. } => {
                let (name, node, partitions) = (String::new(), Arc::clone(node), Partition::all().collect());
                Ok(vec![MasterNode { name, node, partitions }])
            }
            Topology::Cluster(cluster) => cluster.masters(anew, self.deadline()).boxed().await,
        }
    }
}

impl From<Topology> for RedisConnection {
    fn from(topology: Topology) -> Self {
        Self { topology: Arc::new(topology), budget: None }
    }
}

/// Hosts and ports named in `store.url`: of Redis, of Sentinels, or of a cluster's seed nodes.
pub fn addresses(url: &str) -> Vec<(String, u16)> {
    let tls = TlsConfig::default();
    match (SeedNodes::parse(url, &tls), Endpoint::parse(url, &tls)) {
        (Ok(Some(seeds)), _) => seeds.addresses.into_iter().map(|address| (address.host, address.port)).collect(),
        (_, Ok(source)) => source.addresses(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_host_of_a_url_is_named() {
        let addresses = |url: &str| {
            let addresses = super::addresses(url).into_iter().map(|(host, port)| format!("{host} {port}"));
            addresses.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(addresses("redis://:p@a/0"), "a 6379");
        assert_eq!(addresses("rediss://[::1]:7/0"), "::1 7");
        assert_eq!(addresses("redis+sentinel://:p@a,b:7/otp/0"), "a 26379, b 7");
        assert_eq!(addresses("redis-cluster://:p@a,[::1]:7"), "a 6379, ::1 7");
        assert_eq!(addresses("nonsense"), "");
    }
}
