//! Slots that move and masters that die while people log in: a pause, after which everything that was answered is
//! still so, and every code has succeeded once.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use countersign::{
    clock::Clock,
    domain::{
        Partition,
        quota::{Allowance, Quota},
    },
    store::{
        AdmissionControl as _, BucketRequest, CommitOutcome, IdempotencyClaim, Jobs as _, LEASE_DURATION,
        Operations as _, Records as _, StoreError,
        redis::{Durability, RedisStore},
    },
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    cluster_server::{self, RedisCluster},
    daemon::{TestStore, World},
    process::Process,
    wait::{TIMEOUT, until, until_or},
};

/// Tags of partitions 0, 7 and 22.
const TAGS: [&str; 3] = ["{10}", "{s}", "{l}"];

/// What was answered 200, by the link.
type AcceptedLogins = HashMap<String, AcceptedLogin>;

struct AcceptedLogin {
    /// Who sent its code.
    number: String,
    at: Instant,
    /// How long it took, including refused attempts.
    took: Duration,
}

/// Logins until they are stopped, with gateways that redeliver.
struct Users {
    going: Arc<AtomicBool>,
    people: JoinSet<AcceptedLogins>,
}

impl Users {
    fn start(process: &Arc<Process>) -> Self {
        let going = Arc::new(AtomicBool::new(true));
        let mut people = JoinSet::new();
        for worker in 0..8u64 {
            let (going, process) = (Arc::clone(&going), Arc::clone(process));
            people.spawn(async move {
                let mut accepted = HashMap::new();
                let mut begun = Instant::now();
                for index in 0.. {
                    if !going.load(Ordering::Relaxed) {
                        break;
                    }
                    let Some(minted) = process.mint(json!({})).await else { continue };
                    let (number, text) = (format!("4477{:08}", worker * 100_000 + index), minted.text_of("text"));
                    // Delivered twice, and sent by a stranger as well.
                    send_until_accepted(&process, &number, &format!("W{worker}-{index}"), &text).await;
                    let (at, took) = (Instant::now(), begun.elapsed());
                    send_until_accepted(&process, &number, &format!("W{worker}-{index}"), &text).await;
                    send_until_accepted(
                        &process,
                        &format!("4478{:08}", worker * 100_000 + index),
                        &format!("X{worker}-{index}"),
                        &text,
                    )
                    .await;
                    accepted.insert(minted.text_of("uuid"), AcceptedLogin { number, at, took });
                    begun = Instant::now();
                }
                accepted
            });
        }
        Self { going, people }
    }

    async fn finish(mut self) -> AcceptedLogins {
        self.going.store(false, Ordering::Relaxed);
        let mut accepted = HashMap::new();
        while let Some(part) = self.people.join_next().await {
            accepted.extend(part.unwrap());
        }
        accepted
    }
}

async fn send_until_accepted(process: &Process, number: &str, id: &str, text: &str) {
    // Not `until`: the compiler does not see that a task may hold it.
    let deadline = Instant::now() + TIMEOUT;
    while !process.send_message(number, id, text).await {
        assert!(Instant::now() < deadline, "never: the message is taken: {}", process.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every accepted link has a callback, with one id, for the first sender.
async fn assert_one_callback_each(world: &World, accepted: &AcceptedLogins) {
    let callbacks = || {
        let mut callbacks: HashMap<String, HashSet<(String, String)>> = HashMap::new();
        for one in world.receiver.requests() {
            let body = one.json();
            assert_eq!(body["type"], "link.verified", "{body}");
            let (uuid, by) = (body["data"]["uuid"].as_str().unwrap(), body["data"]["subject"]["value"].to_string());
            callbacks.entry(uuid.to_owned()).or_default().insert((one.header("webhook-id").to_owned(), by));
        }
        callbacks
    };
    until_or(
        || format!("of {} only {} have a callback", accepted.len(), callbacks().len()),
        async || {
            let callbacks = callbacks();
            accepted.keys().all(|uuid| callbacks.contains_key(uuid))
        },
    )
    .await;
    let callbacks = callbacks();
    for (uuid, AcceptedLogin { number, .. }) in accepted {
        let events: Vec<_> = callbacks[uuid].iter().collect();
        assert!(matches!(&events[..], [(_, by)] if by.contains(number.as_str())), "{uuid} of {number}: {events:?}");
    }
}

/// To be called once none is known to be lost or double.
#[expect(clippy::print_stdout, reason = "the figures of the test")]
fn report(what: &str, world: &World, accepted: &AcceptedLogins) {
    let (pause, late) = longest_delays(world, accepted);
    println!(
        "{what}: {} logins, 0 lost, 0 double, the longest took {pause:?}, the last callback {late:?}",
        accepted.len()
    );
}

/// The longest that a login took, and the longest that the app waited for its callback.
fn longest_delays(world: &World, accepted: &AcceptedLogins) -> (Duration, Duration) {
    let mut first = HashMap::new();
    for one in world.receiver.requests() {
        first.entry(one.json()["data"]["uuid"].as_str().unwrap().to_owned()).or_insert(one.at);
    }
    let waits = accepted.iter().map(|(uuid, login)| first[uuid].saturating_duration_since(login.at));
    (accepted.values().map(|login| login.took).max().unwrap_or_default(), waits.max().unwrap_or_default())
}

async fn wait_for_logins(world: &World, more: usize) {
    let before = world.receiver.requests().len();
    until("people go on logging in", async || world.receiver.requests().len() >= before + more).await;
}

async fn serve(cluster: &RedisCluster, durability: &str) -> (World, Arc<Process>) {
    let mut world = World::new(TestStore::directory());
    world.store = Some(format!("url = \"{}\"\ndurability = \"{durability}\"", cluster.url()));
    let process = Arc::new(Process::start(&world).await);
    (world, process)
}

fn end(process: Arc<Process>) -> String {
    let (status, _, written) = Arc::into_inner(process).unwrap().terminate();
    assert_eq!(status, Some(0), "{written}");
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_move_during_logins() {
    let cluster = cluster_server::start();
    let (world, process) = serve(&cluster, "standard").await;
    let crowd = Users::start(&process);
    wait_for_logins(&world, 20).await;
    let mut moved = 0;
    for tag in TAGS {
        let slot = cluster.slot_of(tag);
        let from = cluster.owner(0, slot);
        let to = (from + 1) % 3;
        cluster.begin_move(slot, from, to);
        // Long enough for many to find the slot half moved.
        wait_for_logins(&world, 20).await;
        until("a command needs the slot", async || cluster.errors("TRYAGAIN") > 0).await;
        moved += cluster.end_move(slot, from, to);
        wait_for_logins(&world, 10).await;
    }
    let accepted = crowd.finish().await;
    assert_one_callback_each(&world, &accepted).await;
    report("moving slots", &world, &accepted);
    assert!(accepted.len() > 50 && moved > 3, "{} logins, {moved} keys", accepted.len());
    let met = ["MOVED", "ASK", "TRYAGAIN"].map(|code| cluster.errors(code));
    assert!(met.iter().all(|count| *count > 0), "the test met no {met:?}");
    assert_eq!(cluster.errors("CROSSSLOT"), 0);
    end(process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_master_is_replaced_during_logins() {
    let cluster = cluster_server::start_with_replicas(Duration::from_secs(2));
    let (world, process) = serve(&cluster, "auto").await;
    let crowd = Users::start(&process);
    wait_for_logins(&world, 20).await;
    let slot = cluster.slot_of(TAGS[0]);
    let killed = cluster.owner(1, slot);
    let observer = (killed + 1) % 3;
    let replica = || RedisStore::new(&cluster.url(), Durability::Standard, Clock::default()).unwrap();
    let (here, there) = (replica(), replica());
    crate::store::wait_until_notified(&here, &there, Partition::from_byte(0)).await;
    cluster.nodes[killed].signal("-KILL");
    until("a replica takes over", async || cluster.owner(observer, slot) != killed).await;
    // A client that needs no confirmation is served at once, and is notified of changes again.
    until("the new master is found", async || here.probe().await.is_ok()).await;
    crate::store::wait_until_notified(&here, &there, Partition::from_byte(0)).await;
    // The new master has no replica until the old one comes back; then it is whole.
    cluster.nodes[killed].restart();
    cluster.wait_until_healthy();
    wait_for_logins(&world, 40).await;
    let accepted = crowd.finish().await;
    assert_one_callback_each(&world, &accepted).await;
    report("a killed master", &world, &accepted);
    assert!(accepted.len() > 30, "{}", accepted.len());
    assert_eq!(cluster.errors("CROSSSLOT"), 0);
    let written = end(process);
    assert!(written.contains("a write counts when a replica has it"), "a cluster has replicas: {written}");
}

/// Each master in turn hands over to its replica.
#[tokio::test(flavor = "multi_thread")]
async fn a_planned_fail_over_only_delays_logins() {
    let cluster = cluster_server::start_with_replicas(Duration::from_secs(10));
    let (world, process) = serve(&cluster, "auto").await;
    let crowd = Users::start(&process);
    wait_for_logins(&world, 20).await;
    for (master, slot) in cluster_server::FIRST_SLOTS.into_iter().enumerate() {
        let begun = Instant::now();
        tokio::task::block_in_place(|| cluster.fail_over(slot, master + 3));
        println!("Redis itself took {:?} to hand over master {master}", begun.elapsed());
        wait_for_logins(&world, 20).await;
    }
    let accepted = crowd.finish().await;
    assert_one_callback_each(&world, &accepted).await;
    report("planned fail-over", &world, &accepted);
    let (pause, late) = longest_delays(&world, &accepted);
    assert!(accepted.len() > 50 && cluster.errors("MOVED") > 0, "{}", accepted.len());
    assert!(pause < Duration::from_secs(3), "of {} logins the longest took {pause:?}", accepted.len());
    // A job waits for the end of its lease where the answer to that was lost.
    assert!(late < LEASE_DURATION + Duration::from_secs(10), "of {} callbacks one came after {late:?}", accepted.len());
    assert_eq!(cluster.errors("CROSSSLOT"), 0);
    end(process);
}

#[track_caller]
fn applied(committed: &Result<CommitOutcome, StoreError>) {
    assert!(matches!(committed, Ok(CommitOutcome::Applied { .. })), "{committed:?}");
}

/// While a slot migrates, existing keys are served by the old master and new ones created on the new master, no command
/// is executed on both, and commands that need keys of both wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_migrating_slot_is_served_consistently() {
    let cluster = cluster_server::start();
    let store = RedisStore::new(&cluster.url(), Durability::Standard, Clock::default()).unwrap();
    let slot = cluster.slot_of(TAGS[1]);
    let from = cluster.owner(0, slot);
    let to = (from + 1) % 3;
    let take = async |bucket: &str, partition: u8| {
        let quota = Quota::per(5, Duration::from_secs(50_000));
        let takes = [BucketRequest { partition: Partition::from_byte(partition), bucket: bucket.to_owned(), quota }];
        match store.admit(&takes, None).await.unwrap().allowances[..] {
            [Allowance::Allowed { remaining }] => Some(remaining),
            _ => None,
        }
    };
    assert_eq!(take("old", 7).await, Some(4));
    cluster.begin_move(slot, from, to);
    assert_eq!(take("old", 7).await, Some(3), "still at the old master");
    assert_eq!(take("new", 7).await, Some(4), "at the new master");
    assert_eq!(take("new", 7).await, Some(3));
    assert!(cluster.errors("ASK") >= 2, "no node was asked");
    // Several partitions in one pipeline, two of them with keys of the moving slot: one here, one there.
    let quota = || Quota::per(5, Duration::from_secs(50_000));
    let takes: Vec<BucketRequest> = [("x", 0), ("old", 7), ("x", 22), ("x", 9)]
        .map(|(bucket, partition)| BucketRequest {
            partition: Partition::from_byte(partition),
            bucket: bucket.to_owned(),
            quota: quota(),
        })
        .into();
    let key = IdempotencyClaim {
        partition: Partition::from_byte(7),
        key: crate::store::digest().into(),
        fingerprint: crate::store::digest().into(),
        content: vec![7; 37],
        replaces: None,
    };
    let admitted = store.admit(&takes, Some(&key)).await.unwrap();
    let left = admitted.allowances.iter().map(|allowance| match allowance {
        Allowance::Allowed { remaining } => *remaining,
        Allowance::Exhausted { .. } => 99,
    });
    assert_eq!(left.collect::<Vec<_>>(), [4, 2, 4, 4], "each once, in their order");
    assert_eq!(admitted.idempotency_record.unwrap().content, key.content);

    // Work of the other partitions is found meanwhile, without a wait.
    applied(&store.commit(&crate::store::one_job(Partition::from_byte(9))).await);
    let begun = Instant::now();
    let due = store.due().await.unwrap();
    assert!(matches!(&due[..], [due] if due.partition == Partition::from_byte(9)), "{due:?}");
    assert!(begun.elapsed() < Duration::from_millis(1_500), "it waited for the slot");
    let (refused, whole) = (cluster.errors("TRYAGAIN"), AtomicBool::new(false));

    // A change needs keys that are nowhere yet, and waits until the slot has moved.
    let waits = async {
        let committed = store.commit(&crate::store::one_message()).await;
        applied(&committed);
        assert!(whole.load(Ordering::Relaxed), "it did not wait");
    };
    let moves = async {
        until("it has to wait", async || cluster.errors("TRYAGAIN") > refused).await;
        whole.store(true, Ordering::Relaxed);
        assert!(cluster.end_move(slot, from, to) >= 1);
    };
    tokio::join!(waits, moves);
    assert_eq!([take("old", 7).await, take("new", 7).await], [Some(1), Some(2)], "all of it moved, once");
    assert_eq!(store.admit(&[], Some(&key)).await.unwrap().idempotency_record.unwrap().content, key.content);
    assert_eq!(cluster.errors("CROSSSLOT"), 0);
}

/// Wakes between replicas go by the master of the slot, wherever that is.
#[tokio::test(flavor = "multi_thread")]
async fn change_notifications_follow_their_slot() {
    let cluster = cluster_server::start();
    let replica = || RedisStore::new(&cluster.url(), Durability::Standard, Clock::default()).unwrap();
    let (here, there) = (replica(), replica());
    crate::store::wait_until_notified(&here, &there, Partition::from_byte(7)).await;
    let slot = cluster.slot_of(TAGS[1]);
    let from = cluster.owner(0, slot);
    cluster.begin_move(slot, from, (from + 1) % 3);
    cluster.end_move(slot, from, (from + 1) % 3);
    // At the new master, and unmoved ones at the old one.
    crate::store::wait_until_notified(&here, &there, Partition::from_byte(7)).await;
    for partition in Partition::all() {
        crate::store::wait_until_notified(&here, &there, partition).await;
    }
    assert_eq!(cluster.errors("CROSSSLOT"), 0);
}

/// A write goes with the `WAIT` behind it, to the master of its slot, also after the slot moved.
#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_write_follows_its_slot() {
    let cluster = cluster_server::start_with_replicas(Duration::from_secs(10));
    let store = RedisStore::new(&cluster.url(), Durability::Durable, Clock::default()).unwrap();
    let confirmed = async || {
        until("it is confirmed", async || match store.commit(&crate::store::one_message()).await {
            Err(StoreError::Unavailable(_)) => false,
            committed => {
                applied(&committed);
                true
            }
        })
        .await;
    };
    confirmed().await;
    // The partition of the message.
    let slot = cluster.slot_of(TAGS[1]);
    let from = cluster.owner(0, slot);
    let to = (from + 1) % 3;
    cluster.begin_move(slot, from, to);
    cluster.end_move(slot, from, to);
    confirmed().await;
    assert!(cluster.errors("MOVED") > 0);
    // No replica confirms what only the master has.
    let replica = to + 3;
    cluster.nodes[replica].signal("-STOP");
    let unconfirmed = store.commit(&crate::store::one_message()).await.unwrap_err().to_string();
    assert!(unconfirmed.contains("no replica has it"), "{unconfirmed}");
    cluster.nodes[replica].signal("-CONT");
    confirmed().await;
}

/// A claim lies where its key says, and not where the record does that is made under it.
#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_claim_is_confirmed_by_its_own_master() {
    let cluster = cluster_server::start_with_replicas(Duration::from_secs(10));
    let store = RedisStore::new(&cluster.url(), Durability::Durable, Clock::default()).unwrap();
    let key = || IdempotencyClaim {
        partition: Partition::from_byte(7),
        key: crate::store::digest().into(),
        fingerprint: crate::store::digest().into(),
        content: vec![7; 37],
        replaces: None,
    };
    let early = key();
    until("it is confirmed", async || store.admit(&[], Some(&early)).await.is_ok()).await;
    let replica = cluster.owner(0, cluster.slot_of(TAGS[1])) + 3;
    cluster.nodes[replica].signal("-STOP");
    let late = key();
    for again in [false, true] {
        let claimed = store.admit(&[], Some(&late)).await;
        assert!(matches!(&claimed, Err(StoreError::Unavailable(_))), "again: {again}, {claimed:?}");
    }
    cluster.nodes[replica].signal("-CONT");
    until("it is confirmed", async || store.admit(&[], Some(&late)).await.is_ok()).await;
    let other = IdempotencyClaim { content: vec![8; 37], ..late.clone() };
    assert_eq!(store.admit(&[], Some(&other)).await.unwrap().idempotency_record.unwrap().content, late.content);
}
