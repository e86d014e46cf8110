//! The memory that a link takes in Redis, and that it is released.

use std::time::Duration;

use redis::Commands as _;
use serde_json::json;

use crate::daemon::{Daemon, TestStore, WAHA, World};

/// All keys in Redis except those of replicas and rate limits, and what lease calls have leased, which expires within
/// seconds.
fn persistent_keys(connection: &mut redis::Connection) -> Vec<String> {
    let mut keys: Vec<String> = connection.scan().unwrap().map(Result::unwrap).collect();
    keys.retain(|key| {
        !matches!(key.as_str(), "cs:meta" | "cs:replicas") && !key.contains(":b:") && !key.contains(":g:")
    });
    keys
}

fn bytes(connection: &mut redis::Connection) -> usize {
    let mut usage = redis::pipe();
    for key in persistent_keys(connection) {
        usage.cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0);
    }
    usage.query::<Vec<Option<usize>>>(connection).unwrap().into_iter().flatten().sum()
}

async fn purge(daemon: &Daemon) {
    daemon.services.env.store.purge(WAHA.parse().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_link_leaves_nothing_an_hour_after_it_expired() {
    let world = World::new(TestStore::redis());
    let TestStore::Redis(server) = &world.test_store else { unreachable!() };
    let mut connection = server.connection();
    let daemon = world.start().await;
    let body = json!({"expires": 60, "chatId": "447700900123@c.us", "client_ref": "cart 7"});
    let link = daemon.create_link(body).await;
    daemon.advance(Duration::from_secs(61)).await;
    assert_eq!(daemon.status(&link.uuid).await, "expired");
    assert_eq!(world.receiver.wait_for(1).await.len(), 1);
    daemon.advance(Duration::from_secs(3_601)).await;
    purge(&daemon).await;
    assert_eq!(persistent_keys(&mut connection), Vec::<String>::new());
    daemon.finish().await;
}

/// Bytes that the quota of an instance counts for a login in addition to its texts. In a large store shared structures
/// weigh less for each login, and an entry of a long list some 90 bytes more.
const LOGIN: usize = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_login_takes_no_more_than_the_quota_counts() {
    let world = World::new(TestStore::redis());
    let TestStore::Redis(server) = &world.test_store else { unreachable!() };
    let mut connection = server.connection();
    let daemon = world.start().await;
    let count = 200;
    for n in 0..count {
        let link = daemon.create_link(json!({})).await;
        assert_eq!(daemon.send_message(&format!("4477{n:08}"), &format!("L{n}"), &link.text).await.status, 200);
    }
    daemon.settle().await;
    let each = bytes(&mut connection) / count;
    assert!((LOGIN * 8 / 10..=LOGIN).contains(&each), "{each}");
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn bytes_of_redis_for_each_link() {
    let mut world = World::new(TestStore::redis());
    world.instance_lines = "[instance.limits]\nmint_per_second = 10000\nmint_burst = 100000".to_owned();
    let TestStore::Redis(server) = &world.test_store else { unreachable!() };
    let mut connection = server.connection();
    let used = |connection: &mut redis::Connection| {
        let info: redis::InfoDict = redis::cmd("INFO").arg("memory").query(connection).unwrap();
        info.get::<usize>("used_memory").unwrap()
    };
    let daemon = world.start().await;
    daemon.create_link(json!({})).await;
    let (count, before, used_before) = (2_000_usize, bytes(&mut connection), used(&mut connection));
    for _ in 0..count / 50 {
        futures_util::future::join_all((0..50).map(|_| daemon.create_link(json!({})))).await;
    }
    let pending = bytes(&mut connection) - before;
    println!(
        "pending: {} bytes by MEMORY USAGE, {} by used_memory",
        pending / count,
        (used(&mut connection) - used_before) / count
    );

    let world = World::new(TestStore::redis());
    let TestStore::Redis(server) = &world.test_store else { unreachable!() };
    let mut connection = server.connection();
    let daemon = world.start().await;
    let count = 500;
    for n in 0..count {
        let link = daemon.create_link(json!({})).await;
        assert_eq!(daemon.send_message(&format!("4477{n:08}"), &format!("M{n}"), &link.text).await.status, 200);
    }
    daemon.settle().await;
    println!("answered and delivered just now: {} bytes", bytes(&mut connection) / count);
    daemon.advance(Duration::from_secs(3_700)).await;
    purge(&daemon).await;
    println!("an hour later: {} bytes", bytes(&mut connection) / count);
    daemon.advance(Duration::from_hours(25)).await;
    println!("a day later: {} bytes", bytes(&mut connection) / count);
    for key in persistent_keys(&mut connection).into_iter().take(12) {
        let usage: Option<usize> = redis::cmd("MEMORY").arg("USAGE").arg(&key).query(&mut connection).unwrap();
        println!("  {usage:?} {key}");
    }
}
