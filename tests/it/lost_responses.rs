//! Commands that Redis executed and whose reply was lost, and a network that drops all packets.

use std::time::{Duration, Instant};

use countersign::{
    clock::Clock,
    store::{
        Archive as _, CommitOutcome, DeadReason, JobState, Jobs as _, LEASE_DURATION, LeasedJob, Records as _,
        Settlement, StoreError,
        redis::{Durability, RedisStore},
    },
};
use serde_json::json;

use crate::{
    daemon::{TestStore, WAHA, World},
    proxy::Proxy,
    redis_server::{self, RedisServer},
    store::{lease_request, one_job_of_a_message, one_record, one_record_with_a_job, overwrite, queue, set_due_timer},
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
            "another request must not get the same place"
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

async fn lease(store: &RedisStore, timers: bool) -> Result<Vec<LeasedJob>, StoreError> {
    Ok(store.lease(&[lease_request(timers)]).await?.remove(0).jobs)
}

async fn make_due(store: &RedisStore, timers: bool) {
    if timers {
        set_due_timer(store).await;
    } else {
        queue(store, &["a/1", "b/1"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_answer_was_lost_is_repeated_with_the_same_jobs() {
    let (master, _replica) = tokio::task::spawn_blocking(servers).await.unwrap();
    for durability in [Durability::Standard, Durability::Durable] {
        let proxy = Proxy::start(master.port).await;
        let store = store_behind(&proxy, durability).await;
        make_due(&store, false).await;
        proxy.lose_next_response();
        let leased = lease(&store, false).await.unwrap();
        assert_eq!(proxy.lost_responses(), 1);
        let seen: Vec<_> =
            leased.iter().map(|job| (job.id.0.as_str(), job.fence, job.attempts, job.expired_leases)).collect();
        assert_eq!(seen, [("a/1", 2, 0, 0), ("b/1", 2, 0, 0)], "{durability:?}");
        for job in &leased {
            assert!(store.settle(job, &Settlement::Done).await.unwrap());
        }

        make_due(&store, true).await;
        proxy.lose_next_response();
        let leased = lease(&store, true).await.unwrap();
        assert_eq!((proxy.lost_responses(), leased.len()), (2, 1), "{durability:?}");
        assert!(store.settle(&leased[0], &Settlement::Done).await.unwrap());
        assert_eq!(lease(&store, true).await.unwrap(), []);
    }
}

/// Jobs of a lease whose response was lost must not wait until the lease expires.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_without_an_answer_is_put_back() {
    let (master, _replica) = tokio::task::spawn_blocking(servers).await.unwrap();
    let there = RedisStore::new(&master.url(), Durability::Standard, Clock::default()).unwrap();
    for (durability, timers) in
        [(Durability::Standard, false), (Durability::Durable, false), (Durability::Durable, true)]
    {
        let proxy = Proxy::start(master.port).await;
        let store = store_behind(&proxy, durability).await;
        make_due(&store, timers).await;
        // Also opens the connection that timers are leased by.
        until("it is due", async || !store.due().await.unwrap().is_empty()).await;
        let start = Instant::now();
        proxy.lose_next_response();
        proxy.close(true);
        assert!(lease(&store, timers).await.is_err(), "{durability:?}");
        assert_eq!(proxy.lost_responses(), 1);
        assert_eq!(there.due().await.unwrap(), [], "it is leased to a worker that does not know");
        proxy.close(false);
        until("it is due again", async || !there.due().await.unwrap().is_empty()).await;
        assert!(start.elapsed() < LEASE_DURATION, "{durability:?}, timers: {timers}: {:?}", start.elapsed());
        let leased = lease(&there, timers).await.unwrap();
        assert_eq!(leased.len(), if timers { 1 } else { 2 });
        for job in &leased {
            assert!(there.settle(job, &Settlement::Done).await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_whose_answer_was_lost_is_recognised() {
    let (master, _replica) = tokio::task::spawn_blocking(servers).await.unwrap();
    let clock = Clock::default();
    let there = RedisStore::new(&master.url(), Durability::Standard, clock.clone()).unwrap();
    let now = there.now();
    let ends = [
        Settlement::Retry { at: now, note: "busy".to_owned() },
        Settlement::Postpone { at: now },
        Settlement::Retry { at: now, note: "busy".to_owned() },
        Settlement::Dead { reason: DeadReason::GivenUp, note: "why".to_owned() },
    ];
    for durability in [Durability::Standard, Durability::Durable] {
        let proxy = Proxy::start(master.port).await;
        let store = RedisStore::new(&proxy.url(), durability, clock.clone()).unwrap();
        until("it takes writes", async || store.commit(&crate::store::one_message()).await.is_ok()).await;
        let id = format!("{durability:?}");
        queue(&store, &[&id, "done"]).await;
        let mut jobs = lease(&store, false).await.unwrap();
        assert_eq!(jobs.len(), 2);
        let done = jobs.pop().unwrap();
        let mut lost = 0;
        let mut settle = async |job: &LeasedJob, end: &Settlement| {
            proxy.lose_next_response();
            let settled = store.settle(job, end).await.unwrap();
            lost += 1;
            assert_eq!(proxy.lost_responses(), lost);
            settled
        };
        assert!(settle(&done, &Settlement::Done).await, "{durability:?}");
        let mut job = jobs.remove(0);
        for end in &ends {
            // A lease that ran out in between is counted and changes nothing.
            clock.advance(LEASE_DURATION);
            there.due().await.unwrap();
            let zombie = std::mem::replace(&mut job, lease(&there, false).await.unwrap().remove(0));
            assert!(!settle(&zombie, end).await, "{durability:?}: {end:?} of a lease that ran out");
            assert!(settle(&job, end).await, "{durability:?}: {end:?}");
            if !matches!(end, Settlement::Dead { .. }) {
                job = lease(&there, false).await.unwrap().remove(0);
            }
        }
        let dead = there.jobs_after(job.instance, JobState::Dead, None, 10).await.unwrap();
        assert!(dead.iter().any(|dead| dead.id == job.id && dead.attempts == 3), "{dead:?}");
    }
}

/// Connections stay open, new ones are accepted, and no byte is forwarded.
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
