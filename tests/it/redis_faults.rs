//! Failures of Redis, in which no accepted message is lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use countersign::{
    clock::Clock,
    domain::{
        Partition,
        quota::{Allowance, Quota},
    },
    store::{
        AdmissionControl as _, BucketRequest, Operations as _, Records as _, StoreError,
        redis::{Durability, RedisStore},
    },
};
use serde_json::json;

use crate::{
    daemon::{TestStore, World},
    redis_server::{self, RedisServer},
    wait::{blocking_until, until, within_timeout},
};

fn store(server: &RedisServer, durability: Durability) -> RedisStore {
    RedisStore::new(&server.url(), durability, Clock::default()).unwrap()
}

fn set(server: &RedisServer, name: &str, value: &str) {
    let _: String = redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query(&mut server.connection()).unwrap();
}

/// Kills and restarts the server under a world that shares it.
fn test_store() -> (Arc<RedisServer>, World) {
    let server = Arc::new(redis_server::start());
    let world = World::new(TestStore::Redis(Arc::clone(&server)));
    (server, world)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_answers_503_and_loses_nothing() {
    let (server, world) = test_store();
    let daemon = world.start().await;
    world.receiver.fail(500, 1);
    let verified = daemon.create_link(json!({})).await;
    daemon.send_message("447700900111", "O0", &verified.text).await;
    world.receiver.wait_for(1).await;
    let link = daemon.create_link(json!({})).await;
    server.signal("-KILL");
    let start = Instant::now();
    let refused = daemon.send_message("447700900123", "O1", &link.text).await;
    assert_eq!((refused.status, &refused.json["code"]), (503, &json!("store_unavailable")));
    assert_eq!(refused.header("retry-after"), "2");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(daemon.mint(json!({})).await.status, 503);
    let live = http::Request::get(format!("{}/livez", daemon.operator)).body(Vec::new()).unwrap();
    assert_eq!(daemon.send(live).await.status, 200, "liveness never depends on the store");
    server.restart();
    // The gateway delivers again.
    until("it is taken", async || daemon.send_message("447700900123", "O1", &link.text).await.status == 200).await;
    assert_eq!(daemon.status(&link.uuid).await, "verified");
    daemon.settle().await;
    daemon.advance(Duration::from_secs(20)).await;
    assert_eq!(world.receiver.wait_for(3).await.len(), 3, "one retried, one new");
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_to_a_silent_redis_time_out_and_later_ones_are_served() {
    let server = redis_server::start();
    let store = store(&server, Durability::Standard);
    let take = [BucketRequest {
        partition: Partition::from_byte(3),
        bucket: "crowd".to_owned(),
        quota: Quota::per(1000, Duration::from_secs(1000)),
    }];
    store.admit(&take, None).await.unwrap();
    server.signal("-STOP");
    let crowd = (0..20).map(|place| {
        let (store, take) = (&store, &take);
        async move {
            tokio::time::sleep(Duration::from_millis(100) * place).await;
            store.admit(take, None).await
        }
    });
    for outcome in futures_util::future::join_all(crowd).await {
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
    server.signal("-CONT");
    let after = within_timeout("the next one is served", store.admit(&take, None)).await;
    assert!(after.is_ok(), "{after:?}");
}

/// Each request has two seconds for the store, however many wait beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_redis_delays_requests_by_at_most_their_budget() {
    let (server, world) = test_store();
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    server.signal("-STOP");
    let crowd = (0..24_u32).map(|place| {
        let (daemon, link) = (&daemon, &link);
        async move {
            tokio::time::sleep(Duration::from_millis(150) * place).await;
            let start = Instant::now();
            let answer = match place % 3 {
                0 => daemon.mint(json!({})).await,
                1 => daemon.send_message("447700900123", &format!("H{place}"), &link.text).await,
                _ => daemon.get(&format!("/api/otp/v2/{}/requests/{}", crate::daemon::WAHA, link.uuid)).await,
            };
            (answer.status, start.elapsed())
        }
    });
    let answers = futures_util::future::join_all(crowd).await;
    server.signal("-CONT");
    let longest = answers.iter().map(|(_, took)| *took).max().unwrap();
    println!("the longest of {} took {longest:?}", answers.len());
    assert!(answers.iter().all(|(status, _)| *status == 503), "{answers:?}");
    // The budget, and what a busy machine adds; a queue of dials took a second for each who waited.
    assert!(longest < Duration::from_secs(4), "{longest:?}");
    until("it serves again", async || daemon.mint(json!({})).await.status == 200).await;
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_store_at_startup_is_waited_for() {
    let (server, world) = test_store();
    server.signal("-KILL");
    let daemon = world.start().await;
    let ready = || http::Request::get(format!("{}/readyz", daemon.operator)).body(Vec::new()).unwrap();
    assert_eq!(daemon.send(ready()).await.status, 503);
    server.restart();
    until("it is ready", async || daemon.send(ready()).await.status == 200).await;
    daemon.create_link(json!({})).await;
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_script_cache_causes_no_error() {
    let (server, world) = test_store();
    let daemon = world.start().await;
    for index in 0..20 {
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut server.connection()).unwrap();
        let link = daemon.create_link(json!({})).await;
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut server.connection()).unwrap();
        assert_eq!(
            daemon.send_message(&format!("4477009001{index:02}"), &format!("F{index}"), &link.text).await.status,
            200
        );
    }
    world.receiver.wait_for(20).await;
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_rejects_new_work_and_finishes_pending_work() {
    let (server, world) = test_store();
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    set(&server, "maxmemory", "1mb");
    let refused = daemon.mint(json!({})).await;
    assert_eq!((refused.status, &refused.json["code"]), (503, &json!("temporary_reduced_capacity")));
    assert_eq!(daemon.send_message("447700900123", "M1", &link.text).await.status, 200);
    world.receiver.wait_for(1).await;
    set(&server, "maxmemory", "0");
    daemon.create_link(json!({})).await;
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_with_eviction_is_rejected() {
    let server = redis_server::start();
    set(&server, "maxmemory-policy", "allkeys-lru");
    let refused = store(&server, Durability::Standard).preflight().await;
    assert!(matches!(refused, Err(StoreError::Misconfigured(why)) if why.contains("noeviction")));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_leave_a_demoted_master_for_the_new_one() {
    let server = redis_server::start();
    let store = store(&server, Durability::Standard);
    store.probe().await.unwrap();
    let other = redis_server::start();
    let demote = |host: &str, port: &str| {
        let _: () = redis::cmd("REPLICAOF").arg(host).arg(port).query(&mut server.connection()).unwrap();
    };
    demote("127.0.0.1", &other.port.to_string());
    assert!(matches!(store.probe().await, Err(StoreError::Unavailable(_))), "READONLY is not a success");
    demote("NO", "ONE");
    store.probe().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_write_is_confirmed_by_a_replica() {
    let master = redis_server::start();
    let replica = redis_server::start_replica_of(&master);
    wait_for_replica(&master);
    let store = store(&master, Durability::Durable);
    let take = || BucketRequest {
        partition: Partition::from_byte(1),
        bucket: "b".to_owned(),
        quota: Quota::per(5, Duration::from_secs(50)),
    };
    until("the replica confirms", async || store.set_meta("test", "1", true).await.is_ok()).await;
    let change = crate::store::one_message();
    let confirmed = store.commit(&change).await;
    assert!(confirmed.is_ok() || matches!(confirmed, Err(StoreError::Unavailable(_))), "{confirmed:?}");
    drop(replica);
    let unconfirmed = store.commit(&crate::store::one_message()).await;
    assert!(matches!(unconfirmed, Err(StoreError::Unavailable(_))), "{unconfirmed:?}");
    let replica = redis_server::start_replica_of(&master);
    wait_for_replica(&master);
    // A busy machine may take longer than one confirmation waits; the gateway would come again, too.
    let again = loop {
        match store.commit(&change).await {
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            other => break other.unwrap(),
        }
    };
    assert_eq!(again, countersign::store::CommitOutcome::Duplicate);
    assert!(matches!(store.admit(&[take()], None).await.unwrap().allowances[..], [Allowance::Allowed { .. }]));
    drop(replica);
}

fn wait_for_replica(master: &RedisServer) {
    blocking_until("the replica follows", || {
        let _: () = redis::cmd("SET").arg("x").arg(1).query(&mut master.connection()).unwrap();
        let confirmed: i64 = redis::cmd("WAIT").arg(1).arg(200).query(&mut master.connection()).unwrap();
        confirmed >= 1
    });
}

/// Keys that stay by design; every other one must age out.
#[tokio::test(flavor = "multi_thread")]
async fn every_key_expires_or_is_permanent_by_design() {
    let (server, world) = test_store();
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"chatId": "447700900123", "client_ref": "r"})).await;
    daemon
        .post_with(
            &format!("/api/otp/v2/{}/generate-link", crate::daemon::WAHA),
            json!({}),
            &[("idempotency-key", "k")],
        )
        .await;
    daemon.send_message("447700900199", "K1", &link.text).await;
    daemon.send_message("447700900123", "K2", &link.text).await;
    daemon.send_message("447700900199", "K3", "[AAAAAAAAAAAAAA]").await;
    daemon.settle().await;
    let mut connection = server.connection();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for key in &keys {
        let ttl: i64 = redis::cmd("TTL").arg(key).query(&mut connection).unwrap();
        // Outside all partitions: `cs:meta` and `cs:replicas`.
        let kind = key.rsplit("}:").next().unwrap().trim_start_matches("cs:").split(':').next().unwrap();
        let stays = ["meta", "d", "j", "q", "w", "x", "y"].contains(&kind);
        assert_eq!(ttl == -1, stays, "{key} lives {ttl} s");
        kinds.insert(kind.to_owned());
    }
    for kind in ["r", "n", "m", "k", "b", "w"] {
        assert!(kinds.contains(kind), "{kind} was not exercised: {kinds:?}");
    }
    daemon.finish().await;
}
