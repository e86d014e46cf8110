//! One job, from its commit to its end.

use std::time::Duration;

use countersign::{
    clock::Clock,
    domain::Partition,
    store::{Change, DeadReason, Job, JobId, JobState, LEASE_DURATION, Settlement, Store},
};

use super::fixture::{HERE, at, due, empty_change, instance, job, lane, lease, lease_of, lease_one, queue};

fn leased(id: &str) -> Job {
    Job { lease: true, ..job(id) }
}

fn retry(store: &dyn Store, seconds: u64) -> Settlement {
    Settlement::Retry { at: at(store, seconds), note: "busy".to_owned() }
}

fn dead(note: &str) -> Settlement {
    Settlement::Dead { reason: DeadReason::GivenUp, note: note.to_owned() }
}

pub(super) async fn a_committed_job_is_leased_in_the_same_step(store: &dyn Store, clock: &Clock) {
    let before = at(store, 0);
    assert_eq!(queue(store, vec![leased("a"), job("b")]).await, [true, false]);
    let other = lease_one(store).await;
    assert_eq!((other.id.0.as_str(), other.fence), ("b", 1));
    assert!(other.since >= before && other.since <= store.now());
    // The committer holds fence 1 and needs no more than what it wrote.
    let mut ours = other.clone();
    ours.id = JobId("a".to_owned());
    assert!(store.settle(&ours, &retry(store, 60)).await.unwrap());
    clock.advance(Duration::from_secs(60));
    let again = lease(store).await;
    let again = again.iter().find(|job| job.id.0 == "a").unwrap();
    assert_eq!((again.fence, again.attempts, again.body.as_slice()), (2, 1, b"a".as_slice()));
    assert_eq!((again.partition, again.instance, &again.lane), (HERE, job("a").instance, &lane()));
}

pub(super) async fn a_leased_job_is_not_leased_again_until_the_lease_expires(store: &dyn Store, clock: &Clock) {
    queue(store, vec![leased("a")]).await;
    assert!(lease(store).await.is_empty());
    assert!(due(store).await.is_empty());
    for fence in 2..5 {
        clock.advance(LEASE_DURATION - Duration::from_secs(9));
        assert!(lease(store).await.is_empty());
        clock.advance(Duration::from_secs(9));
        assert_eq!(due(store).await, [(HERE, lane())]);
        let leased = lease_one(store).await;
        assert_eq!((leased.fence, leased.attempts), (fence, 0));
        assert!(due(store).await.is_empty());
    }
}

pub(super) async fn an_expired_lease_cannot_be_settled(store: &dyn Store, clock: &Clock) {
    queue(store, vec![job("a")]).await;
    let zombie = lease_one(store).await;
    clock.advance(LEASE_DURATION);
    let holder = lease_one(store).await;
    let settlements = [Settlement::Done, retry(store, 0), Settlement::Postpone { at: at(store, 0) }, dead("zombie")];
    for settlement in &settlements {
        assert!(!store.settle(&zombie, settlement).await.unwrap());
        assert!(lease(store).await.is_empty());
    }
    assert!(store.jobs(zombie.instance, JobState::Dead, 10).await.unwrap().is_empty());
    assert!(store.settle(&holder, &retry(store, 0)).await.unwrap());
    assert_eq!(lease_one(store).await.attempts, 1);
}

pub(super) async fn a_done_job_is_never_leased_again(store: &dyn Store, clock: &Clock) {
    queue(store, vec![job("a")]).await;
    let leased = lease_one(store).await;
    assert!(store.settle(&leased, &Settlement::Done).await.unwrap());
    assert!(!store.settle(&leased, &Settlement::Done).await.unwrap());
    clock.advance(Duration::from_hours(1));
    assert!(lease(store).await.is_empty());
    assert!(due(store).await.is_empty());
    assert!(store.jobs(leased.instance, JobState::Dead, 10).await.unwrap().is_empty());
}

pub(super) async fn a_retry_counts_as_an_attempt(store: &dyn Store, clock: &Clock) {
    queue(store, vec![job("a")]).await;
    for attempts in 0..3 {
        let leased = lease_one(store).await;
        assert_eq!((leased.attempts, leased.fence), (attempts, u64::from(attempts) + 1));
        assert!(store.settle(&leased, &retry(store, 60)).await.unwrap());
        clock.advance(Duration::from_secs(40));
        assert!(lease(store).await.is_empty());
        assert!(due(store).await.is_empty());
        clock.advance(Duration::from_secs(20));
    }
}

pub(super) async fn postponing_does_not_count_as_an_attempt(store: &dyn Store, clock: &Clock) {
    queue(store, vec![job("a")]).await;
    for fence in 1..4 {
        let leased = lease_one(store).await;
        assert_eq!((leased.attempts, leased.fence), (0, fence));
        assert!(store.settle(&leased, &Settlement::Postpone { at: at(store, 60) }).await.unwrap());
        clock.advance(Duration::from_secs(40));
        assert!(lease(store).await.is_empty());
        clock.advance(Duration::from_secs(20));
    }
}

pub(super) async fn a_job_given_up_is_kept_and_can_be_replayed(store: &dyn Store, clock: &Clock) {
    queue(store, vec![job("a")]).await;
    let first = lease_one(store).await;
    assert!(store.settle(&first, &retry(store, 0)).await.unwrap());
    let second = lease_one(store).await;
    let before = at(store, 0);
    assert!(store.settle(&second, &dead("410 Gone")).await.unwrap());
    clock.advance(LEASE_DURATION);
    assert!(lease(store).await.is_empty());
    assert!(due(store).await.is_empty());

    let kept = store.jobs(second.instance, JobState::Dead, 10).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].partition, &kept[0].id, &kept[0].lane), (HERE, &second.id, &lane()));
    assert_eq!((kept[0].attempts, kept[0].note.as_str(), kept[0].body.as_slice()), (2, "410 Gone", b"a".as_slice()));
    assert!(kept[0].at >= before && kept[0].at <= store.now());

    assert!(store.replay(second.instance, HERE, &second.id).await.unwrap());
    assert!(store.jobs(second.instance, JobState::Dead, 10).await.unwrap().is_empty());
    assert_eq!(due(store).await, [(HERE, lane())]);
    let third = lease_one(store).await;
    assert_eq!((third.attempts, third.body.as_slice()), (0, b"a".as_slice()));
    assert!(third.fence > second.fence);
    assert!(!store.settle(&second, &Settlement::Done).await.unwrap());
    assert!(store.settle(&third, &Settlement::Done).await.unwrap());
}

pub(super) async fn only_a_dead_job_of_the_instance_is_replayed(store: &dyn Store, _: &Clock) {
    queue(store, vec![job("dead"), leased("alive")]).await;
    let leased = lease_one(store).await;
    assert!(store.settle(&leased, &dead("why")).await.unwrap());
    let stranger = instance();
    assert!(store.jobs(stranger, JobState::Dead, 10).await.unwrap().is_empty());
    assert!(!store.replay(stranger, HERE, &leased.id).await.unwrap());
    assert!(!store.replay(leased.instance, Partition::from_byte(8), &leased.id).await.unwrap());
    assert!(!store.replay(leased.instance, HERE, &JobId("alive".to_owned())).await.unwrap());
    assert!(!store.replay(leased.instance, HERE, &JobId("unknown".to_owned())).await.unwrap());
    assert!(lease(store).await.is_empty());
    assert!(store.replay(leased.instance, HERE, &leased.id).await.unwrap());
    assert!(!store.replay(leased.instance, HERE, &leased.id).await.unwrap());
    assert_eq!(lease(store).await.len(), 1);
}

pub(super) async fn dead_jobs_are_listed_newest_first(store: &dyn Store, clock: &Clock) {
    for n in 0..6 {
        let partition = Partition::from_byte(n);
        let change = Change { jobs: vec![job(&format!("job {n}"))], ..empty_change(partition) };
        let _applied = store.commit(&change).await.unwrap();
        let leased = lease_of(store, partition, &lane(), 1).await;
        assert!(store.settle(&leased[0], &dead(&n.to_string())).await.unwrap());
        clock.advance(Duration::from_secs(1));
    }
    let dead = store.jobs(job("").instance, JobState::Dead, 4).await.unwrap();
    assert_eq!(dead.iter().map(|dead| dead.note.as_str()).collect::<Vec<_>>(), ["5", "4", "3", "2"]);
    assert_eq!(dead[0].partition, Partition::from_byte(5));
}
