//! Timers: one for each record, due until it is settled or set anew.

use std::{slice::from_ref, time::Duration};

use countersign::{
    clock::Clock,
    store::{Index, LEASE_DURATION, Lane, LeasedJob, Locator, RecordId, Settlement, Store, archive::Removal},
};

use super::fixture::{HERE, applied, at, due, id, instance, lease_timers, list, set_timer, version, write};

fn here() -> RecordId {
    id().within(HERE)
}

fn of(leased: &[LeasedJob]) -> Vec<Locator> {
    leased.iter().map(|timer| Locator::from_slice(&timer.body).unwrap()).collect()
}

async fn settle(store: &dyn Store, timer: &LeasedJob, settlement: Settlement) {
    assert!(store.settle(timer, &settlement).await.unwrap());
}

pub(super) async fn a_timer_is_due_at_its_time_and_names_its_record(store: &dyn Store, clock: &Clock) {
    let [later, sooner] = [here(), here()];
    set_timer(store, later, 0, 60).await;
    set_timer(store, sooner, 0, 30).await;
    assert!(lease_timers(store, HERE).await.is_empty());
    clock.advance(Duration::from_secs(60));
    assert_eq!(due(store).await, [(HERE, Lane::timer())]);
    let rung = lease_timers(store, HERE).await;
    assert_eq!(of(&rung), [sooner.locator(), later.locator()]);
    assert!(lease_timers(store, HERE).await.is_empty() && due(store).await.is_empty());
    for timer in &rung {
        settle(store, timer, Settlement::Done).await;
    }
    clock.advance(Duration::from_hours(1));
    assert!(lease_timers(store, HERE).await.is_empty());
}

pub(super) async fn a_timer_that_is_not_settled_is_due_again(store: &dyn Store, clock: &Clock) {
    let timed = here();
    set_timer(store, timed, 0, 0).await;
    let lost = lease_timers(store, HERE).await.remove(0);
    clock.advance(LEASE_DURATION);
    let held = lease_timers(store, HERE).await.remove(0);
    settle(store, &lost, Settlement::Done).await;
    clock.advance(LEASE_DURATION);
    assert_eq!(of(&lease_timers(store, HERE).await), [timed.locator()], "the lease of another is not settled");
    settle(store, &held, Settlement::Done).await;
    clock.advance(LEASE_DURATION);
    let postponed = lease_timers(store, HERE).await.remove(0);
    settle(store, &postponed, Settlement::Postpone { at: at(store, 60) }).await;
    clock.advance(Duration::from_secs(40));
    assert!(lease_timers(store, HERE).await.is_empty());
    clock.advance(Duration::from_secs(20));
    let again = lease_timers(store, HERE).await.remove(0);
    assert_eq!((again.attempts, again.expired_leases), (0, 0));
    settle(store, &again, Settlement::Retry { at: at(store, 5), note: "why".to_owned() }).await;
    clock.advance(Duration::from_secs(5));
    assert_eq!(lease_timers(store, HERE).await.len(), 1);
}

pub(super) async fn resetting_a_timer_discards_its_lease(store: &dyn Store, clock: &Clock) {
    let timed = here();
    set_timer(store, timed, 0, 0).await;
    let rung = lease_timers(store, HERE).await.remove(0);
    set_timer(store, timed, version(store, timed).await, 90).await;
    settle(store, &rung, Settlement::Done).await;
    clock.advance(Duration::from_secs(60));
    assert!(lease_timers(store, HERE).await.is_empty());
    clock.advance(Duration::from_secs(30));
    assert_eq!(of(&lease_timers(store, HERE).await), [timed.locator()]);
    // Sooner, and by a change that leaves the timer alone not at all.
    set_timer(store, timed, version(store, timed).await, 5).await;
    applied(store.commit(&write(store, timed, version(store, timed).await, b"other")).await.unwrap());
    clock.advance(Duration::from_secs(5));
    assert_eq!(lease_timers(store, HERE).await.len(), 1);
}

pub(super) async fn a_record_is_removed_with_its_timer_and_its_lists(store: &dyn Store, clock: &Clock) {
    let (timed, index) = (here(), Index("list".to_owned()));
    let mut change = write(store, timed, 0, b"1");
    change.records[0].timer = Some(at(store, 60));
    list(&mut change, &index);
    applied(store.commit(&change).await.unwrap());
    let removal = Removal { record: Some((timed, vec![index.clone()])), ..Removal::new(instance(), HERE) };
    store.remove(&removal).await.unwrap();
    assert_eq!(store.load(timed).await.unwrap(), None);
    assert_eq!(store.list(from_ref(&index), None, 10).await.unwrap(), []);
    clock.advance(Duration::from_secs(60));
    assert!(lease_timers(store, HERE).await.is_empty() && due(store).await.is_empty());
}
