//! Hourly counters.

use std::{collections::BTreeMap, time::Duration};

use countersign::{
    clock::Clock,
    domain::InstanceId,
    store::{COUNTER_RETENTION, Hour, HourlyCounts, Store},
};
use futures_util::future::join_all;

use super::fixture::instance;

const HOUR: Duration = Duration::from_hours(1);

fn counts(instance: InstanceId, hour: Hour, counts: &[(&str, u64)]) -> HourlyCounts {
    let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), *count));
    HourlyCounts { instance, hour, counts: counts.collect::<BTreeMap<_, _>>() }
}

async fn read(store: &dyn Store, instance: InstanceId, hours: i64) -> Vec<HourlyCounts> {
    let now = Hour::of(store.now());
    store.read_counts(instance, now.before(hours)..=now).await.unwrap()
}

pub(super) async fn counts_of_an_hour_add_up(store: &dyn Store, _: &Clock) {
    let (here, now) = (instance(), Hour::of(store.now()));
    assert_eq!(read(store, here, 24).await, []);
    store.add_counts(&[]).await.unwrap();
    store.add_counts(&[counts(here, now, &[("a", 1), ("b c:d", 20)])]).await.unwrap();
    store.add_counts(&[counts(here, now, &[("a", 2), ("e", u64::from(u32::MAX))])]).await.unwrap();
    let sum = counts(here, now, &[("a", 3), ("b c:d", 20), ("e", u64::from(u32::MAX))]);
    assert_eq!(read(store, here, 24).await, [sum]);
}

/// Each of them adds to two hours and two instances.
pub(super) async fn two_replicas_add_at_once(store: &dyn Store, _: &Clock) {
    let (one, two, now) = (instance(), instance(), Hour::of(store.now()));
    let replica = async |name: &str| {
        for _ in 0..50 {
            let places = [(one, now), (one, now.before(1)), (two, now), (two, now.before(1))];
            let added = places.map(|(instance, hour)| counts(instance, hour, &[("common", 1), (name, 2)]));
            store.add_counts(&added).await.unwrap();
        }
    };
    join_all([replica("first"), replica("second")]).await;
    for instance in [one, two] {
        let sums = [now.before(1), now];
        let sums = sums.map(|hour| counts(instance, hour, &[("common", 100), ("first", 100), ("second", 100)]));
        assert_eq!(read(store, instance, 24).await, sums);
    }
}

pub(super) async fn hours_are_read_in_order_and_by_instance(store: &dyn Store, _: &Clock) {
    let (one, two, now) = (instance(), instance(), Hour::of(store.now()));
    let all: Vec<HourlyCounts> =
        [0, 1, 5, 100, 167].map(|hours| counts(one, now.before(hours), &[("a", 1 + hours.unsigned_abs())])).to_vec();
    store.add_counts(&all).await.unwrap();
    store.add_counts(&[counts(two, now.before(5), &[("a", 7)])]).await.unwrap();
    let oldest_first: Vec<HourlyCounts> = all.iter().rev().cloned().collect();
    assert_eq!(read(store, one, 167).await, oldest_first);
    assert_eq!(read(store, one, 5).await, oldest_first[2..]);
    let past = store.read_counts(one, now.before(100)..=now.before(1)).await.unwrap();
    assert_eq!(past, oldest_first[1..4]);
    assert_eq!(read(store, two, 167).await, [counts(two, now.before(5), &[("a", 7)])]);
}

pub(super) async fn counters_are_kept_for_eight_days(store: &dyn Store, clock: &Clock) {
    let (here, first) = (instance(), Hour::of(store.now()));
    store.add_counts(&[counts(here, first, &[("a", 1)])]).await.unwrap();
    let all = async || store.read_counts(here, first.before(1)..=Hour::of(store.now())).await.unwrap();
    clock.advance(COUNTER_RETENTION);
    // Adding to a later hour neither removes the earlier one nor prolongs it.
    let later = Hour::of(store.now());
    store.add_counts(&[counts(here, later, &[("a", 2)])]).await.unwrap();
    assert_eq!(all().await, [counts(here, first, &[("a", 1)]), counts(here, later, &[("a", 2)])]);
    clock.advance(HOUR);
    assert_eq!(all().await, [counts(here, later, &[("a", 2)])]);
    clock.advance(COUNTER_RETENTION);
    assert_eq!(all().await, []);
}
