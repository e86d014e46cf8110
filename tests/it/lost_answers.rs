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
    broken_way::Way,
    daemon::{Ground, WAHA, World},
    redis_server::{self, RedisServer},
    store::{one_job_of_a_message, one_record, one_record_with_a_job, overwrite},
    wait::until,
};

async fn store_behind(way: &Way, durability: Durability) -> RedisStore {
    let store = RedisStore::new(&way.url(), durability, Clock::default()).unwrap();
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
async fn a_write_whose_answer_was_lost_is_recognised() {
    let (master, _replica) = tokio::task::spawn_blocking(servers).await.unwrap();
    for durability in [Durability::Standard, Durability::Durable] {
        let way = Way::start(master.port).await;
        let store = store_behind(&way, durability).await;
        let (key, change) = one_record_with_a_job(&store, &format!("{durability:?}"));
        way.lose_an_answer();
        let committed = store.commit(&change).await;
        assert_eq!(committed.unwrap(), CommitOutcome::Applied { leased: vec![true] }, "{durability:?}");
        assert_eq!(way.lost(), 1);
        assert!(store.load(key).await.unwrap().is_some());
        assert_eq!(
            store.commit(&change).await.unwrap(),
            CommitOutcome::Conflict,
            "whoever asks again is somebody else"
        );

        // The job of a message that is about no record is in our hands all the same.
        let change = one_job_of_a_message(&format!("message {durability:?}"));
        way.lose_an_answer();
        let committed = store.commit(&change).await;
        assert_eq!(committed.unwrap(), CommitOutcome::Applied { leased: vec![true] }, "{durability:?}");
        assert_eq!(way.lost(), 2);
        assert_eq!(store.commit(&change).await.unwrap(), CommitOutcome::Duplicate);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_somebody_wrote_over_before_it_was_recognised_is_not_told_as_a_conflict() {
    let (master, _replica) = tokio::task::spawn_blocking(servers).await.unwrap();
    let there = RedisStore::new(&master.url(), Durability::Standard, Clock::default()).unwrap();
    for durability in [Durability::Standard, Durability::Durable] {
        let way = Way::start(master.port).await;
        let store = store_behind(&way, durability).await;
        let (key, change) = one_record(&store);
        way.lose_an_answer();
        way.shut(true);
        let meanwhile = async {
            until("its answer is lost", async || way.lost() == 1).await;
            overwrite(&there, key, b"other").await;
            way.shut(false);
        };
        let (committed, ()) = tokio::join!(store.commit(&change), meanwhile);
        assert!(matches!(&committed, Err(StoreError::Unavailable(_))), "{durability:?}: {committed:?}");
        assert_eq!(there.load(key).await.unwrap().unwrap().bytes, b"other");
    }
}

/// Connections stay open, new ones are taken, and no byte comes through.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_everything_holds_nobody_for_longer_than_the_budget() {
    let server = tokio::task::spawn_blocking(redis_server::start).await.unwrap();
    let way = Way::start(server.port).await;
    let mut world = World::new(Ground::directory());
    world.store = Some(format!("url = \"{}\"", way.url()));
    let daemon = world.start().await;
    let link = daemon.link(json!({})).await;
    way.swallow(true);
    let crowd = (0..24_u32).map(|place| {
        let (daemon, link) = (&daemon, &link);
        async move {
            tokio::time::sleep(Duration::from_millis(150) * place).await;
            let start = Instant::now();
            let answer = match place % 4 {
                0 => daemon.mint(json!({})).await,
                1 => daemon.says("447700900123", &format!("H{place}"), &link.text).await,
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
    way.swallow(false);
    assert!(answers.iter().all(|(status, _)| *status == 503), "{answers:?}");
    let longest = answers.iter().map(|(_, took)| *took).max().unwrap();
    // The budget of two seconds, and what a busy machine adds.
    assert!(longest < Duration::from_secs(4), "{longest:?}");
    until("the message is taken", async || daemon.says("447700900123", "H1", &link.text).await.status == 200).await;
    assert_eq!(daemon.status(&link.uuid).await, "verified");
    daemon.finish().await;
}
