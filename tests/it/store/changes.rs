//! Notifications of changed records.

use std::time::Duration;

use countersign::{
    clock::Clock,
    store::{Change, CommitOutcome, Records as _, Store},
};
use tokio::time::timeout;

use super::fixture::{applied, compare, create, id, record, version, wait_until_subscribed, write};
use crate::wait::within_timeout;

/// How long to wait for a notification that must not come.
const NO_NOTIFICATION_TIMEOUT: Duration = Duration::from_millis(300);

pub(super) async fn a_change_wakes_the_waiters_of_its_record(store: &dyn Store, _: &Clock) {
    let (key, other) = (id(), id());
    create(store, key, b"1").await;
    create(store, other, b"1").await;
    let mut waiting = [store.changes().watch(key).unwrap(), store.changes().watch(key).unwrap()];
    let mut elsewhere = store.changes().watch(other).unwrap();
    applied(store.commit(&write(store, key, version(store, key).await, b"2")).await.unwrap());
    for watch in &mut waiting {
        assert!(within_timeout("it rings", watch.changed()).await);
    }
    assert!(timeout(NO_NOTIFICATION_TIMEOUT, elsewhere.changed()).await.is_err(), "the other record did not change");
}

pub(super) async fn a_commit_without_a_change_wakes_no_waiter(store: &dyn Store, _: &Clock) {
    let key = id();
    create(store, key, b"1").await;
    let mut watch = store.changes().watch(key).unwrap();
    let stale: Change = write(store, key, 7, b"2");
    assert_eq!(store.commit(&stale).await.unwrap(), CommitOutcome::Conflict);
    let mut late = write(store, key, version(store, key).await, b"2");
    late.valid_until = Some(store.now() - Duration::from_secs(60));
    assert!(matches!(store.commit(&late).await.unwrap(), CommitOutcome::Late(_)));
    let mut nothing = compare(store, key, version(store, key).await);
    record(&mut nothing).created_at = store.now();
    applied(store.commit(&nothing).await.unwrap());
    assert!(timeout(NO_NOTIFICATION_TIMEOUT, watch.changed()).await.is_err());
}

#[tokio::test]
async fn a_change_on_one_replica_wakes_the_waiters_of_another() {
    use countersign::store::redis::{Durability, RedisStore};
    let server = crate::redis_server::start();
    let replica = || RedisStore::new(&server.url(), Durability::Standard, Clock::default()).unwrap();
    let (here, there) = (replica(), replica());
    let key = id();
    create(&here, key, b"1").await;
    wait_until_subscribed(&there).await;
    let mut watch = there.changes().watch(key).unwrap();
    applied(here.commit(&write(&here, key, version(&here, key).await, b"2")).await.unwrap());
    assert!(within_timeout("it rings", watch.changed()).await);

    server.signal("-KILL");
    server.restart();
    assert!(within_timeout("it rings", watch.changed()).await, "listens again, and rings for what it may have missed");
    let version = version(&here, key).await;
    while here.commit(&write(&here, key, version, b"3")).await.is_err() {}
    assert!(within_timeout("it rings", watch.changed()).await);
}
