//! Operator queries: backlog and replicas.

use std::time::Duration;

use countersign::{
    clock::Clock,
    domain::{InstanceId, Partition},
    store::{Backlog, Change, DeadReason, Job, Lane, REPLICA_RETENTION, ReplicaHeartbeat, Settlement, Store},
};

use super::fixture::{HERE, applied, at, digest, empty_change, id, job, lease_one, queue, set_timer};

fn of<'a>(backlog: &'a [Backlog], kind: &str) -> &'a Backlog {
    backlog.iter().find(|one| one.kind == kind).unwrap_or_else(|| panic!("{kind} in {backlog:?}"))
}

pub(super) async fn the_backlog_is_reported_by_kind(store: &dyn Store, clock: &Clock) {
    assert_eq!(store.backlog().await.unwrap(), []);
    let number = InstanceId::from_random([1; 16]);
    let (receiver, chat) = (Lane::callbacks(number, digest()), Lane::replies(number));
    let first = store.now();
    let to = |lane: &Lane, id: &str| Job { lane: lane.clone(), ..job(id) };
    for partition in [Partition::from_byte(3), Partition::from_byte(30)] {
        let jobs = vec![
            to(&receiver, "1"),
            Job { lease: true, ..to(&receiver, "2") },
            Job { due: Some(at(store, 3600)), ..to(&receiver, "3") },
        ];
        applied(store.commit(&Change { jobs, ..empty_change(partition) }).await.unwrap());
        set_timer(store, id().within(partition), 0, 100).await;
    }
    clock.advance(Duration::from_secs(60));
    let change = Change { jobs: vec![Job { lease: true, ..to(&chat, "5") }], ..empty_change(HERE) };
    let replied = store.now();
    applied(store.commit(&change).await.unwrap());

    let backlog = store.backlog().await.unwrap();
    assert_eq!(backlog.len(), 3, "{backlog:?}");
    let near = |time: Option<jiff::Timestamp>, expected: jiff::Timestamp| {
        let off = time.unwrap_or_else(|| panic!("{backlog:?}")).duration_since(expected);
        assert!(off.abs() < jiff::SignedDuration::from_secs(20), "{off} in {backlog:?}");
    };
    let callbacks = of(&backlog, "callback");
    assert_eq!(callbacks.depth, 6);
    near(callbacks.oldest, first);
    near(callbacks.overdue, first);
    let timers = of(&backlog, "timer");
    assert_eq!((timers.depth, timers.oldest, timers.overdue), (2, None, None));
    let chats = of(&backlog, "reply");
    assert_eq!((chats.depth, chats.overdue), (1, None), "it is leased, so it is not late");
    near(chats.oldest, replied);

    clock.advance(Duration::from_secs(100));
    near(of(&store.backlog().await.unwrap(), "timer").overdue, first + Duration::from_secs(100));
}

/// The delay between two attempts does not count as lateness.
pub(super) async fn done_and_dead_jobs_are_not_part_of_the_backlog(store: &dyn Store, _: &Clock) {
    queue(store, vec![job("a")]).await;
    let leased = lease_one(store).await;
    assert_eq!(store.backlog().await.unwrap()[0].depth, 1);
    assert!(store.settle(&leased, &Settlement::Done).await.unwrap());
    assert_eq!(store.backlog().await.unwrap(), []);
    queue(store, vec![job("b")]).await;
    let leased = lease_one(store).await;
    assert!(
        store.settle(&leased, &Settlement::Dead { reason: DeadReason::GivenUp, note: String::new() }).await.unwrap()
    );
    assert_eq!(store.backlog().await.unwrap(), []);
}

pub(super) async fn heartbeats_are_kept_for_a_day(store: &dyn Store, clock: &Clock) {
    let names = |announced: &[ReplicaHeartbeat]| announced.iter().map(|one| one.replica.clone()).collect::<Vec<_>>();
    assert_eq!(store.heartbeats().await.unwrap(), []);
    store.publish_heartbeat("one", "{\"a\":1}").await.unwrap();
    clock.advance(Duration::from_secs(100));
    store.publish_heartbeat("two", "x y z").await.unwrap();
    let announced = store.heartbeats().await.unwrap();
    assert_eq!(names(&announced), ["two", "one"]);
    assert_eq!(announced[0].body, "x y z");
    clock.advance(Duration::from_secs(100));
    store.publish_heartbeat("one", "again").await.unwrap();
    let announced = store.heartbeats().await.unwrap();
    assert_eq!((names(&announced), announced[0].body.as_str()), (vec!["one".to_owned(), "two".to_owned()], "again"));
    clock.advance(REPLICA_RETENTION - Duration::from_secs(50));
    assert_eq!(names(&store.heartbeats().await.unwrap()), ["one"]);
    clock.advance(Duration::from_secs(100));
    assert_eq!(store.heartbeats().await.unwrap(), []);
}

pub(super) async fn a_store_describes_itself(store: &dyn Store, _: &Clock) {
    let description = store.describe().await.unwrap();
    let known = ["Redis ", "Valkey ", "SQLite "].iter().any(|name| description.text.starts_with(name));
    assert!(known, "{description:?}");
    assert!(description.used_bytes > 0 && description.limit_bytes > description.used_bytes, "{description:?}");
}

pub(super) async fn held_jobs_are_not_overdue(store: &dyn Store, clock: &Clock) {
    let receiver = Lane::callbacks(InstanceId::from_random([1; 16]), digest());
    for partition in [HERE, Partition::from_byte(8)] {
        let jobs = vec![Job { lane: receiver.clone(), ..job("1") }];
        applied(store.commit(&Change { jobs, ..empty_change(partition) }).await.unwrap());
    }
    store.hold(&receiver, at(store, 300)).await.unwrap();
    clock.advance(Duration::from_secs(200));
    let backlog = store.backlog().await.unwrap();
    let held = of(&backlog, "callback");
    assert_eq!((held.depth, held.overdue, held.held), (2, None, 1));
    clock.advance(Duration::from_secs(200));
    let backlog = store.backlog().await.unwrap();
    let late = of(&backlog, "callback");
    let lateness = store.now().duration_since(late.overdue.unwrap()).as_secs();
    assert!((95..110).contains(&lateness), "late since the end of the hold: {lateness}");
    assert_eq!(late.held, 0);
}
