//! Fail-over by Sentinel: requests pause, and no acknowledged write is lost.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use countersign::{
    clock::Clock,
    store::{
        Operations as _, Records as _,
        redis::{Durability, RedisStore},
    },
};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    daemon::{Daemon, TestStore, World},
    redis_server::{self, RedisServer},
    wait::{TIMEOUT, until},
};

/// A master, its replica, and three Sentinels.
pub(crate) struct SentinelSetup {
    pub(crate) master: RedisServer,
    pub(crate) replica: RedisServer,
    /// A second one, where there is one.
    other: Option<RedisServer>,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sentinel {
    fn start(master: &RedisServer) -> Self {
        let (directory, port) = (tempfile::tempdir().unwrap(), redis_server::free_port());
        let file = directory.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor otp 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds otp 2000\nsentinel failover-timeout otp 5000\n",
            directory.path().display(),
            master.port
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), port, _directory: directory }
    }

    fn query(&self, words: &[&str]) -> Option<redis::Value> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        redis::cmd("SENTINEL").arg(words).query(&mut client.get_connection().ok()?).ok()
    }

    fn master_port(&self) -> Option<u16> {
        let (_, port): (String, u16) =
            redis::from_redis_value(self.query(&["GET-MASTER-ADDR-BY-NAME", "otp"])?).ok()?;
        Some(port)
    }

    /// Whether it knows the other Sentinels and the replica.
    fn knows_all(&self, replicas: usize) -> bool {
        let count = |word| match self.query(&[word, "otp"]) {
            Some(redis::Value::Array(list)) => list.len(),
            _ => 0,
        };
        count("SENTINELS") == 2 && count("REPLICAS") == replicas
    }
}

impl SentinelSetup {
    pub(crate) async fn start() -> Self {
        Self::start_with(1).await
    }

    async fn start_with(replicas: usize) -> Self {
        let master = redis_server::start();
        let replica = redis_server::start_replica_of(&master);
        let other = (replicas > 1).then(|| redis_server::start_replica_of(&master));
        let sentinels: Vec<Sentinel> = (0..3).map(|_| Sentinel::start(&master)).collect();
        let watched = Self { master, replica, other, sentinels };
        for replica in std::iter::once(&watched.replica).chain(&watched.other) {
            until("the replica follows", async || {
                let info: String = redis::cmd("INFO").arg("replication").query(&mut replica.connection()).unwrap();
                info.contains("master_link_status:up")
            })
            .await;
        }
        until("the Sentinels know one another", async || watched.sentinels.iter().all(|one| one.knows_all(replicas)))
            .await;
        watched
    }

    /// One of the Sentinels is away for ever.
    pub(crate) fn url(&self) -> String {
        Self::url_of(&self.sentinels)
    }

    fn url_of(sentinels: &[Sentinel]) -> String {
        let ports = sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port));
        let hosts: Vec<String> = std::iter::once("127.0.0.1:1".to_owned()).chain(ports).collect();
        format!("redis+sentinel://{}/otp/0", hosts.join(","))
    }

    /// Makes the replica the master, and waits until every Sentinel says so.
    pub(crate) async fn fail_over(&self) {
        until("the fail-over begins", async || self.sentinels[0].query(&["FAILOVER", "otp"]).is_some()).await;
        self.promoted().await;
    }

    async fn promoted(&self) {
        let replica = self.replica.port;
        until("the replica is promoted", async || {
            self.sentinels.iter().all(|sentinel| sentinel.master_port() == Some(replica))
        })
        .await;
    }
}

/// Repeats the webhook until it is accepted, as gateways do.
async fn send_until_accepted(daemon: &Daemon, id: &str, text: &str) {
    until("the message is taken", async || daemon.send_message("447700900123", id, text).await.status == 200).await;
}

/// Although their networks are open, and the URL names one Sentinel: not the master, its replica, or the other
/// Sentinels. Another address with one of their ports may be another of them.
#[tokio::test(flavor = "multi_thread")]
async fn no_callback_reaches_the_store_or_another_replicas_operator_listener() {
    let watched = SentinelSetup::start().await;
    let mut world = World::new(TestStore::directory());
    let url = SentinelSetup::url_of(&watched.sentinels[..1]);
    world.store = Some(format!("url = \"{url}\"\ndurability = \"durable\""));
    let (daemon, other) = (world.start().await, world.start().await);
    let operator = other.operator.rsplit_once(':').unwrap().1.parse().unwrap();
    let sentinels = watched.sentinels.iter().map(|sentinel| sentinel.port);
    let closed: Vec<u16> = sentinels.chain([watched.master.port, watched.replica.port, operator]).collect();
    until("all of them are closed", async || {
        for port in &closed {
            for host in ["127.0.0.1", "127.0.0.2"] {
                if !daemon.is_denied(&format!("http://{host}:{port}/")).await {
                    return false;
                }
            }
        }
        true
    })
    .await;
    assert!(!daemon.is_denied(&world.receiver.url).await, "the app is not");
    other.finish().await;
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_master_only_delays_logins() {
    let watched = SentinelSetup::start().await;
    let mut world = World::new(TestStore::directory());
    world.store = Some(format!("url = \"{}\"\ndurability = \"durable\"", watched.url()));
    let daemon = world.start().await;
    let (before, pending) = (daemon.create_link(json!({})).await, daemon.create_link(json!({})).await);
    send_until_accepted(&daemon, "S1", &before.text).await;
    daemon.settle().await;
    watched.master.signal("-KILL");
    assert_ne!(daemon.send_message("447700900123", "S2", &pending.text).await.status, 200, "no replica confirms it");
    watched.promoted().await;
    // No replica is left to confirm, so no write is acknowledged until the old master is back as a replica.
    assert_ne!(
        daemon.send_message("447700900123", "S2", &pending.text).await.status,
        200,
        "still no replica confirms it"
    );
    watched.master.restart();
    send_until_accepted(&daemon, "S2", &pending.text).await;
    for link in [&before, &pending] {
        assert_eq!(daemon.status(&link.uuid).await, "verified");
    }
    until("both callbacks", async || {
        daemon.settle().await;
        world.receiver.requests().len() >= 2
    })
    .await;
    let mut ids: Vec<String> =
        world.receiver.requests().iter().map(|one| one.header("webhook-id").to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2, "each under its own id, however often");
    daemon.finish().await;
}

/// Creates links until the fail-over is complete, and returns the results.
struct FailoverLoad {
    minted: Vec<String>,
    refused: usize,
    pause: Duration,
    /// The last answer.
    answered: Instant,
    answers: Vec<Instant>,
}

impl FailoverLoad {
    async fn run(daemon: &Daemon, is_over: impl AsyncFn(&Self) -> bool) -> Self {
        let mut load = Self {
            minted: Vec::new(),
            refused: 0,
            pause: Duration::ZERO,
            answered: Instant::now(),
            answers: Vec::new(),
        };
        let start = Instant::now();
        while !is_over(&load).await {
            assert!(start.elapsed() < TIMEOUT, "never: it serves again: {load}");
            for answer in futures_util::future::join_all((0..4).map(|_| daemon.mint(json!({})))).await {
                if answer.status == 200 {
                    load.pause = load.pause.max(load.answered.elapsed());
                    load.answered = Instant::now();
                    load.answers.push(load.answered);
                    load.minted.push(answer.text_of("uuid"));
                } else {
                    assert_eq!(answer.status, 503, "{}", answer.text);
                    load.refused += 1;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        load
    }

    /// How many of those that were answered are not there.
    async fn lost_links(&self, daemon: &Daemon) -> usize {
        let mut lost = 0;
        for uuid in &self.minted {
            let path = format!("/api/otp/v2/{}/requests/{uuid}", crate::daemon::WAHA);
            let mut status = 503;
            until("it is read", async || {
                status = daemon.get(&path).await.status;
                status != 503
            })
            .await;
            lost += usize::from(status != 200);
        }
        lost
    }
}

impl std::fmt::Display for FailoverLoad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} minted, {} refused, longest pause {:?}", self.minted.len(), self.refused, self.pause)
    }
}

async fn serving(watched: &SentinelSetup, confirm: &str) -> (World, Daemon) {
    let mut world = World::new(TestStore::directory());
    world.store = Some(format!("url = \"{}\"\nconfirm = \"{confirm}\"", watched.url()));
    let daemon = world.start().await;
    until("links are minted", async || daemon.mint(json!({})).await.status == 200).await;
    until("the fail-over begins", async || watched.sentinels[0].query(&["FAILOVER", "otp"]).is_some()).await;
    (world, daemon)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_fail_over_loses_nothing() {
    let watched = SentinelSetup::start_with(2).await;
    let (_world, daemon) = serving(&watched, "all").await;
    let start = Instant::now();
    // Until the new master has served for a while.
    let load = FailoverLoad::run(&daemon, async |load| {
        let is_new = watched.sentinels.iter().all(|one| one.master_port() != Some(watched.master.port));
        is_new && load.answered.elapsed() < Duration::from_millis(200) && start.elapsed() > Duration::from_secs(8)
    })
    .await;
    let lost = load.lost_links(&daemon).await;
    println!("planned fail-over: {load}, {lost} lost");
    assert_eq!(lost, 0, "{load}");
    assert!(load.pause < Duration::from_secs(3), "{load}");
    daemon.finish().await;
}

/// A lone replica, once promoted, has no replica to confirm until the old master follows it. Sentinel sees to that
/// after eight seconds at the earliest; for a planned fail-over the operator can do it at once.
#[tokio::test(flavor = "multi_thread")]
async fn with_one_replica_writes_resume_when_the_old_master_follows() {
    let watched = SentinelSetup::start().await;
    let (_world, daemon) = serving(&watched, "auto").await;
    let (master, replica) = (&watched.master, &watched.replica);
    let follows = async {
        until("a Sentinel has switched", async || watched.sentinels[0].master_port() == Some(replica.port)).await;
        let words = ["127.0.0.1".to_owned(), replica.port.to_string()];
        let _: () = redis::cmd("REPLICAOF").arg(&words).query(&mut master.connection()).unwrap();
        until("the old master follows", async || replica.info("replication").contains("state=online")).await;
        Instant::now()
    };
    let load = FailoverLoad::run(&daemon, async |load| {
        // Sentinels may still name the old one.
        let is_new = replica.info("replication").contains("state=online");
        is_new && load.answered.elapsed() < Duration::from_millis(200) && load.refused > 0
    });
    let (load, followed) = tokio::join!(load, follows);
    let first = load.answers.iter().find(|at| **at >= followed);
    let resumed = first.map_or(Duration::ZERO, |first| first.duration_since(followed));
    let lost = load.lost_links(&daemon).await;
    println!("planned fail-over, one replica: {load}, {lost} lost, served {resumed:?} after the old master followed");
    assert!(resumed < Duration::from_secs(3), "{load}");
    assert_eq!(lost, 0, "{load}");
    daemon.finish().await;
}

/// The old master still responds but refuses writes, so connections to it must be replaced.
#[tokio::test(flavor = "multi_thread")]
async fn connections_leave_a_demoted_master() {
    let watched = SentinelSetup::start().await;
    let store = RedisStore::new(&watched.url(), Durability::Standard, Clock::default()).unwrap();
    store.probe().await.unwrap();
    until("the fail-over begins", async || watched.sentinels[0].query(&["FAILOVER", "otp"]).is_some()).await;
    watched.promoted().await;
    // The old one takes writes for eight seconds more.
    until("writes go to the new master", async || {
        let (key, change) = crate::store::one_record(&store);
        store.commit(&change).await.is_ok()
            && RedisStore::new(&watched.replica.url(), Durability::Standard, Clock::default())
                .unwrap()
                .load(key)
                .await
                .unwrap()
                .is_some()
    })
    .await;
    assert!(watched.master.info("replication").contains("role:master"), "the fail-over was not waited for");
    until("the old master follows", async || {
        // Sentinel ends the connections to a master that it demotes, this one as well.
        let role = watched.master.try_connection().and_then(|mut asked| redis::cmd("ROLE").query(&mut asked));
        matches!(role, Ok(redis::Value::Array(words)) if words.first() == Some(&redis::Value::BulkString(b"slave".to_vec())))
    })
    .await;
    until("writes go to the new master", async || store.probe().await.is_ok()).await;
    assert!(store.describe().await.unwrap().text.contains("master"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_master_is_reported() {
    let watched = SentinelSetup::start().await;
    let url = watched.url().replace("/otp/", "/opt/");
    let store = RedisStore::new(&url, Durability::Standard, Clock::default()).unwrap();
    let error = store.probe().await.unwrap_err().to_string();
    assert!(error.contains("no Sentinel in store.url knows a living master"), "{error}");
}
