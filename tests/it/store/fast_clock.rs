//! Data written by a process whose clock was two hours ahead, read after the clock was corrected.

use std::time::Duration;

use countersign::{
    clock::Clock,
    domain::quota::{Allowance, Quota},
    store::{
        BucketRequest, Job, Lane, Settlement, Store,
        embedded::EmbeddedStore,
        redis::{Durability, RedisStore},
    },
};

use super::fixture::{HERE, at, due, id, job, lane, lease, lease_of, lease_one, lease_timers, queue, set_timer};

const AHEAD: Duration = Duration::from_hours(2);

fn held_lane() -> Lane {
    Lane("held".to_owned())
}

fn bucket() -> BucketRequest {
    BucketRequest { partition: HERE, bucket: "three".to_owned(), quota: Quota::per(3, Duration::from_mins(3)) }
}

async fn take(store: &dyn Store) -> Allowance {
    store.admit(&[bucket()], None).await.unwrap().allowances[0]
}

/// Leases that are never settled, a hold, an empty bucket.
async fn write_ahead(store: &dyn Store) {
    set_timer(store, id().within(HERE), 0, 0).await;
    assert_eq!(lease_timers(store, HERE).await.len(), 1);
    queue(store, vec![job("a")]).await;
    lease_one(store).await;
    assert_eq!(queue(store, vec![Job { lease: true, ..job("b") }]).await, [true]);
    store.hold(&held_lane(), at(store, 60)).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(take(store).await, Allowance::Allowed { .. }));
    }
}

async fn check_bounded(store: &dyn Store) {
    assert_eq!(take(store).await, Allowance::Allowed { remaining: 2 }, "the bucket is full");
    let waiting = due(store).await;
    assert!(waiting.contains(&(HERE, Lane::timer())) && waiting.contains(&(HERE, lane())), "{waiting:?}");
    assert_eq!(lease_timers(store, HERE).await.len(), 1);
    let mut jobs = lease(store).await;
    jobs.sort_by_key(|job| job.id.0.clone());
    assert_eq!(jobs.iter().map(|job| (job.id.0.as_str(), job.fence)).collect::<Vec<_>>(), [("a", 2), ("b", 2)]);
    assert!(store.settle(&jobs[0], &Settlement::Done).await.unwrap());

    let here = |job: Job| Job { lane: held_lane(), ..job };
    assert_eq!(queue(store, vec![here(Job { lease: true, ..job("c") }), here(job("d"))]).await, [true, false]);
    assert!(due(store).await.contains(&(HERE, held_lane())), "the hold is not believed");
    assert_eq!(lease_of(store, HERE, &held_lane(), 9).await.len(), 1);
    let backlog = store.backlog().await.unwrap();
    assert!(backlog.iter().all(|one| one.held == 0), "{backlog:?}");
}

fn clock_ahead() -> Clock {
    let clock = Clock::default();
    clock.advance(AHEAD);
    clock
}

#[tokio::test]
async fn times_written_by_a_fast_clock_are_bounded_in_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), clock_ahead()).unwrap();
    write_ahead(&store).await;
    drop(store);
    check_bounded(&EmbeddedStore::open(directory.path(), Clock::default()).unwrap()).await;
}

#[tokio::test]
async fn times_written_by_a_fast_clock_are_bounded_in_redis() {
    let server = crate::redis_server::start();
    let open = |clock| RedisStore::new(&server.url(), Durability::Standard, clock).unwrap();
    write_ahead(&open(clock_ahead())).await;
    check_bounded(&open(Clock::default())).await;
}
