//! Buckets, idempotency keys, and the description of a store.

use std::time::Duration;

use countersign::{
    clock::Clock,
    domain::{
        Partition,
        quota::{Allowance, Quota},
    },
    store::{BucketRequest, IdempotencyClaim, IdempotencyRecord, RecordId, Store},
};
use futures_util::future::join_all;
use jiff::Timestamp;

use super::fixture::{self, HERE, claim, create, digest, id, stored, unversioned};

const MINUTE: Duration = Duration::from_secs(60);
const OTHER_PARTITION: Partition = Partition::from_byte(8);

fn bucket(name: &str, count: u32) -> BucketRequest {
    BucketRequest { partition: HERE, bucket: name.to_owned(), quota: Quota::per(count, MINUTE * count) }
}

async fn take(store: &dyn Store, take: &BucketRequest) -> Allowance {
    let admission = store.admit(std::slice::from_ref(take), None).await.unwrap();
    assert_eq!(admission.idempotency_record, None);
    assert_eq!(admission.allowances.len(), 1);
    admission.allowances[0]
}

async fn peek(store: &dyn Store, take: &BucketRequest) -> Allowance {
    store.find(Some(take), &[]).await.unwrap().allowance.unwrap()
}

fn allowed(remaining: u32) -> Allowance {
    Allowance::Allowed { remaining }
}

fn assert_exhausted(allowance: Allowance) {
    match allowance {
        Allowance::Exhausted { retry_after } => {
            assert!(retry_after <= MINUTE && retry_after > MINUTE / 2, "{retry_after:?}");
        }
        Allowance::Allowed { .. } => panic!("{allowance:?}"),
    }
}

pub(super) async fn a_bucket_allows_a_burst_and_then_one_per_interval(store: &dyn Store, clock: &Clock) {
    let three = bucket("three", 3);
    for remaining in [2, 1, 0] {
        assert_eq!(take(store, &three).await, allowed(remaining));
    }
    for _ in 0..3 {
        assert_exhausted(take(store, &three).await);
    }
    clock.advance(MINUTE);
    assert_eq!(take(store, &three).await, allowed(0));
    assert_exhausted(take(store, &three).await);
    clock.advance(MINUTE * 10);
    assert_eq!(take(store, &three).await, allowed(2));
}

pub(super) async fn parallel_requests_get_exactly_the_available_tokens(store: &dyn Store, clock: &Clock) {
    let (fifty, other) = (bucket("fifty", 50), bucket("other", 1));
    for there in [50, 7] {
        let all = join_all((0..200).map(|_| take(store, &fifty))).await;
        let mut lefts: Vec<u32> = Vec::new();
        for allowance in all {
            match allowance {
                Allowance::Allowed { remaining } => lefts.push(remaining),
                Allowance::Exhausted { .. } => assert_exhausted(allowance),
            }
        }
        lefts.sort_unstable();
        assert_eq!(lefts, (0..there).collect::<Vec<_>>(), "each gets another position");
        clock.advance(MINUTE * 7);
    }
    assert_eq!(take(store, &other).await, allowed(0), "another bucket is another matter");
    let roomier = BucketRequest { quota: Quota::per(100, MINUTE * 100), ..fifty.clone() };
    let (some, more) = tokio::join!(take(store, &fifty), take(store, &roomier));
    assert!([some, more].iter().all(|allowance| matches!(allowance, Allowance::Allowed { .. })), "{some:?} {more:?}");
}

pub(super) async fn canceled_requests_do_not_block_others(store: &dyn Store, _: &Clock) {
    let many = bucket("many", 1_000);
    for round in 0..20 {
        let mut crowd: Vec<_> = (0..20).map(|_| Box::pin(take(store, &many))).collect();
        // All are on their way, when those go who came first.
        futures_util::future::poll_fn(|cx| {
            for one in &mut crowd {
                let _ = one.as_mut().poll(cx);
            }
            std::task::Poll::Ready(())
        })
        .await;
        let patient = crowd.split_off(round);
        drop(crowd);
        let got = crate::wait::within_timeout("all are answered", join_all(patient)).await;
        assert!(got.iter().all(|allowance| matches!(allowance, Allowance::Allowed { .. })), "{round}: {got:?}");
    }
}

pub(super) async fn an_exhausted_bucket_prevents_taking_from_the_others(store: &dyn Store, _: &Clock) {
    let (one, four, other) =
        (bucket("one", 1), bucket("four", 4), BucketRequest { partition: OTHER_PARTITION, ..bucket("other", 4) });
    let reserve = IdempotencyClaim {
        partition: HERE,
        key: digest().into(),
        fingerprint: digest().into(),
        content: claim(),
        replaces: None,
    };
    let takes = [one, other.clone(), four.clone()];
    let all = store.admit(&takes, None).await.unwrap().allowances;
    assert_eq!(all, [allowed(0), allowed(3), allowed(3)]);
    let admission = store.admit(&takes, Some(&reserve)).await.unwrap();
    assert_exhausted(admission.allowances[0]);
    assert_eq!(
        admission.allowances[1..],
        [allowed(2), allowed(3)],
        "the remaining quota is returned, and nothing was taken"
    );
    assert_eq!(admission.idempotency_record.unwrap().content, reserve.content);
    assert_eq!(take(store, &four).await, allowed(2));
    assert_eq!(take(store, &other).await, allowed(1));
}

pub(super) async fn peeking_takes_no_token(store: &dyn Store, clock: &Clock) {
    let two = bucket("two", 2);
    for _ in 0..5 {
        assert_eq!(peek(store, &two).await, allowed(1));
    }
    assert_eq!(take(store, &two).await, allowed(1));
    assert_eq!(peek(store, &two).await, allowed(0));
    assert_eq!(take(store, &two).await, allowed(0));
    assert_exhausted(peek(store, &two).await);
    clock.advance(MINUTE);
    assert_eq!(peek(store, &two).await, allowed(0));
    assert_eq!(take(store, &two).await, allowed(0));
}

pub(super) async fn found_records_are_in_the_order_of_the_query(store: &dyn Store, _: &Clock) {
    let (one, two) = (id(), id());
    create(store, one, b"1").await;
    create(store, two, b"2").await;
    let places = [two, id(), one].map(RecordId::locator);
    let found = store.find(Some(&bucket("b", 5)), &places).await.unwrap();
    assert_eq!(
        found.records.into_iter().map(|one| unversioned(one).pop()).collect::<Vec<_>>(),
        [Some(stored(two, b"2")), None, Some(stored(one, b"1"))]
    );
    assert_eq!(found.allowance, Some(allowed(4)));
    let found = store.find(None, &[]).await.unwrap();
    assert_eq!((found.allowance, found.records.len()), (None, 0));
}

pub(super) async fn an_idempotency_key_belongs_to_its_first_request(store: &dyn Store, _: &Clock) {
    let first = IdempotencyClaim {
        partition: HERE,
        key: digest().into(),
        fingerprint: digest().into(),
        content: claim(),
        replaces: None,
    };
    let second = IdempotencyClaim { fingerprint: digest().into(), content: claim(), ..first.clone() };
    let other = IdempotencyClaim { key: digest().into(), ..second.clone() };
    for reserve in [&first, &second, &first] {
        let held = store.admit(&[], Some(reserve)).await.unwrap();
        assert!(held.allowances.is_empty());
        assert_eq!(
            held.idempotency_record,
            Some(IdempotencyRecord { fingerprint: first.fingerprint.current(), content: first.content.clone() })
        );
    }
    let held = store.admit(&[], Some(&other)).await.unwrap().idempotency_record;
    assert_eq!(held, Some(IdempotencyRecord { fingerprint: other.fingerprint.current(), content: other.content }));
}

/// In every pair of replicas that can run beside one another while the look-up key changes.
pub(super) async fn an_idempotency_key_keeps_its_owner_while_its_digest_changes(store: &dyn Store, _: &Clock) {
    for (key, body) in fixture::PAIRS.into_iter().zip(fixture::PAIRS) {
        let (keys, bodies) = (key(digest(), digest()), body(digest(), digest()));
        let claims = |side: usize| IdempotencyClaim {
            partition: HERE,
            key: keys[side],
            fingerprint: bodies[side],
            content: claim(),
            replaces: None,
        };
        let (first, second) = (claims(0), claims(1));
        for reserve in [&first, &second, &first] {
            let held = store.admit(&[], Some(reserve)).await.unwrap().idempotency_record.unwrap();
            assert_eq!(held.content, first.content);
            assert!(reserve.fingerprint.contains(held.fingerprint), "the same request is known as the same");
        }
        let third = IdempotencyClaim { content: claim(), replaces: Some(first.content.clone()), ..second.clone() };
        assert_eq!(store.admit(&[], Some(&third)).await.unwrap().idempotency_record.unwrap().content, third.content);
        let held = store.admit(&[], Some(&second)).await.unwrap().idempotency_record.unwrap();
        assert_eq!(held.content, third.content, "it gave way under each digest");
    }
}

pub(super) async fn a_claim_is_replaced_only_by_a_request_that_names_it(store: &dyn Store, _: &Clock) {
    let first = IdempotencyClaim {
        partition: HERE,
        key: digest().into(),
        fingerprint: digest().into(),
        content: claim(),
        replaces: None,
    };
    let holder = async |reserve: &IdempotencyClaim| {
        store.admit(&[], Some(reserve)).await.unwrap().idempotency_record.unwrap().content
    };
    assert_eq!(holder(&first).await, first.content);
    let replace = |replaced: &IdempotencyClaim| IdempotencyClaim {
        content: claim(),
        replaces: Some(replaced.content.clone()),
        ..first.clone()
    };
    let (second, third) = (replace(&first), replace(&first));
    assert_eq!(holder(&second).await, second.content);
    assert_eq!(holder(&third).await, second.content, "what it names does not hold the key any more");
    assert_eq!(holder(&first).await, second.content);
}

pub(super) async fn metadata_is_stored(store: &dyn Store, _: &Clock) {
    assert!(store.meta().await.unwrap().is_empty());
    for (value, replace, kept) in [("1", false, "1"), ("2", false, "1"), ("3", true, "3"), ("4", false, "3")] {
        store.set_meta("name", value, replace).await.unwrap();
        store.set_meta("other", "x", true).await.unwrap();
        let meta = store.meta().await.unwrap();
        assert_eq!((meta.len(), meta["name"].as_str()), (2, kept));
    }
}

pub(super) async fn a_probe_writes(store: &dyn Store, _: &Clock) {
    for _ in 0..3 {
        store.probe().await.unwrap();
    }
}

pub(super) async fn time_never_goes_backwards(store: &dyn Store, clock: &Clock) {
    store.probe().await.unwrap();
    let mut last = Timestamp::MIN;
    let mut rises = || {
        let now = store.now();
        assert!(now >= last);
        last = now;
        now
    };
    for _ in 0..100 {
        rises();
    }
    let before = rises();
    clock.advance(MINUTE);
    assert!(rises().duration_since(before).as_secs() >= 60);
    turn_clock_back(clock);
    for _ in 0..3 {
        rises();
        store.probe().await.unwrap();
    }
}

/// An hour, by going once around the range of the shift.
fn turn_clock_back(clock: &Clock) {
    let before = clock.offset_millis();
    let half = i64::MAX.cast_unsigned();
    clock.advance(Duration::from_millis(half));
    clock.advance(Duration::from_millis(half + 2 - 3_600_000));
    assert_eq!(clock.offset_millis(), before - 3_600_000);
}

pub(super) async fn a_drawn_block_is_limited_by_the_smallest_bucket(store: &dyn Store, clock: &Clock) {
    let takes = [bucket("short", 3), bucket("long", 10)];
    let drawn = store.draw(&takes, 2).await.unwrap();
    assert_eq!((drawn.units, drawn.wait), (2, Duration::ZERO));
    let drawn = store.draw(&takes, 5).await.unwrap();
    assert_eq!(drawn.units, 1);
    assert!(drawn.wait > Duration::ZERO);
    assert_eq!(store.draw(&takes, 5).await.unwrap().units, 0);
    assert_eq!(peek(store, &takes[1]).await, allowed(6), "of the long one as much as of the short one");
    // The clock goes by whole milliseconds.
    clock.advance(drawn.wait + Duration::from_millis(1));
    assert_eq!(store.draw(&takes, 5).await.unwrap().units, 1);
}

pub(super) async fn a_unit_given_back_can_be_taken_again(store: &dyn Store, clock: &Clock) {
    let (three, ten) = (bucket("three", 3), bucket("ten", 10));
    let both = [three.clone(), ten.clone()];
    for _ in 0..3 {
        store.admit(&both, None).await.unwrap();
    }
    assert_exhausted(take(store, &three).await);
    store.give_back(&both).await.unwrap();
    assert_eq!(take(store, &ten).await, allowed(7));
    assert_eq!(take(store, &three).await, allowed(0));
    clock.advance(MINUTE * 10);
    // A full bucket does not become fuller.
    for _ in 0..5 {
        store.give_back(&both).await.unwrap();
    }
    assert_eq!(take(store, &three).await, allowed(2));
    store.give_back(&[bucket("unused", 3)]).await.unwrap();
    assert_eq!(take(store, &bucket("unused", 3)).await, allowed(2));
}
