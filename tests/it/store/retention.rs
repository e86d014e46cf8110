//! Retention of archived jobs and message ids.

use std::time::Duration;

use countersign::{
    clock::Clock,
    store::{
        Change, CommitOutcome, DEAD_RETENTION, DeadReason, IdempotencyClaim, JobState, MESSAGE_ID_RETENTION,
        Settlement, Store,
    },
};

use super::fixture::{HERE, applied, claim, digest, empty_change, job, lease, lease_one, queue};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn a_message_is_remembered_for_eight_days(store: &dyn Store, clock: &Clock) {
    let [one, two] = [digest(), digest()].map(|message| Change { answers: Some(message.into()), ..empty_change(HERE) });
    for change in [&one, &two] {
        applied(store.commit(change).await.unwrap());
    }
    clock.advance(MESSAGE_ID_RETENTION - MINUTE);
    assert_eq!(store.commit(&one).await.unwrap(), CommitOutcome::Duplicate);
    clock.advance(MINUTE);
    applied(store.commit(&two).await.unwrap());
    assert_eq!(store.commit(&two).await.unwrap(), CommitOutcome::Duplicate);
}

pub(super) async fn an_idempotency_key_is_held_for_a_day(store: &dyn Store, clock: &Clock) {
    let first = IdempotencyClaim {
        partition: HERE,
        key: digest().into(),
        fingerprint: digest().into(),
        content: claim(),
        replaces: None,
    };
    let second = IdempotencyClaim { content: claim(), fingerprint: digest().into(), ..first.clone() };
    let holder = async |reserve| store.admit(&[], Some(reserve)).await.unwrap().idempotency_record.unwrap().content;
    assert_eq!(holder(&first).await, first.content);
    clock.advance(Duration::from_hours(24) - MINUTE);
    assert_eq!(holder(&second).await, first.content);
    clock.advance(MINUTE);
    assert_eq!(holder(&second).await, second.content);
    assert_eq!(holder(&first).await, second.content);
}

pub(super) async fn a_dead_job_is_kept_for_a_week(store: &dyn Store, clock: &Clock) {
    queue(store, vec![job("a")]).await;
    let leased = lease_one(store).await;
    assert!(
        store.settle(&leased, &Settlement::Dead { reason: DeadReason::GivenUp, note: String::new() }).await.unwrap()
    );
    clock.advance(DEAD_RETENTION - MINUTE);
    assert_eq!(store.jobs(leased.instance, JobState::Dead, 10).await.unwrap().len(), 1);
    clock.advance(MINUTE);
    assert_eq!(store.jobs(leased.instance, JobState::Dead, 10).await.unwrap(), []);
    assert!(!store.replay(leased.instance, HERE, &leased.id).await.unwrap());
    assert!(lease(store).await.is_empty());
}
