//! A dedicated connection to a master that knows the server's run id and its number of replicas.

use std::time::{Duration, Instant};

use redis::{Cmd, RedisError, RedisResult, ServerErrorKind, Value, aio::MultiplexedConnection};

use super::{
    Durability,
    endpoint::HostPort,
    node::{Node, RunId, run_id},
};

/// How long a lost replica is still waited for: longer than a fail-over takes.
const REPLICA_GRACE: Duration = Duration::from_secs(60);
/// How long the number of replicas is cached.
const RECOUNT_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct ReplicatedConnection {
    pub(super) connection: MultiplexedConnection,
    /// Address of the server.
    pub(super) address: Option<HostPort>,
    pub(super) run_id: RunId,
    replicas: usize,
    fewer_since: Option<Instant>,
    counted: Instant,
}

impl ReplicatedConnection {
    pub(super) async fn open(node: &Node) -> RedisResult<Self> {
        let (mut connection, address) = node.dial_dedicated().await?;
        let run = run_id(&mut connection).await?;
        let counted = Instant::now();
        let mut replicated = Self { connection, address, run_id: run, replicas: 0, fewer_since: None, counted };
        replicated.recount().await?;
        Ok(replicated)
    }

    /// Counts the replicas. An error if the server is not a master.
    pub(super) async fn recount(&mut self) -> RedisResult<()> {
        let info: String = redis::cmd("INFO").arg("replication").query_async(&mut self.connection).await?;
        let field = |name: &str| info.lines().find_map(|line| line.trim_end().strip_prefix(name));
        if field("role:") != Some("master") {
            return Err(RedisError::from((redis::ErrorKind::Server(ServerErrorKind::ReadOnly), "it is no master")));
        }
        self.counted = Instant::now();
        let replicas = field("connected_slaves:").and_then(|count| count.parse().ok()).unwrap_or(0);
        let gone =
            replicas < self.replicas && self.fewer_since.get_or_insert_with(Instant::now).elapsed() < REPLICA_GRACE;
        if !gone {
            (self.replicas, self.fewer_since) = (replicas, None);
        }
        Ok(())
    }

    pub(super) fn has_fresh_count(&self, durability: Durability) -> bool {
        durability != Durability::AllReplicas || self.counted.elapsed() < RECOUNT_INTERVAL
    }

    pub(super) fn wait(&self, durability: Durability, patience: Duration) -> Cmd {
        let mut cmd = redis::cmd("WAIT");
        cmd.arg(self.required_replicas(durability)).arg(patience.as_millis().to_string());
        cmd
    }

    pub(super) fn is_enough(&self, durability: Durability, replicas: Option<&RedisResult<Value>>) -> bool {
        let wanted = i64::try_from(self.required_replicas(durability)).unwrap_or(i64::MAX);
        matches!(replicas, Some(Ok(Value::Int(replicas))) if *replicas >= wanted)
    }

    fn required_replicas(&self, durability: Durability) -> usize {
        if durability == Durability::AllReplicas { self.replicas.max(1) } else { 1 }
    }
}
