//! What Redis did and could not tell, and a network that swallows everything.

use std::time::{Duration, Instant};

use countersign::{
    clock::Clock,
    store::{
        CommitOutcome, Records as _, StoreError,
        redis::{Durability, RedisStore},
    },
};
use serde_json::json;

use crate::{
    daemon::{TestStore, WAHA, World},
    proxy::Proxy,
    redis_server::{self, RedisServer},
    store::{one_job_of_a_message, one_record, one_record_with_a_job, overwrite},
    wait::until,
};

async fn store_behind(proxy: &Proxy, durability: Durability) -> RedisStore {
    let store = RedisStore::new(&proxy.url(), durability, Clock::default()).unwrap();
    until("it takes writes", async || store.commit(&crate::store::one_message()).await.is_ok()).await;
    store
}

/// A master, and a replica for those who want one.
fn servers() -> (RedisServer, RedisServer) {
    let master = redis_server::start();
    let replica = redis_server::start_replica_of(&master);
    (master, replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_is_recognized() {
    let (master, _replica) = tokio::task::spawn_blocking(servers).await.unwrap();
    for durability in [Durability::Standard, Durability::Durable] {
        let proxy = Proxy::start(master.port).await;
        let store = store_behind(&proxy, durability).await;
        let (key, change) = one_record_with_a_job(&store, &format!("{durability:?}"));
        proxy.lose_next_response();
        let committed = store.commit(&change).await;
        assert_eq!(committed.unwrap(), CommitOutcome::Applied { leased: vec![true] }, "{durability:?}");
        assert_eq!(proxy.lost_responses(), 1);
        assert!(store.load(key).await.unwrap().is_some());
        assert_eq!(
            store.commit(&change).await.unwrap(),
            CommitOutcome::Conflict,
            "whoever asks again is somebody else"
        );

        // The job of a message that is about no record is in our hands all the same.
        let change = one_job_of_a_message(&format!("message {durability:?}"));
        proxy.lose_next_response();
        let committed = store.commit(&change).await;
        assert_eq!(committed.unwrap(), CommitOutcome::Applied { leased: vec![true] }, "{durability:?}");
        assert_eq!(proxy.lost_responses(), 2);
        assert_eq!(store.commit(&change).await.unwrap(), CommitOutcome::Duplicate);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwritten_write_of_unknown_outcome_is_not_reported_as_a_conflict() {
    let (master, _replica) = tokio::task::spawn_blocking(servers).await.unwrap();
    let there = RedisStore::new(&master.url(), Durability::Standard, Clock::default()).unwrap();
    for durability in [Durability::Standard, Durability::Durable] {
        let proxy = Proxy::start(master.port).await;
        let store = store_behind(&proxy, durability).await;
        let (key, change) = one_record(&store);
        proxy.lose_next_response();
        proxy.close(true);
        let meanwhile = async {
            until("its answer is lost", async || proxy.lost_responses() == 1).await;
            overwrite(&there, key, b"other").await;
            proxy.close(false);
        };
        let (committed, ()) = tokio::join!(store.commit(&change), meanwhile);
        assert!(matches!(&committed, Err(StoreError::Unavailable(_))), "{durability:?}: {committed:?}");
        assert_eq!(there.load(key).await.unwrap().unwrap().bytes, b"other");
    }
}

/// Connections stay open, new ones are taken, and no byte comes through.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_drops_everything_delays_requests_by_at_most_their_budget() {
    let server = tokio::task::spawn_blocking(redis_server::start).await.unwrap();
    let proxy = Proxy::start(server.port).await;
    let mut world = World::new(TestStore::directory());
    world.store = Some(format!("url = \"{}\"", proxy.url()));
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    proxy.drop_bytes(true);
    let crowd = (0..24_u32).map(|place| {
        let (daemon, link) = (&daemon, &link);
        async move {
            tokio::time::sleep(Duration::from_millis(150) * place).await;
            let start = Instant::now();
            let answer = match place % 4 {
                0 => daemon.mint(json!({})).await,
                1 => daemon.send_message("447700900123", &format!("H{place}"), &link.text).await,
                2 => {
                    daemon
                        .post_with(&format!("/api/otp/v2/{WAHA}/generate-link"), json!({}), &[("idempotency-key", "k")])
                        .await
                }
                _ => daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{}", link.uuid)).await,
            };
            (answer.status, start.elapsed())
        }
    });
    let answers = futures_util::future::join_all(crowd).await;
    proxy.drop_bytes(false);
    assert!(answers.iter().all(|(status, _)| *status == 503), "{answers:?}");
    let longest = answers.iter().map(|(_, took)| *took).max().unwrap();
    // The budget of two seconds, and what a busy machine adds.
    assert!(longest < Duration::from_secs(4), "{longest:?}");
    until("the message is taken", async || daemon.send_message("447700900123", "H1", &link.text).await.status == 200)
        .await;
    assert_eq!(daemon.status(&link.uuid).await, "verified");
    daemon.finish().await;
}
