//! Listing and removing archived jobs.

use std::{slice::from_ref, time::Duration};

use countersign::{
    clock::Clock,
    domain::{Partition, keys::Digest},
    store::{
        Change, CommitOutcome, DeadReason, Index, Job, JobId, JobInfo, JobState, LEASE_DURATION, Lane, Settlement,
        Store,
        archive::{
            DELIVERED_RETENTION, LOG_RETENTION, LogEntry, LogStream, MAX_DELIVERED_JOBS, MAX_LOG_ENTRIES, Removal,
        },
    },
};

use super::fixture::{
    HERE, applied, at, create, digest, empty_change, id, instance, job, lane, lease, lease_of, list, queue, write,
};

fn callback(id: &str) -> Job {
    Job { lane: callback_lane(), ..job(id) }
}

fn callback_lane() -> Lane {
    Lane::callbacks(job("").instance, Digest::from_hex("0123456789abcdef0123456789abcdef").unwrap())
}

async fn lease_callback(store: &dyn Store) -> countersign::store::LeasedJob {
    lease_of(store, HERE, &callback_lane(), 1).await.remove(0)
}

async fn deliver(store: &dyn Store, id: &str) {
    queue(store, vec![callback(id)]).await;
    let leased = lease_callback(store).await;
    assert!(store.settle(&leased, &Settlement::Delivered).await.unwrap());
}

fn ids(jobs: &[JobInfo]) -> Vec<&str> {
    jobs.iter().map(|job| job.id.0.as_str()).collect()
}

async fn jobs(store: &dyn Store, state: JobState) -> Vec<JobInfo> {
    store.jobs(job("").instance, state, 10_000).await.unwrap()
}

pub(super) async fn a_delivered_callback_is_kept_for_its_retention_and_can_be_replayed(
    store: &dyn Store,
    clock: &Clock,
) {
    let before = at(store, 0);
    deliver(store, "a").await;
    assert!(jobs(store, JobState::Waiting).await.is_empty() && jobs(store, JobState::Dead).await.is_empty());
    let kept = jobs(store, JobState::Delivered).await;
    assert_eq!((kept[0].partition, kept[0].attempts, kept[0].body.as_slice()), (HERE, 1, b"a".as_slice()));
    assert!(kept[0].since >= before && kept[0].at >= kept[0].since && kept[0].at <= store.now());
    assert_eq!(store.job(job("").instance, HERE, &kept[0].id).await.unwrap().as_ref(), Some(&kept[0]));

    assert_eq!(queue(store, vec![callback("a")]).await, [false], "its id stays taken");
    assert!(lease_of(store, HERE, &callback_lane(), 1).await.is_empty());
    assert!(!store.replay(instance(), HERE, &kept[0].id).await.unwrap());
    assert!(store.replay(job("").instance, HERE, &kept[0].id).await.unwrap());
    assert!(!store.replay(job("").instance, HERE, &kept[0].id).await.unwrap());
    let again = lease_callback(store).await;
    assert_eq!((again.attempts, again.body.as_slice()), (0, b"a".as_slice()));
    assert!(store.settle(&again, &Settlement::Delivered).await.unwrap());

    clock.advance(DELIVERED_RETENTION + Duration::from_secs(1));
    assert!(jobs(store, JobState::Delivered).await.is_empty());
    assert_eq!(store.job(job("").instance, HERE, &again.id).await.unwrap(), None);
    assert!(!store.replay(job("").instance, HERE, &again.id).await.unwrap());
    store.purge(job("").instance).await.unwrap();
    deliver(store, "b").await;
    assert_eq!(ids(&jobs(store, JobState::Delivered).await), ["b"]);
}

pub(super) async fn the_number_of_kept_delivered_callbacks_is_bounded(store: &dyn Store, _: &Clock) {
    // The embedded store bounds them over all partitions, and only now and then.
    let bound = MAX_DELIVERED_JOBS * 32;
    let mut delivered = 0;
    while delivered < bound * 3 {
        let batch: Vec<Job> = (0..256).map(|n| callback(&format!("{}", delivered + n))).collect();
        queue(store, batch).await;
        // A few at a time: on a busy machine the leases of all would expire before the last is settled.
        for _ in 0..16 {
            for leased in lease_of(store, HERE, &callback_lane(), 16).await {
                assert!(store.settle(&leased, &Settlement::Delivered).await.unwrap());
            }
        }
        delivered += 256;
    }
    let kept = jobs(store, JobState::Delivered).await;
    assert!(kept.len() < bound * 2, "{}", kept.len());
    assert!(kept.iter().any(|job| job.id.0 == format!("{}", delivered - 1)), "the newest is among them");
    assert!(kept.iter().all(|job| job.id.0 != "0"), "the oldest is not");
}

pub(super) async fn waiting_callbacks_are_listed_without_a_lease(store: &dyn Store, clock: &Clock) {
    let late = Job { due: Some(store.now() + Duration::from_secs(600)), ..callback("late") };
    let reply = Job { lane: Lane::replies(job("").instance), ..job("reply") };
    let stranger = instance();
    let other = Job { instance: stranger, lane: Lane::callbacks(stranger, digest()), ..job("other") };
    queue(store, vec![late, callback("retried"), reply, other]).await;
    let leased = lease_callback(store).await;
    let why = Settlement::Retry { at: at(store, 60), note: "status 500".to_owned() };
    assert!(store.settle(&leased, &why).await.unwrap());
    let waiting = jobs(store, JobState::Waiting).await;
    assert_eq!(ids(&waiting), ["retried", "late"]);
    assert_eq!((waiting[0].attempts, waiting[0].note.as_str()), (1, "status 500"));
    assert!(waiting[0].at > store.now() + Duration::from_secs(50), "{:?}", waiting[0]);
    assert_eq!(ids(&store.jobs(job("").instance, JobState::Waiting, 1).await.unwrap()), ["retried"]);
    clock.advance(Duration::from_secs(61));
    let leased = lease_callback(store).await;
    assert_eq!(leased.attempts, 1, "looking has spent nothing");
    assert_eq!(jobs(store, JobState::Waiting).await.len(), 2, "also while it is leased");
}

/// Pages of `size` from the first to the last.
async fn walk(store: &dyn Store, state: JobState, size: usize) -> Vec<JobInfo> {
    let mut all: Vec<JobInfo> = Vec::new();
    loop {
        let mark = all.last().map(JobInfo::cursor);
        let page = store.jobs_after(job("").instance, state, mark.as_ref(), size).await.unwrap();
        let full = page.len() == size;
        all.extend(page);
        if !full {
            return all;
        }
    }
}

/// With any page size each job is listed once and in the same order, even if many have the same time.
pub(super) async fn every_job_is_listed_once_in_pages(store: &dyn Store, _: &Clock) {
    const TIMES: u64 = 3;
    let due = store.now() + Duration::from_secs(600);
    for partition in [HERE, Partition::from_byte(8)] {
        let waits = (0..30u64).map(|number| Job {
            due: Some(due + Duration::from_millis(number % TIMES)),
            lane: Lane::callbacks(job("").instance, Digest::from_hex(&format!("{:032x}", number % 4)).unwrap()),
            ..job(&format!("w{:02}", (number * 7) % 30))
        });
        let ends = (0..30).map(|number| callback(&format!("e{number:02}")));
        applied(store.commit(&Change { jobs: waits.chain(ends).collect(), ..empty_change(partition) }).await.unwrap());
        for (place, leased) in lease_of(store, partition, &callback_lane(), 30).await.iter().enumerate() {
            let note = "status 500".to_owned();
            let end = if place % 2 == 0 {
                Settlement::Delivered
            } else {
                Settlement::Dead { reason: DeadReason::GivenUp, note }
            };
            assert!(store.settle(leased, &end).await.unwrap());
        }
    }
    for (state, count) in [(JobState::Waiting, 60), (JobState::Delivered, 30), (JobState::Dead, 30)] {
        let whole = walk(store, state, 1000).await;
        assert_eq!(whole.len(), count, "{state:?}");
        for size in [1, 7, 30] {
            assert_eq!(ids(&walk(store, state, size).await), ids(&whole), "{state:?} by {size}");
        }
    }
}

pub(super) async fn a_job_is_visible_only_to_its_instance(store: &dyn Store, _: &Clock) {
    queue(store, vec![callback("a")]).await;
    let id = JobId("a".to_owned());
    assert!(store.job(job("").instance, HERE, &id).await.unwrap().is_some());
    for (instance, partition, id) in [
        (instance(), HERE, id.clone()),
        (job("").instance, Partition::from_byte(8), id),
        (job("").instance, HERE, JobId("b".to_owned())),
    ] {
        assert_eq!(store.job(instance, partition, &id).await.unwrap(), None);
    }
}

pub(super) async fn log_entries_are_newest_first_bounded_and_kept_for_a_day(store: &dyn Store, clock: &Clock) {
    let journal = LogStream("here".to_owned());
    let note = |n: u16| LogEntry {
        partition: Partition::from_byte(5),
        stream: journal.clone(),
        bytes: n.to_be_bytes().to_vec(),
    };
    for n in 0..3 {
        store.append_log(&[note(n)]).await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    store.append_log(&[LogEntry { stream: LogStream("there".to_owned()), ..note(9) }]).await.unwrap();
    let kept = store.read_log(&journal, 2).await.unwrap();
    assert_eq!(kept.iter().map(|(_, note)| note.bytes[1]).collect::<Vec<_>>(), [2, 1]);
    assert!(kept[0].0 > kept[1].0 && kept[0].0 <= store.now());
    let mut removal = removal();
    (removal.partition, removal.log_entries) = (Partition::from_byte(5), vec![(journal.clone(), note(1).bytes)]);
    store.remove(&removal).await.unwrap();
    assert_eq!(store.read_log(&journal, 9).await.unwrap().len(), 2);

    let together: Vec<LogEntry> = (0..40)
        .map(|n| LogEntry { partition: Partition::from_byte(n), stream: LogStream("these".to_owned()), bytes: vec![n] })
        .collect();
    store.append_log(&together).await.unwrap();
    let kept = store.read_log(&together[0].stream, 40).await.unwrap();
    assert!(kept.iter().map(|(_, note)| note.bytes[0]).eq((0..40).rev()), "those of one batch keep their order");

    let many: Vec<LogEntry> = (0..u16::try_from(MAX_LOG_ENTRIES).unwrap() * 33).map(note).collect();
    for batch in many.chunks(512) {
        store.append_log(batch).await.unwrap();
    }
    assert!(store.read_log(&journal, usize::MAX >> 1).await.unwrap().len() <= MAX_LOG_ENTRIES * 32);
    clock.advance(LOG_RETENTION + Duration::from_secs(1));
    assert!(store.read_log(&journal, 9).await.unwrap().is_empty());
}

fn removal() -> Removal {
    let instance = job("").instance;
    Removal::new(instance, HERE)
}

pub(super) async fn a_removed_record_is_gone_from_every_list(store: &dyn Store, _: &Clock) {
    let (all, some) = (Index("all".to_owned()), Index("some".to_owned()));
    let key = id();
    let mut change = write(store, key, 0, b"1");
    list(&mut change, &all);
    list(&mut change, &some);
    applied(store.commit(&change).await.unwrap());
    let mut removal = removal();
    (removal.partition, removal.record) = (key.partition(), Some((key, vec![all.clone(), some.clone()])));
    for _ in 0..2 {
        store.remove(&removal).await.unwrap();
        assert_eq!(store.load(key).await.unwrap(), None);
        assert!(store.list(from_ref(&all), None, 9).await.unwrap().is_empty());
        assert!(store.list(from_ref(&some), None, 9).await.unwrap().is_empty());
    }
    assert_eq!(store.commit(&write(store, key, 1, b"2")).await.unwrap(), CommitOutcome::Conflict);
    create(store, key, b"1").await;
    assert!(store.load(key).await.unwrap().is_some());
}

pub(super) async fn removed_jobs_are_never_leased(store: &dyn Store, clock: &Clock) {
    queue(store, vec![job("a"), job("b"), callback("c"), callback("d"), callback("dead"), callback("timer")]).await;
    deliver_one(store, &Settlement::Delivered).await;
    deliver_one(store, &Settlement::Dead { reason: DeadReason::GivenUp, note: "410".to_owned() }).await;
    let known: Vec<JobId> = ["a", "c", "d", "dead", "timer"].map(|id| JobId(id.to_owned())).to_vec();
    store.remove(&Removal { jobs: known, ..removal() }).await.unwrap();
    clock.advance(Duration::from_hours(1));
    assert_eq!(lease(store).await.iter().map(|job| job.id.0.as_str()).collect::<Vec<_>>(), ["b"]);
    assert!(lease_of(store, HERE, &callback_lane(), 9).await.is_empty());
    for state in [JobState::Waiting, JobState::Delivered, JobState::Dead] {
        assert!(jobs(store, state).await.is_empty(), "{state:?}");
    }
    assert_eq!(queue(store, vec![callback("c")]).await, [false], "an id that is free again");
    let in_hand = lease_callback(store).await;
    assert_eq!(in_hand.id.0, "c");
    store.remove(&Removal { jobs: vec![in_hand.id.clone()], ..removal() }).await.unwrap();
    assert!(!store.settle(&in_hand, &Settlement::Retry { at: at(store, 0), note: String::new() }).await.unwrap());
    clock.advance(LEASE_DURATION * 2);
    assert!(lease_of(store, HERE, &callback_lane(), 9).await.is_empty(), "leased jobs are removed as well");

    let change = Change { jobs: ["x/1", "x/2", "y/1", "xx/1", "x"].map(job).into(), ..empty_change(HERE) };
    queue(store, vec![Job { lease: true, ..job("x/3") }]).await;
    applied(store.commit(&change).await.unwrap());
    let groups = vec!["x".to_owned(), "unknown".to_owned()];
    store.remove(&Removal { groups, lanes: vec![lane(), callback_lane()], ..removal() }).await.unwrap();
    clock.advance(Duration::from_hours(1));
    let mut left: Vec<String> = lease(store).await.into_iter().map(|job| job.id.0).collect();
    left.sort();
    assert_eq!(left, ["b", "x", "xx/1", "y/1"], "a group goes, and nothing else");
}

async fn deliver_one(store: &dyn Store, settlement: &Settlement) {
    let leased = lease_callback(store).await;
    assert!(store.settle(&leased, settlement).await.unwrap());
}
