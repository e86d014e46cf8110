//! Readiness depends only on conditions of this replica; liveness only on a response.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    daemon::{Daemon, TestStore, World},
    process::Process,
    redis_server::{self, RedisServer},
    wait,
};

async fn probe_status(daemon: &Daemon, path: &str) -> u16 {
    daemon.send(http::Request::get(format!("{}{path}", daemon.operator)).body(Vec::new()).unwrap()).await.status
}

async fn until(daemon: &Daemon, status: u16) {
    wait::until(&format!("/readyz answers {status}"), async || {
        assert_eq!(probe_status(daemon, "/livez").await, 200, "a restart would not mend the store");
        probe_status(daemon, "/readyz").await == status
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_depends_on_the_store_and_liveness_does_not() {
    let server = Arc::new(redis_server::start());
    let world = World::new(TestStore::Redis(Arc::clone(&server)));
    let daemon = world.start().await;
    until(&daemon, 200).await;
    server.signal("-KILL");
    until(&daemon, 503).await;
    server.restart();
    until(&daemon, 200).await;

    // The address now leads to a read-only server.
    let replica_of = |words: [&str; 2]| {
        let _: () = redis::cmd("REPLICAOF").arg(&words).query(&mut server.connection()).unwrap();
    };
    let other = redis_server::start();
    replica_of(["127.0.0.1", &other.port.to_string()]);
    until(&daemon, 503).await;
    replica_of(["NO", "ONE"]);
    until(&daemon, 200).await;
    daemon.finish().await;
}

/// A store that refuses connections, and one that does not answer. The best of six, as other tests load the machine.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_changes_within_six_seconds() {
    let server = redis_server::start();
    let mut world = World::new(TestStore::directory());
    world.store = Some(store_config(&server, "standard"));
    let process = Process::start(&world).await;
    for (signal, says) in [("-KILL", "nothing listens"), ("-STOP", "")] {
        let mut took = Vec::new();
        while took.len() < 6 && took.last().is_none_or(|took| *took >= Duration::from_secs(6)) {
            process.wait_until_ready().await;
            server.signal(signal);
            let start = Instant::now();
            wait::until("it falls", async || process.operator("/readyz").await.status == 503).await;
            took.push(start.elapsed());
            let text = process.operator("/readyz").await.text;
            assert!(text.starts_with("not ready: ") && text.contains(says), "{text}");
            if signal == "-KILL" { server.restart() } else { server.signal("-CONT") }
        }
        println!("{signal}: {took:?}");
        assert!(took.last().is_some_and(|took| *took < Duration::from_secs(6)), "{signal}: {took:?}");
    }
    process.wait_until_ready().await;
    process.terminate();
}

fn store_config(server: &RedisServer, durability: &str) -> String {
    format!("url = \"{}\"\ndurability = \"{durability}\"", server.url())
}

fn execute(server: &RedisServer, words: &[&str]) {
    redis::cmd(words[0]).arg(&words[1..]).exec(&mut server.connection()).unwrap();
}

/// Ready at more probes in a row than a fall takes.
async fn assert_stays_ready(process: &Process) {
    let probes = async || process.metric("countersign_store_request_seconds_count{operation=\"probe\"}").await;
    let first = probes().await;
    wait::until("ten probes more", async || {
        assert_eq!(process.operator("/readyz").await.status, 200, "{}", process.output());
        probes().await >= first + 10.0
    })
    .await;
    assert!(process.mint(json!({})).await.is_none(), "it is refused");
}

/// All replicas stay ready, and pending logins finish, on an old process and on one that starts meanwhile.
async fn assert_all_replicas_stay_ready(world: &World, refuse: impl FnOnce(), old_finishes: bool) {
    let process = Process::start(world).await;
    let mut minted = None;
    // A loaded replica may confirm too late.
    wait::until("a link", async || {
        minted = process.mint(json!({})).await;
        minted.is_some()
    })
    .await;
    refuse();
    wait::until("new work is refused", async || process.mint(json!({})).await.is_none()).await;
    assert_stays_ready(&process).await;
    let other = Process::start(world).await;
    assert_stays_ready(&other).await;
    assert_eq!(
        other.send_message("447700900123", "S1", &minted.unwrap().text_of("text")).await,
        old_finishes,
        "{}",
        other.output()
    );
    process.terminate();
    other.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_leaves_replicas_ready() {
    let server = redis_server::start();
    let mut world = World::new(TestStore::directory());
    world.store = Some(store_config(&server, "standard"));
    assert_all_replicas_stay_ready(&world, || execute(&server, &["CONFIG", "SET", "maxmemory", "1mb"]), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_replica_of_redis_leaves_replicas_ready() {
    let master = redis_server::start();
    let replica = redis_server::start_replica_of(&master);
    let mut world = World::new(TestStore::directory());
    world.store = Some(store_config(&master, "durable"));
    assert_all_replicas_stay_ready(&world, || replica.signal("-KILL"), false).await;
}

/// Redis refuses writes with NOREPLICAS, and answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_requires_replicas_leaves_replicas_ready() {
    let server = redis_server::start();
    let mut world = World::new(TestStore::directory());
    world.store = Some(store_config(&server, "standard"));
    assert_all_replicas_stay_ready(
        &world,
        || execute(&server, &["CONFIG", "SET", "min-replicas-to-write", "1"]),
        false,
    )
    .await;
}
