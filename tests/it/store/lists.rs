//! Lists of records, a page at a time.

use std::{collections::HashMap, slice::from_ref, time::Duration};

use countersign::{
    clock::Clock,
    domain::{Partition, VerificationId},
    random,
    store::{Index, Position, RecordId, Store, StoredRecord},
};
use jiff::Timestamp;

use super::fixture::{applied, compare, id, list, record, stored, unversioned, version, write};

async fn add(store: &dyn Store, key: RecordId, created_at: Timestamp, indexes: &[&Index]) {
    let mut change = write(store, key, 0, b"1");
    record(&mut change).created_at = created_at;
    for index in indexes {
        list(&mut change, index);
    }
    applied(store.commit(&change).await.unwrap());
}

fn ids(page: &[StoredRecord]) -> Vec<RecordId> {
    page.iter().map(|stored| stored.id).collect()
}

pub(super) async fn a_list_is_newest_first(store: &dyn Store, _: &Clock) {
    let (all, some) = (Index("all".to_owned()), Index("some".to_owned()));
    let now = store.now();
    let keys = [3, 1, 4, 2].map(|age| (now - Duration::from_secs(age), id(), age));
    for (created_at, key, age) in keys {
        let indexes = if age > 2 { vec![&all, &some] } else { vec![&all] };
        add(store, key, created_at, &indexes).await;
    }
    let [third, first, fourth, second] = keys.map(|(_, key, _)| key);
    assert_eq!(ids(&store.list(from_ref(&all), None, 10).await.unwrap()), [first, second, third, fourth]);
    assert_eq!(ids(&store.list(from_ref(&all), None, 2).await.unwrap()), [first, second]);
    assert_eq!(ids(&store.list(from_ref(&some), None, 10).await.unwrap()), [third, fourth]);
    let after = Position { created_at: now - Duration::from_secs(2), id: second };
    assert_eq!(ids(&store.list(from_ref(&all), Some(&after), 10).await.unwrap()), [third, fourth]);
    applied(store.commit(&write(store, first, version(store, first).await, b"2")).await.unwrap());
    assert_eq!(unversioned(store.list(from_ref(&all), None, 1).await.unwrap()), [stored(first, b"2")]);
}

pub(super) async fn pages_have_no_gap_and_no_overlap(store: &dyn Store, _: &Clock) {
    pages_are_whole(store, &Index("many".to_owned()), id, 40).await;
}

pub(super) async fn pages_have_no_gap_if_all_records_are_in_one_partition(store: &dyn Store, _: &Clock) {
    let alone = || {
        let id = VerificationId::new(1_795_168_830_123, random::bytes());
        id.in_partition(Partition::from_byte(7)).into()
    };
    pages_are_whole(store, &Index("even".to_owned()), alone, 1).await;
    pages_are_whole(store, &Index("at once".to_owned()), alone, 100).await;
}

/// With so many records of each millisecond.
async fn pages_are_whole(store: &dyn Store, index: &Index, id: impl Fn() -> RecordId, at_once: u64) {
    let now = store.now();
    let mut times = HashMap::new();
    for n in 0..120_u64 {
        let created_at = now - Duration::from_millis(n / at_once);
        let key = id();
        add(store, key, created_at, &[index]).await;
        times.insert(key, created_at);
    }
    for limit in [1, 7, 40, 120, 500] {
        let mut seen: Vec<RecordId> = Vec::new();
        loop {
            let after = seen.last().map(|&id| Position { created_at: times[&id], id });
            let page = store.list(from_ref(index), after.as_ref(), limit).await.unwrap();
            seen.extend(ids(&page));
            if page.len() < limit {
                break;
            }
        }
        assert_eq!(seen.len(), 120, "pages of {limit}");
        assert!(seen.is_sorted_by(|one, two| times[one] >= times[two]), "pages of {limit}");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 120, "pages of {limit}");
    }
}

pub(super) async fn a_record_can_be_added_to_a_list_later(store: &dyn Store, _: &Clock) {
    let (index, more) = (Index("list".to_owned()), Index("more".to_owned()));
    let (older, newer) = (id(), id());
    let now = store.now();
    let earlier = now - Duration::from_secs(5);
    add(store, older, earlier, &[&index]).await;
    add(store, newer, now, &[&index, &more]).await;
    let mut change = write(store, older, version(store, older).await, b"2");
    record(&mut change).created_at = earlier;
    list(&mut change, &more);
    list(&mut change, &index);
    applied(store.commit(&change).await.unwrap());
    for index in [&index, &more] {
        assert_eq!(ids(&store.list(from_ref(index), None, 10).await.unwrap()), [newer, older]);
    }
    applied(store.commit(&compare(store, older, version(store, older).await)).await.unwrap());
    assert_eq!(unversioned(store.list(from_ref(&more), None, 10).await.unwrap())[1], stored(older, b"2"));
}

pub(super) async fn an_unknown_list_is_empty(store: &dyn Store, _: &Clock) {
    add(store, id(), store.now(), &[&Index("list".to_owned())]).await;
    assert_eq!(store.list(&[Index("lis".to_owned())], None, 10).await.unwrap(), []);
    let after = Position { created_at: Timestamp::MIN, id: id() };
    assert_eq!(store.list(&[Index("list".to_owned())], Some(&after), 10).await.unwrap(), []);
}

pub(super) async fn two_lists_are_read_as_one(store: &dyn Store, _: &Clock) {
    let (former, latter) = (Index("former".to_owned()), Index("latter".to_owned()));
    let now = store.now();
    let keys = [(1, vec![&latter]), (2, vec![&former, &latter]), (3, vec![&former]), (4, vec![&latter])];
    let mut all = Vec::new();
    for (age, lists) in keys {
        let (key, created_at) = (id(), now - Duration::from_secs(age));
        add(store, key, created_at, &lists).await;
        all.push((key, created_at));
    }
    let both = [former, latter];
    let wanted: Vec<RecordId> = all.iter().map(|(key, _)| *key).collect();
    assert_eq!(ids(&store.list(&both, None, 10).await.unwrap()), wanted);
    let mut after = None;
    for one in &all {
        let page = store.list(&both, after.as_ref(), 1).await.unwrap();
        assert_eq!(ids(&page), [one.0]);
        after = Some(Position { created_at: one.1, id: one.0 });
    }
    assert_eq!(store.list(&both, after.as_ref(), 1).await.unwrap(), []);
}
