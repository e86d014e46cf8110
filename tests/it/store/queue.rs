//! Many jobs: which are leased, when, and by which worker.

use std::{collections::HashSet, time::Duration};

use countersign::{
    clock::Clock,
    domain::Partition,
    store::{Change, DeadReason, Job, JobId, JobState, LEASE_DURATION, Lane, LeaseRequest, Settlement, Store},
};
use futures_util::future::join_all;

use super::fixture::{
    HERE, applied, at, due, empty_change, id, job, lane, lease, lease_of, lease_one, poll_and_lease, queue, set_timer,
};

fn names(jobs: &[countersign::store::LeasedJob]) -> Vec<&str> {
    jobs.iter().map(|job| job.id.0.as_str()).collect()
}

fn on_lane(lane: &str, job: Job) -> Job {
    Job { lane: Lane(lane.to_owned()), ..job }
}

pub(super) async fn due_names_the_lanes_with_due_work(store: &dyn Store, clock: &Clock) {
    let later = Some(at(store, 60));
    let mut expected = HashSet::new();
    for partition in Partition::all().step_by(5) {
        let jobs = vec![
            on_lane("now", job("1")),
            on_lane("now", job("2")),
            on_lane("both", job("3")),
            Job { due: later, ..on_lane("both", job("4")) },
            Job { due: later, ..on_lane("later", job("5")) },
            Job { lease: true, ..on_lane("leased", job("6")) },
        ];
        applied(store.commit(&Change { jobs, ..empty_change(partition) }).await.unwrap());
        set_timer(store, id().within(partition), 0, 60).await;
        expected.extend(["now", "both"].map(|name| (partition, Lane(name.to_owned()))));
    }
    let found = due(store).await;
    assert_eq!(found.len(), expected.len(), "{found:?}");
    assert_eq!(found.into_iter().collect::<HashSet<_>>(), expected);
    clock.advance(Duration::from_secs(60));
    assert_eq!(due(store).await.len(), 7 * 5);
}

pub(super) async fn the_oldest_job_comes_first(store: &dyn Store, clock: &Clock) {
    for (partition, seconds) in [(7, 30), (3, 10), (19, 40), (11, 20)] {
        let jobs = vec![Job { due: Some(at(store, seconds)), ..on_lane("elsewhere", job("1")) }];
        applied(store.commit(&Change { jobs, ..empty_change(Partition::from_byte(partition)) }).await.unwrap());
    }
    clock.advance(Duration::from_secs(100));
    let partitions: Vec<u8> = due(store).await.iter().map(|(partition, _)| partition.index()).collect();
    assert_eq!(partitions, [3, 11, 7, 19]);
    let later = |seconds| Some(at(store, seconds));
    let jobs = [("c", 30), ("a", 10), ("d", 40), ("b", 20), ("e", 500)];
    queue(store, jobs.map(|(id, seconds)| Job { due: later(seconds), ..job(id) }).into()).await;
    assert!(lease(store).await.is_empty());
    clock.advance(Duration::from_secs(100));
    let first = lease_of(store, HERE, &lane(), 3).await;
    assert_eq!(names(&first), ["a", "b", "c"]);
    assert_eq!(names(&lease(store).await), ["d"]);
    assert!(lease(store).await.is_empty());
}

pub(super) async fn many_workers_share_no_job(store: &dyn Store, _: &Clock) {
    queue(store, (0..60).map(|n| job(&n.to_string())).collect()).await;
    let there = lane();
    let hands = join_all((0..16).map(|_| lease_of(store, HERE, &there, 5))).await;
    let taken: Vec<JobId> = hands.into_iter().flatten().map(|job| job.id).collect();
    assert_eq!(taken.len(), 60);
    assert_eq!(taken.into_iter().collect::<HashSet<_>>().len(), 60);
}

pub(super) async fn a_held_lane_grants_no_lease(store: &dyn Store, clock: &Clock) {
    queue(store, vec![job("a"), on_lane("elsewhere", job("b"))]).await;
    let leased = lease_one(store).await;
    assert!(store.settle(&leased, &Settlement::Postpone { at: at(store, 0) }).await.unwrap());
    store.hold(&lane(), at(store, 60)).await.unwrap();
    assert!(lease(store).await.is_empty());
    let elsewhere = Lane("elsewhere".to_owned());
    assert_eq!(due(store).await, [(HERE, elsewhere.clone())]);
    assert_eq!(lease_of(store, HERE, &elsewhere, 10).await.len(), 1);
    clock.advance(Duration::from_secs(40));
    assert!(lease(store).await.is_empty());
    clock.advance(Duration::from_secs(20));
    assert!(due(store).await.contains(&(HERE, lane())));
    let leased = lease_one(store).await;
    assert_eq!((leased.attempts, leased.fence), (0, 2));
}

pub(super) async fn a_commit_under_a_hold_leases_nothing(store: &dyn Store, clock: &Clock) {
    store.hold(&lane(), at(store, 60)).await.unwrap();
    let jobs = vec![
        Job { lease: true, ..job("a") },
        Job { due: Some(at(store, 90)), ..job("b") },
        Job { lease: true, ..on_lane("elsewhere", job("c")) },
    ];
    assert_eq!(queue(store, jobs).await, [false, false, true]);
    assert!(due(store).await.is_empty());
    assert!(lease(store).await.is_empty());
    clock.advance(Duration::from_secs(60));
    let leased = lease_one(store).await;
    assert_eq!((leased.id.0.as_str(), leased.attempts, leased.fence), ("a", 0, 1));
    clock.advance(Duration::from_secs(30));
    assert!(names(&lease(store).await).contains(&"b"));
    // The hold is over for those who commit, too.
    assert_eq!(queue(store, vec![Job { lease: true, ..job("d") }]).await, [true]);
}

pub(super) async fn a_job_is_queued_once(store: &dyn Store, clock: &Clock) {
    let again = || Job { lease: true, body: b"other".to_vec(), ..job("a") };
    queue(store, vec![job("a")]).await;
    assert_eq!(queue(store, vec![again()]).await, [false]);
    let leased = lease_one(store).await;
    assert_eq!((leased.body.as_slice(), leased.fence), (b"a".as_slice(), 1));
    assert_eq!(queue(store, vec![again()]).await, [false]);
    assert!(lease(store).await.is_empty());
    assert!(
        store.settle(&leased, &Settlement::Dead { reason: DeadReason::GivenUp, note: String::new() }).await.unwrap()
    );
    assert_eq!(queue(store, vec![again(), job("b")]).await, [false, false]);
    clock.advance(LEASE_DURATION);
    assert_eq!(names(&lease(store).await), ["b"]);
    assert_eq!(store.jobs(leased.instance, JobState::Dead, 10).await.unwrap()[0].body, b"a");
}

pub(super) async fn partitions_do_not_share_job_ids(store: &dyn Store, _: &Clock) {
    for partition in [Partition::from_byte(1), Partition::from_byte(2)] {
        let change = Change { jobs: vec![Job { lease: true, ..job("a") }, job("b")], ..empty_change(partition) };
        assert_eq!(applied(store.commit(&change).await.unwrap()), [true, false]);
    }
    let leased = lease_of(store, Partition::from_byte(1), &lane(), 10).await;
    assert_eq!(names(&leased), ["b"]);
    assert_eq!(leased[0].partition, Partition::from_byte(1));
    assert!(store.settle(&leased[0], &Settlement::Done).await.unwrap());
    assert_eq!(names(&lease_of(store, Partition::from_byte(2), &lane(), 10).await), ["b"]);
}

pub(super) async fn of_a_group_one_job_is_leased_at_a_time(store: &dyn Store, _: &Clock) {
    queue(store, ["x/1", "x/2", "y/1", "yy", "z/1"].map(job).into()).await;
    let ask = async |limit, busy: &[&str]| {
        let busy = busy.iter().map(|group| (*group).to_owned()).collect();
        let request = LeaseRequest { partition: HERE, lane: lane(), limit, busy_groups: busy };
        store.lease(&[request]).await.unwrap().remove(0)
    };
    let first = ask(9, &["z"]).await;
    assert_eq!(names(&first.jobs), ["x/1", "y/1", "yy"]);
    assert!(first.oldest_left.is_some(), "what is left out is still due");
    let held_up = ask(9, &["x", "z"]).await;
    assert_eq!((names(&held_up.jobs), held_up.oldest_left.is_some()), (vec![], true));
    let last = ask(9, &[]).await;
    assert_eq!((names(&last.jobs), last.oldest_left), (vec!["x/2", "z/1"], None));
}

pub(super) async fn several_lanes_are_leased_at_once(store: &dyn Store, clock: &Clock) {
    for partition in [HERE, Partition::from_byte(8)] {
        let jobs = vec![on_lane("one", job("1")), on_lane("other", job("2")), on_lane("other", job("3"))];
        applied(store.commit(&Change { jobs, ..empty_change(partition) }).await.unwrap());
    }
    clock.advance(Duration::from_millis(100));
    let request = |partition, lane: &str, limit| LeaseRequest {
        partition,
        lane: Lane(lane.to_owned()),
        limit,
        busy_groups: [].into(),
    };
    let requests = [
        request(Partition::from_byte(8), "other", 1),
        request(HERE, "one", 5),
        request(HERE, "nothing", 5),
        request(HERE, "other", 2),
    ];
    let granted = store.lease(&requests).await.unwrap();
    let found: Vec<Vec<&str>> = granted.iter().map(|granted| names(&granted.jobs)).collect();
    assert_eq!(found, [vec!["2"], vec!["1"], vec![], vec!["2", "3"]]);
    assert_eq!(
        granted.iter().map(|granted| granted.oldest_left.is_some()).collect::<Vec<_>>(),
        [true, false, false, false]
    );
    assert_eq!(granted[0].jobs[0].partition, Partition::from_byte(8));
}

pub(super) async fn consecutive_expired_leases_are_counted(store: &dyn Store, clock: &Clock) {
    queue(store, vec![Job { lease: true, ..job("a") }]).await;
    for lapsed in 1..4 {
        clock.advance(LEASE_DURATION);
        let leased = lease_one(store).await;
        assert_eq!((leased.expired_leases, leased.attempts), (lapsed, 0));
    }
    clock.advance(LEASE_DURATION);
    for settlement in [
        Settlement::Postpone { at: at(store, 0) },
        Settlement::Retry { at: at(store, 0), note: "busy".to_owned() },
        Settlement::Dead { reason: DeadReason::GivenUp, note: String::new() },
    ] {
        let leased = lease_one(store).await;
        let settled = store.settle(&leased, &settlement).await.unwrap();
        assert!(settled);
        if !matches!(settlement, Settlement::Dead { .. }) {
            clock.advance(Duration::from_millis(10));
            let next = lease_one(store).await;
            assert_eq!(next.expired_leases, 0, "after {settlement:?}");
            assert!(store.settle(&next, &Settlement::Postpone { at: at(store, 0) }).await.unwrap());
            clock.advance(Duration::from_millis(10));
        }
    }
    assert!(store.replay(job("a").instance, HERE, &JobId("a".to_owned())).await.unwrap());
    assert_eq!(lease_one(store).await.expired_leases, 0);
}

pub(super) async fn a_hold_can_be_ended(store: &dyn Store, _: &Clock) {
    queue(store, vec![job("a")]).await;
    store.hold(&lane(), at(store, 60)).await.unwrap();
    let held = poll_and_lease(store, HERE, &lane(), 9).await;
    assert_eq!((held.jobs, held.oldest_left), (vec![], None), "what is held is not due");
    queue(store, vec![job("b")]).await;
    assert!(due(store).await.is_empty());
    store.hold(&lane(), store.now()).await.unwrap();
    assert_eq!(due(store).await, [(HERE, lane())]);
    assert_eq!(lease(store).await.len(), 2, "also what was committed meanwhile");
}
