//! A private Redis Cluster, ended with its owner.

use std::time::{Duration, Instant};

use redis::{FromRedisValue, Value};

use crate::{
    redis_server::{self, RedisServer, free_port},
    wait::blocking_until as until,
};

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

/// Of the masters.
pub(crate) const FIRST_SLOTS: [u16; MASTERS] = [0, 5_461, 10_922];

/// Three masters, and behind them their replicas, if there are any: node 3 is that of node 0.
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<RedisServer>,
}

pub(crate) fn start() -> RedisCluster {
    form(MASTERS, Duration::from_secs(10))
}

/// With a replica of each master, which takes over when its master is silent for so long.
pub(crate) fn start_with_replicas(silence: Duration) -> RedisCluster {
    form(2 * MASTERS, silence)
}

fn form(count: usize, node_timeout: Duration) -> RedisCluster {
    // Not the port that follows from the other one, which another process may use.
    let buses: Vec<u16> = (0..count).map(|_| free_port()).collect();
    let nodes = buses.iter().map(|bus| {
        let settings = [
            ("--cluster-enabled", "yes".to_owned()),
            ("--cluster-port", bus.to_string()),
            ("--cluster-node-timeout", node_timeout.as_millis().to_string()),
            ("--cluster-replica-validity-factor", "0".to_owned()),
        ];
        redis_server::start_with(settings.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect())
    });
    let cluster = RedisCluster { nodes: nodes.collect() };
    let number = |number: usize| number.to_string();
    for index in 0..MASTERS {
        let (first, after) = (index * SLOTS / MASTERS, (index + 1) * SLOTS / MASTERS);
        cluster.execute(index, &["CLUSTER", "ADDSLOTSRANGE", &number(first), &number(after - 1)]);
    }
    for (index, (node, bus)) in cluster.nodes.iter().zip(&buses).enumerate() {
        cluster.execute(index, &["CLUSTER", "SET-CONFIG-EPOCH", &number(index + 1)]);
        cluster.execute(0, &["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), &bus.to_string()]);
    }
    for index in 0..count {
        until("all nodes know one another", || cluster.info(index).contains(&format!("cluster_known_nodes:{count}\r")));
    }
    for index in MASTERS..count {
        cluster.execute(index, &["CLUSTER", "REPLICATE", &cluster.id(index - MASTERS)]);
    }
    cluster.wait_until_healthy();
    cluster
}

impl RedisCluster {
    /// Some nodes are enough, and one of them is away for ever.
    pub(crate) fn url(&self) -> String {
        format!("redis-cluster://127.0.0.1:1,127.0.0.1:{},127.0.0.1:{}", self.nodes[0].port, self.nodes[1].port)
    }

    pub(crate) fn try_query<T: FromRedisValue>(&self, node: usize, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.nodes[node].url())?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(5))?;
        redis::cmd(words[0]).arg(&words[1..]).query(&mut connection)
    }

    pub(crate) fn query<T: FromRedisValue>(&self, node: usize, words: &[&str]) -> T {
        self.try_query(node, words).unwrap_or_else(|error| panic!("{words:?} at node {node}: {error}"))
    }

    pub(crate) fn execute(&self, node: usize, words: &[&str]) {
        let _: Value = self.query(node, words);
    }

    /// Empty while the node reads its data.
    fn info(&self, node: usize) -> String {
        self.try_query(node, &["CLUSTER", "INFO"]).unwrap_or_default()
    }

    fn id(&self, node: usize) -> String {
        self.query(node, &["CLUSTER", "MYID"])
    }

    /// Whether a node sees as many replicas as there are. Until a node has learned that another one is a replica, it
    /// ignores its request for a fail-over and denies it its vote.
    fn sees_replicas(&self, node: usize) -> bool {
        let nodes: String = self.try_query(node, &["CLUSTER", "NODES"]).unwrap_or_default();
        let is_replica = |line: &&str| line.split(' ').nth(2).is_some_and(|flags| flags.contains("slave"));
        nodes.lines().filter(is_replica).count() == self.nodes.len() - MASTERS
    }

    /// Waits until every node sees all slots served and all replicas, and every replica follows.
    pub(crate) fn wait_until_healthy(&self) {
        for node in 0..self.nodes.len() {
            until("each node sees all of it", || self.info(node).contains("cluster_state:ok"));
            until("each node sees all replicas", || self.sees_replicas(node));
            until("the replica follows", || {
                let info: String = self.query(node, &["INFO", "replication"]);
                info.contains("role:master") || info.contains("master_link_status:up")
            });
        }
        let replicas = self.nodes.len() - MASTERS;
        until("the masters know their replicas", || {
            let infos = (0..self.nodes.len()).map(|node| self.query::<String>(node, &["INFO", "replication"]));
            infos.filter(|info| info.contains("connected_slaves:1")).count() == replicas
        });
    }

    /// Empties all of it.
    pub(crate) fn flush(&self) {
        for node in 0..MASTERS {
            self.execute(node, &["FLUSHALL"]);
        }
    }

    pub(crate) fn slot_of(&self, key: &str) -> u16 {
        self.query(0, &["CLUSTER", "KEYSLOT", key])
    }

    /// The node that has a slot, as `asked` sees it. During a fail-over a node may know none for a moment.
    pub(crate) fn owner(&self, asked: usize, slot: u16) -> usize {
        let mut owner = None;
        until("the slot has an owner", || {
            owner = self.known_owner(asked, slot);
            owner.is_some()
        });
        owner.expect("it was waited for")
    }

    fn known_owner(&self, asked: usize, slot: u16) -> Option<usize> {
        let ranges: Vec<Vec<Value>> = self.query(asked, &["CLUSTER", "SLOTS"]);
        let range = ranges.iter().find(|range| {
            let bound = |index: usize| redis::from_redis_value::<u16>(range[index].clone()).unwrap();
            (bound(0)..=bound(1)).contains(&slot)
        })?;
        let node: Vec<Value> = redis::from_redis_value(range[2].clone()).unwrap();
        let port: u16 = redis::from_redis_value(node[1].clone()).unwrap();
        self.nodes.iter().position(|node| node.port == port)
    }

    /// Lets a replica take over from its living master, which has this slot, and asks again when that came to nothing.
    pub(crate) fn fail_over(&self, slot: u16, replica: usize) {
        let mut asked = None::<Instant>;
        until("the replica takes over", || {
            if asked.is_none_or(|at| at.elapsed() > Duration::from_secs(6)) {
                // It refuses where it has taken over already.
                let _ = self.try_query::<Value>(replica, &["CLUSTER", "FAILOVER"]);
                asked = Some(Instant::now());
            }
            (0..MASTERS).all(|asked| self.owner(asked, slot) == replica)
        });
    }

    /// Begins to move a slot; new keys of it are made at `to` from now on.
    pub(crate) fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        self.execute(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.id(from)]);
        self.execute(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.id(to)]);
    }

    /// Moves the slot's keys, and gives the slot away. How many keys there were.
    pub(crate) fn end_move(&self, slot: u16, from: usize, to: usize) -> usize {
        let (slot, port, id) = (slot.to_string(), self.nodes[to].port.to_string(), self.id(to));
        let mut moved = 0;
        loop {
            let keys: Vec<String> = self.query(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            if keys.is_empty() {
                break;
            }
            moved += keys.len();
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            words.extend(keys.iter().map(String::as_str));
            self.execute(from, &words);
        }
        for node in [to, from] {
            self.execute(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
        moved
    }

    /// How often the nodes answered with this error.
    pub(crate) fn errors(&self, code: &str) -> u64 {
        let counts = (0..self.nodes.len()).map(|node| {
            let stats: String = self.try_query(node, &["INFO", "errorstats"]).unwrap_or_default();
            let line = stats.lines().find_map(|line| line.strip_prefix(&format!("errorstat_{code}:count=")));
            line.map_or(0, |count| count.trim().parse().unwrap())
        });
        counts.sum()
    }
}
