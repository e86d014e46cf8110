//! Empty stores, and helpers that build changes.

use std::{any::Any, time::Duration};

use countersign::{
    clock::Clock,
    domain::{InstanceId, KeyRing, LookUp, Partition, VerificationId, keys::Digest},
    random,
    store::{
        Change, CommitOutcome, Index, Job, JobId, Lane, LeaseGrant, LeaseRequest, LeasedJob, Operations as _,
        RecordChange, RecordId, Store, StoredRecord,
        embedded::EmbeddedStore,
        redis::{Durability, RedisStore},
    },
};
use jiff::Timestamp;

pub(super) struct Fixture {
    store: Box<dyn Store>,
    /// The directory or server of the store.
    _ground: Box<dyn Any>,
}

impl Fixture {
    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }
}

pub(super) async fn in_a_directory(clock: &Clock) -> Option<Fixture> {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), clock.clone()).unwrap();
    Some(Fixture { store: Box::new(store), _ground: Box::new(directory) })
}

pub(super) async fn in_redis(clock: &Clock) -> Option<Fixture> {
    let server = crate::redis_server::start();
    let store = RedisStore::new(&server.url(), Durability::Standard, clock.clone()).unwrap();
    store.probe().await.unwrap();
    wait_until_subscribed(&store).await;
    Some(Fixture { store: Box::new(store), _ground: Box::new(server) })
}

/// What an earlier case left there is gone.
pub(super) async fn in_a_cluster(cluster: &crate::cluster_server::RedisCluster, clock: &Clock) -> RedisStore {
    cluster.flush();
    let store = RedisStore::new(&cluster.url(), Durability::Standard, clock.clone()).unwrap();
    store.probe().await.unwrap();
    wait_until_subscribed(&store).await;
    store
}

/// Waits until the store is subscribed to the changes of other replicas: it then notifies once, for those it may have
/// missed.
pub(super) async fn wait_until_subscribed(store: &dyn Store) {
    let mut watch = store.changes().watch(id()).unwrap();
    assert!(crate::wait::within_timeout("it listens", watch.changed()).await);
}

pub(super) fn digest() -> Digest {
    let ring = KeyRing::new(&[[1; 32]]).unwrap();
    ring.permanent_digest("test", InstanceId::from_random([1; 16]), &random::bytes::<16>())
}

/// What two replicas that run beside one another find one value by, made of its old digest and its new one.
pub(super) const PAIRS: [fn(Digest, Digest) -> [LookUp; 2]; 6] = [
    |old, _| [old.into(), old.into()],
    |old, new| [old.into(), LookUp::new(new, Some(old))],
    |old, new| [LookUp::new(new, Some(old)), old.into()],
    |old, new| [LookUp::new(new, Some(old)), LookUp::new(new, Some(old))],
    |old, new| [LookUp::new(new, Some(old)), new.into()],
    |old, new| [new.into(), LookUp::new(new, Some(old))],
];

/// What an idempotency key may stand for.
pub(super) fn claim() -> Vec<u8> {
    random::bytes::<37>().to_vec()
}

pub(super) fn instance() -> InstanceId {
    InstanceId::from_random(random::bytes())
}

pub(super) fn id() -> RecordId {
    VerificationId::new(1_795_168_830_123, random::bytes()).into()
}

/// So many seconds from now, less what a process may be ahead of its store.
pub(super) fn at(store: &dyn Store, seconds: u64) -> Timestamp {
    store.now() + Duration::from_secs(seconds) - Duration::from_millis(200)
}

/// Without its version, which is a time.
pub(super) fn stored(id: RecordId, bytes: &[u8]) -> StoredRecord {
    StoredRecord { id, version: 0, bytes: bytes.to_vec() }
}

/// As [`stored`] has it.
pub(super) fn unversioned(found: impl IntoIterator<Item = StoredRecord>) -> Vec<StoredRecord> {
    found.into_iter().map(|stored| StoredRecord { version: 0, ..stored }).collect()
}

/// As [`stored`] has it.
pub(super) async fn loaded(store: &dyn Store, key: RecordId) -> Option<StoredRecord> {
    unversioned(store.load(key).await.unwrap()).pop()
}

/// 0 for a record that is not there.
pub(super) async fn version(store: &dyn Store, key: RecordId) -> u64 {
    store.load(key).await.unwrap().map_or(0, |stored| stored.version)
}

/// A change of nothing, to be filled in.
pub(super) fn empty_change(partition: Partition) -> Change {
    Change::new(partition).starting()
}

/// Writes `bytes` over version `expected`.
pub(super) fn write(store: &dyn Store, id: RecordId, expected: u64, bytes: &[u8]) -> Change {
    let now = store.now();
    let record = RecordChange::new(id, expected, bytes.to_vec(), now + Duration::from_hours(1));
    Change::of(RecordChange { created_at: now, ..record }).starting()
}

/// Looks at version `expected` and writes no record.
pub(super) fn compare(store: &dyn Store, id: RecordId, expected: u64) -> Change {
    let mut change = write(store, id, expected, b"");
    record(&mut change).bytes = None;
    change
}

pub(super) fn record(change: &mut Change) -> &mut RecordChange {
    &mut change.records[0]
}

pub(super) fn list(change: &mut Change, index: &Index) {
    record(change).indexes.push(index.clone());
}

pub(super) fn job(id: &str) -> Job {
    Job {
        id: JobId(id.to_owned()),
        instance: InstanceId::from_random([1; 16]),
        lane: lane(),
        due: None,
        body: id.as_bytes().to_vec(),
        lease: false,
    }
}

pub(super) fn lane() -> Lane {
    Lane("there".to_owned())
}

/// Writes a record with a timer that is due in so many seconds.
pub(super) async fn set_timer(store: &dyn Store, id: RecordId, expected: u64, seconds: u64) {
    let mut change = write(store, id, expected, b"timed");
    record(&mut change).timer = Some(at(store, seconds));
    applied(store.commit(&change).await.unwrap());
}

/// Leases the timers of a partition that are due.
pub(super) async fn lease_timers(store: &dyn Store, partition: Partition) -> Vec<LeasedJob> {
    lease_of(store, partition, &Lane::timer(), 100).await
}

/// The partition of cases that need only one.
pub(super) const HERE: Partition = Partition::from_byte(7);

pub(super) async fn queue(store: &dyn Store, jobs: Vec<Job>) -> Vec<bool> {
    let change = Change { jobs, ..empty_change(HERE) };
    applied(store.commit(&change).await.unwrap())
}

/// Leases whatever is due there.
pub(super) async fn lease(store: &dyn Store) -> Vec<LeasedJob> {
    lease_of(store, HERE, &lane(), 100).await
}

pub(super) async fn lease_of(store: &dyn Store, partition: Partition, lane: &Lane, limit: usize) -> Vec<LeasedJob> {
    poll_and_lease(store, partition, lane, limit).await.jobs
}

/// Lists due lanes and leases, as a worker does.
pub(super) async fn poll_and_lease(store: &dyn Store, partition: Partition, lane: &Lane, limit: usize) -> LeaseGrant {
    store.due().await.unwrap();
    let request = LeaseRequest { partition, lane: lane.clone(), limit, busy_groups: [].into() };
    store.lease(&[request]).await.unwrap().remove(0)
}

/// Partitions and lanes with due work.
pub(super) async fn due(store: &dyn Store) -> Vec<(Partition, Lane)> {
    store.due().await.unwrap().into_iter().map(|due| (due.partition, due.lane)).collect()
}

pub(super) async fn lease_one(store: &dyn Store) -> LeasedJob {
    let mut leased = lease(store).await;
    assert_eq!(leased.len(), 1, "{leased:?}");
    leased.remove(0)
}

pub(super) fn applied(committed: CommitOutcome) -> Vec<bool> {
    match committed {
        CommitOutcome::Applied { leased } => leased,
        refused => panic!("{refused:?}"),
    }
}

pub(super) async fn create(store: &dyn Store, id: RecordId, bytes: &[u8]) {
    applied(store.commit(&write(store, id, 0, bytes)).await.unwrap());
}
