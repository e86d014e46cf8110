//! Commits of one change: when they are refused, and that they are atomic.

use std::{slice::from_ref, time::Duration};

use countersign::{
    clock::Clock,
    domain::{LookUp, keys::Digest},
    store::{Change, CommitOutcome, Index, Job, Lane, RecordId, Store},
};
use futures_util::future::join_all;

use super::fixture::{
    self, HERE, applied, at, compare, create, digest, due, empty_change, id, job, lane, lease_of, list, loaded, record,
    stored, unversioned, version, write,
};

pub(super) async fn a_record_is_found_by_its_id_and_by_its_locator(store: &dyn Store, _: &Clock) {
    let key = id();
    create(store, key, b"1").await;
    let found = Some(stored(key, b"1"));
    assert_eq!(loaded(store, key).await, found);
    let by_place = store.find(None, &[key.locator()]).await.unwrap().records.into_iter().flatten();
    assert_eq!(unversioned(by_place), found.into_iter().collect::<Vec<_>>());
    assert_eq!(store.load(twin(key)).await.unwrap(), None, "the whole id is compared");
    assert_eq!(store.load(id()).await.unwrap(), None);
}

pub(super) async fn a_change_raises_the_version(store: &dyn Store, _: &Clock) {
    let key = id();
    create(store, key, b"1").await;
    for change in 1..4_u8 {
        let before = version(store, key).await;
        applied(store.commit(&write(store, key, before, &[change])).await.unwrap());
        assert_eq!(loaded(store, key).await, Some(stored(key, &[change])));
        assert!(version(store, key).await > before);
    }
}

pub(super) async fn a_version_is_the_time_of_its_write(store: &dyn Store, _: &Clock) {
    let key = id();
    for bytes in [b"1", b"2"] {
        let change = write(store, key, version(store, key).await, bytes);
        let time = || u64::try_from(store.now().as_microsecond()).unwrap();
        let before = time();
        applied(store.commit(&change).await.unwrap());
        let written = version(store, key).await;
        // What a process knows of the time may be some milliseconds behind.
        assert!((before - 1_000_000..time() + 1_000_000).contains(&written), "{before} {written}");
    }
}

pub(super) async fn a_stale_change_conflicts(store: &dyn Store, _: &Clock) {
    let key = id();
    create(store, key, b"1").await;
    let first = version(store, key).await;
    applied(store.commit(&write(store, key, first, b"2")).await.unwrap());
    for expected in [1, first, version(store, key).await + 1] {
        assert_eq!(store.commit(&write(store, key, expected, b"x")).await.unwrap(), CommitOutcome::Conflict);
        assert_eq!(store.commit(&compare(store, key, expected)).await.unwrap(), CommitOutcome::Conflict);
    }
    assert_eq!(loaded(store, key).await, Some(stored(key, b"2")));
}

pub(super) async fn a_missing_record_conflicts(store: &dyn Store, _: &Clock) {
    let key = id();
    assert_eq!(store.commit(&write(store, key, 1, b"x")).await.unwrap(), CommitOutcome::Conflict);
    assert_eq!(store.commit(&compare(store, key, 1)).await.unwrap(), CommitOutcome::Conflict);
    assert_eq!(store.load(key).await.unwrap(), None);
}

pub(super) async fn creating_twice_conflicts(store: &dyn Store, _: &Clock) {
    let key = id();
    create(store, key, b"1").await;
    assert_eq!(store.commit(&write(store, key, 0, b"x")).await.unwrap(), CommitOutcome::Conflict);
    assert_eq!(loaded(store, key).await, Some(stored(key, b"1")));
}

pub(super) async fn a_record_with_the_same_locator_collides(store: &dyn Store, _: &Clock) {
    let first = id();
    create(store, first, b"1").await;
    let second = twin(first);
    assert_eq!(store.commit(&write(store, second, 0, b"2")).await.unwrap(), CommitOutcome::Collision);
    let version = version(store, first).await;
    for change in [write(store, second, version, b"2"), compare(store, second, version)] {
        assert_eq!(
            store.commit(&change).await.unwrap(),
            CommitOutcome::Conflict,
            "its version is that of another record"
        );
    }
    assert_eq!(store.load(second).await.unwrap(), None);
    assert_eq!(loaded(store, first).await, Some(stored(first, b"1")));
}

pub(super) async fn a_comparison_alone_keeps_the_version(store: &dyn Store, _: &Clock) {
    let key = id();
    create(store, key, b"1").await;
    let before = version(store, key).await;
    for _ in 0..3 {
        applied(store.commit(&compare(store, key, before)).await.unwrap());
    }
    assert_eq!(version(store, key).await, before);
    assert_eq!(loaded(store, key).await, Some(stored(key, b"1")));
}

pub(super) async fn of_many_changes_at_once_one_is_applied(store: &dyn Store, _: &Clock) {
    let key = id();
    create(store, key, b"0").await;
    let version = version(store, key).await;
    let changes: Vec<Change> =
        (0..64_u8).map(|n| Change { jobs: vec![job(&n.to_string())], ..write(store, key, version, &[n]) }).collect();
    let results = join_all(changes.iter().map(|change| store.commit(change))).await;
    let results: Vec<CommitOutcome> = results.into_iter().map(Result::unwrap).collect();
    let winners: Vec<usize> = (0..64).filter(|&n| matches!(results[n], CommitOutcome::Applied { .. })).collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    assert_eq!(results.iter().filter(|&result| *result == CommitOutcome::Conflict).count(), 63);
    let winner = u8::try_from(winners[0]).unwrap();
    assert_eq!(loaded(store, key).await, Some(stored(key, &[winner])));
    let jobs = lease_of(store, key.partition(), &lane(), 100).await;
    assert_eq!(jobs.into_iter().map(|job| job.body).collect::<Vec<_>>(), [winner.to_string().into_bytes()]);
}

pub(super) async fn several_records_are_written_together_or_not_at_all(store: &dyn Store, _: &Clock) {
    let (old, counted, index) = (id(), id(), Index("together".to_owned()));
    let [counted, new] = [counted, id()].map(|key| key.within(old.partition()));
    create(store, old, b"1").await;
    create(store, counted, b"1").await;
    let (old_version, right) = (version(store, old).await, version(store, counted).await);
    let change = |counted_version| {
        let mut change = write(store, new, 0, b"new");
        list(&mut change, &index);
        change.records.push(record(&mut write(store, old, old_version, b"2")).clone());
        change.records.push(record(&mut write(store, counted, counted_version, b"2")).clone());
        change.jobs = vec![job("together")];
        change
    };
    assert_eq!(store.commit(&change(7)).await.unwrap(), CommitOutcome::Conflict);
    assert_eq!(store.load(new).await.unwrap(), None);
    assert_eq!(loaded(store, old).await, Some(stored(old, b"1")));
    assert_eq!(store.list(from_ref(&index), None, 10).await.unwrap(), []);
    applied(store.commit(&change(right)).await.unwrap());
    assert_eq!(store.commit(&change(right)).await.unwrap(), CommitOutcome::Conflict);
    assert_eq!(loaded(store, old).await, Some(stored(old, b"2")));
    assert_eq!(loaded(store, counted).await, Some(stored(counted, b"2")));
    assert_eq!(unversioned(store.list(from_ref(&index), None, 10).await.unwrap()), [stored(new, b"new")]);
    let jobs = lease_of(store, old.partition(), &lane(), 100).await;
    assert_eq!(jobs.len(), 1);
}

pub(super) async fn a_change_is_late_from_its_first_invalid_moment_on(store: &dyn Store, clock: &Clock) {
    let key = id();
    let end = at(store, 60);
    let valid = |change: Change| Change { valid_until: Some(end), ..change };
    applied(store.commit(&valid(write(store, key, 0, b"1"))).await.unwrap());
    let version = version(store, key).await;
    clock.advance(Duration::from_secs(60));
    for change in [write(store, key, version, b"2"), compare(store, key, version), empty_change(key.partition())] {
        match store.commit(&valid(change)).await.unwrap() {
            CommitOutcome::Late(time) => assert!(time >= end && time <= store.now(), "{time}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(loaded(store, key).await, Some(stored(key, b"1")));
}

pub(super) async fn a_message_is_answered_once(store: &dyn Store, _: &Clock) {
    let key = id();
    let (one, two) = (digest(), digest());
    let answer = |change: Change, message: Digest| Change { answers: Some(message.into()), ..change };
    applied(store.commit(&answer(write(store, key, 0, b"1"), one)).await.unwrap());
    let (partition, version) = (key.partition(), version(store, key).await);
    for change in [write(store, key, version, b"x"), compare(store, key, version), empty_change(partition)] {
        assert_eq!(store.commit(&answer(change, one)).await.unwrap(), CommitOutcome::Duplicate);
    }
    assert_eq!(loaded(store, key).await, Some(stored(key, b"1")));
    applied(store.commit(&answer(empty_change(partition), two)).await.unwrap());
    assert_eq!(store.commit(&answer(empty_change(partition), two)).await.unwrap(), CommitOutcome::Duplicate);
    assert_eq!(store.commit(&answer(write(store, key, version, b"x"), two)).await.unwrap(), CommitOutcome::Duplicate);
}

pub(super) async fn the_first_reason_for_rejection_is_reported(store: &dyn Store, _: &Clock) {
    let (key, message) = (id(), digest());
    create(store, key, b"1").await;
    applied(store.commit(&Change { answers: Some(message.into()), ..empty_change(key.partition()) }).await.unwrap());
    let past = Some(at(store, 0));
    let mut change = Change { answers: Some(message.into()), valid_until: past, ..write(store, key, 5, b"x") };
    assert_eq!(store.commit(&change).await.unwrap(), CommitOutcome::Duplicate);
    change.answers = None;
    assert_eq!(store.commit(&change).await.unwrap(), CommitOutcome::Conflict);
    record(&mut change).expected = version(store, key).await;
    assert!(matches!(store.commit(&change).await.unwrap(), CommitOutcome::Late(_)));
}

pub(super) async fn a_rejected_change_leaves_nothing(store: &dyn Store, _: &Clock) {
    let (key, answered) = (id(), digest());
    create(store, key, b"1").await;
    let partition = key.partition();
    applied(store.commit(&Change { answers: Some(answered.into()), ..empty_change(partition) }).await.unwrap());

    let index = Index("refused".to_owned());
    let full = |expected| {
        let mut change = write(store, key, expected, b"x");
        change.jobs = vec![job("left"), Job { lease: true, ..job("leased") }];
        change.answers = Some(digest().into());
        record(&mut change).timer = Some(at(store, 0));
        list(&mut change, &index);
        change
    };
    let version = version(store, key).await;
    let duplicate = Change { answers: Some(answered.into()), ..full(version) };
    let stale = full(version + 1);
    let late = Change { valid_until: Some(at(store, 0)), ..full(version) };
    let mut collision = full(0);
    record(&mut collision).id = twin(key);
    for change in [&duplicate, &stale, &late, &collision] {
        let refused = store.commit(change).await.unwrap();
        assert!(!matches!(refused, CommitOutcome::Applied { .. }), "{refused:?}");
    }
    assert_eq!(loaded(store, key).await, Some(stored(key, b"1")));
    assert_eq!(store.list(from_ref(&index), None, 10).await.unwrap(), []);
    assert_eq!(due(store).await, []);
    for message in [stale.answers, late.answers, collision.answers] {
        applied(store.commit(&Change { answers: message, ..empty_change(partition) }).await.unwrap());
    }
    let landed = full(version);
    assert_eq!(applied(store.commit(&landed).await.unwrap()), [false, true]);
    assert_eq!(unversioned(store.list(from_ref(&index), None, 10).await.unwrap()), [stored(key, b"x")]);
    assert_eq!(lease_of(store, partition, &Lane::timer(), 10).await.len(), 1);
    assert_eq!(due(store).await, [(partition, lane())]);
    let message = Change { answers: landed.answers, ..empty_change(partition) };
    assert_eq!(store.commit(&message).await.unwrap(), CommitOutcome::Duplicate);
}

pub(super) async fn a_removed_record_frees_its_locator(store: &dyn Store, _: &Clock) {
    let (key, index) = (id(), Index("forgotten".to_owned()));
    let mut change = write(store, key, 0, b"1");
    record(&mut change).retain_until = store.now() + Duration::from_secs(3);
    list(&mut change, &index);
    applied(store.commit(&change).await.unwrap());
    assert!(store.load(key).await.unwrap().is_some());
    // It ages by real time, which Redis measures itself.
    crate::wait::until("it is forgotten", async || store.load(key).await.unwrap().is_none()).await;
    assert_eq!(store.find(None, &[key.locator()]).await.unwrap().records, [None]);
    assert_eq!(store.list(from_ref(&index), None, 10).await.unwrap(), []);
    assert_eq!(store.commit(&write(store, key, 1, b"x")).await.unwrap(), CommitOutcome::Conflict);
    let heir = twin(key);
    create(store, heir, b"2").await;
    assert_eq!(loaded(store, heir).await, Some(stored(heir, b"2")));
}

/// Another record that drew the same place.
fn twin(key: RecordId) -> RecordId {
    let mut bytes = *key.as_bytes();
    bytes[5] ^= 1;
    RecordId::new(bytes)
}

/// In every pair of replicas that can run beside one another while the look-up key changes.
pub(super) async fn a_message_is_answered_once_while_its_digest_changes(store: &dyn Store, _: &Clock) {
    let answers = |message: LookUp| Change { answers: Some(message), ..empty_change(HERE) };
    for pair in fixture::PAIRS {
        let [first, second] = pair(digest(), digest());
        applied(store.commit(&answers(first)).await.unwrap());
        for again in [second, first] {
            assert_eq!(store.commit(&answers(again)).await.unwrap(), CommitOutcome::Duplicate);
        }
    }
    // What is refused is remembered under neither.
    let (old, new) = (digest(), digest());
    let both = LookUp::new(new, Some(old));
    let stale = write(store, id().within(HERE), 1, b"2").answers(both);
    assert_eq!(store.commit(&stale).await.unwrap(), CommitOutcome::Conflict);
    for one in [old, new] {
        applied(store.commit(&answers(one.into())).await.unwrap());
    }
    // Nor does a duplicate make the message be remembered for longer than its first answer.
    let (old, new) = (digest(), digest());
    applied(store.commit(&answers(old.into())).await.unwrap());
    assert_eq!(store.commit(&answers(LookUp::new(new, Some(old)))).await.unwrap(), CommitOutcome::Duplicate);
    applied(store.commit(&answers(new.into())).await.unwrap());
}
