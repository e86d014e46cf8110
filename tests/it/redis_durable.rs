//! A durable store responds only with data that a replica has confirmed.

use std::time::{Duration, Instant};

use countersign::{
    clock::Clock,
    store::{
        Records as _,
        redis::{Durability, RedisStore},
    },
};
use serde_json::json;

use crate::{
    daemon::{TestStore, WAHA, World},
    proxy::Proxy,
    redis_server::{self, RedisServer},
    wait::{blocking_until, until},
};

fn wait_for_replica(master: &RedisServer) {
    blocking_until("the replica follows", || {
        let _: () = redis::cmd("SET").arg("x").arg(1).query(&mut master.connection()).unwrap();
        let confirmed: i64 = redis::cmd("WAIT").arg(1).arg(200).query(&mut master.connection()).unwrap();
        confirmed >= 1
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn unconfirmed_writes_are_not_visible() {
    let master = redis_server::start();
    let replica = redis_server::start_replica_of(&master);
    wait_for_replica(&master);
    let mut world = World::new(TestStore::directory());
    world.store = Some(format!("url = \"{}\"\ndurability = \"durable\"", master.url()));
    let daemon = world.start().await;
    let mint = format!("/api/otp/v2/{WAHA}/generate-link");
    let mint = || daemon.post_with(&mint, json!({}), &[("idempotency-key", "k")]);
    let mut old = None;
    until("the replica confirms", async || {
        let minted = daemon.mint(json!({})).await;
        let confirmed = minted.status == 200;
        old = confirmed.then_some(minted);
        confirmed
    })
    .await;
    let old = old.unwrap();
    let read = |uuid: &str| format!("/api/otp/v2/{WAHA}/requests/{uuid}");
    drop(replica);

    assert_eq!(daemon.get(&read(&old.text_of("uuid"))).await.status, 200, "what was confirmed before");
    let start = Instant::now();
    for _ in 0..2 {
        assert_eq!(mint().await.status, 503, "the link itself, and its repeat");
    }
    assert_eq!(daemon.send_message("447700900123", "D1", &old.text_of("text")).await.status, 503);
    assert_eq!(daemon.get(&read(&old.text_of("uuid"))).await.status, 503, "its match is not confirmed");
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());

    let replica = redis_server::start_replica_of(&master);
    wait_for_replica(&master);
    until("the repeat is answered", async || mint().await.status == 200).await;
    until("the message is taken", async || {
        daemon.send_message("447700900123", "D1", &old.text_of("text")).await.status == 200
    })
    .await;
    assert_eq!(daemon.status(&old.text_of("uuid")).await, "verified");
    daemon.finish().await;
    drop(replica);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_reads_behind_its_own_barrier() {
    let master = redis_server::start();
    let replica = redis_server::start_replica_of(&master);
    wait_for_replica(&master);
    let open = || RedisStore::new(&master.url(), Durability::Durable, Clock::default()).unwrap();
    let (here, there) = (open(), open());
    let (key, change) = crate::store::one_record(&here);
    until("the replica confirms", async || here.commit(&change).await.is_ok()).await;
    assert!(here.load(key).await.unwrap().is_some());
    assert!(there.load(key).await.unwrap().is_some(), "behind a barrier of its own");
    drop(replica);
    assert!(here.load(key).await.unwrap().is_some() && there.load(key).await.unwrap().is_some(), "known by both");
    assert!(open().load(key).await.is_err(), "a third one knows nothing, and no replica is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_distant_replica_confirms_writes() {
    let master = redis_server::start();
    let proxy = Proxy::delayed(master.port, Duration::from_millis(120)).await;
    let more = ["--replicaof", "127.0.0.1", &proxy.port.to_string()].map(str::to_owned).to_vec();
    let _replica = tokio::task::spawn_blocking(|| redis_server::start_with(more)).await.unwrap();
    let store = RedisStore::new(&master.url(), Durability::Durable, Clock::default()).unwrap();
    until("the replica follows", async || store.commit(&crate::store::one_message()).await.is_ok()).await;
    let mut refused = 0;
    for _ in 0..20 {
        refused += usize::from(store.commit(&crate::store::one_message()).await.is_err());
    }
    assert_eq!(refused, 0, "of 20");
}
