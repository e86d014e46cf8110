//! Processes that share one Redis, and what happens to one of them, to its clock or to Redis meanwhile.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use countersign::clock::Clock;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

use crate::{
    daemon::{Daemon, TestStore, World},
    process::{Process, callbacks_by_link},
    redis_server::{self, RedisServer, free_port},
    wait::{until, within_timeout},
};

const CALLBACKS: &str = "countersign_queue_depth{kind=\"callback\"}";

/// What was answered 200: the link and who sent it.
type Senders = Arc<Mutex<HashMap<String, String>>>;

/// People log in through one process until `stop`.
async fn logins(process: &Process, name: &str, accepted: &Senders, stop: &CancellationToken) {
    for index in 0.. {
        if stop.is_cancelled() {
            return;
        }
        let Some(minted) = process.mint(json!({})).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let number = format!("4477{name}{index:06}");
        if process.send_message(&number, &format!("R{name}-{index}"), &minted.text_of("text")).await {
            accepted.lock().unwrap().insert(minted.text_of("uuid"), number);
        }
    }
}

/// Takes an attempt, and leaves it without an answer.
async fn accept_without_answer(receiver: &TcpListener) -> std::net::TcpStream {
    let (mut stream, _) = within_timeout("an attempt begins", receiver.accept()).await.unwrap();
    assert!(stream.read(&mut vec![0; 16 << 10]).await.unwrap() > 0);
    stream.into_std().unwrap()
}

/// Whether the other side still waits for an answer.
fn is_open(attempt: &std::net::TcpStream) -> bool {
    !matches!(attempt.peek(&mut [0]), Ok(0))
}

/// Answers every further attempt, and notes its path.
async fn answer_all(receiver: TcpListener, answered: Arc<Mutex<Vec<String>>>) {
    while let Ok((mut stream, _)) = receiver.accept().await {
        let mut request = vec![0; 16 << 10];
        let read = stream.read(&mut request).await.unwrap_or_default();
        let head = String::from_utf8_lossy(&request[..read]).into_owned();
        answered.lock().unwrap().extend(head.split(' ').nth(1).map(str::to_owned));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    }
}

/// Of three processes one is killed and one frozen, with jobs on their way. The remaining one takes them over when
/// their leases end, and what the frozen one still does when it wakes up changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_and_a_frozen_replica_lose_nothing() {
    let world = World::new(TestStore::redis());
    world.receiver.delay(Duration::from_millis(400));
    let (killed, frozen, left) =
        (Process::start(&world).await, Process::start(&world).await, Process::start(&world).await);
    let (accepted, stop) = (Senders::default(), CancellationToken::new());
    let through = |name: &str| {
        let accepted = accepted.lock().unwrap();
        accepted.values().filter(|number| number.starts_with(&format!("4477{name}"))).count()
    };
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", receiver.local_addr().unwrap());
    let faults = async {
        until("people log in everywhere", async || ["01", "02", "03"].iter().all(|name| through(name) > 5)).await;
        // The one that freezes is in the middle of an attempt, whose lease it will have lost when it wakes up. Most
        // often the process that takes a message begins, and now and then another one finds it first.
        let mut others = Vec::new();
        let attempt = loop {
            let callback = json!({ "success": format!("{url}/{}", others.len()) });
            let minted = frozen.mint(json!({ "callback": callback })).await;
            let text = minted.unwrap().text_of("text");
            let (number, id) = (format!("4477009004{:02}", others.len()), format!("FROZEN{}", others.len()));
            assert!(frozen.send_message(&number, &id, &text).await);
            let attempt = accept_without_answer(&receiver).await;
            if frozen.connects_from(attempt.peer_addr().unwrap().port()) {
                break attempt;
            }
            others.push(attempt);
        };
        let path = format!("/{}", others.len());
        drop(others);
        killed.signal("-KILL");
        frozen.signal("-STOP");
        assert!(is_open(&attempt), "the attempt was over before it froze");
        let before = through("03");
        until("people go on logging in at the third", async || through("03") > before + 5).await;
        stop.cancel();
        (attempt, path)
    };
    // Its callers hang with it.
    let at_the_frozen = stop.run_until_cancelled(logins(&frozen, "02", &accepted, &stop));
    let ((attempt, path), ..) = tokio::join!(
        faults,
        at_the_frozen,
        logins(&killed, "01", &accepted, &stop),
        logins(&left, "03", &accepted, &stop)
    );
    let answered = Arc::default();
    let answering = tokio::spawn(answer_all(receiver, Arc::clone(&answered)));
    let accepted = accepted.lock().unwrap().clone();
    let done = async || {
        let callbacks = callbacks_by_link(&world);
        let replies = world.gateway.requests();
        let chats: HashSet<String> = replies.iter().map(|reply| reply.json()["chatId"].to_string()).collect();
        accepted
            .iter()
            .all(|(uuid, number)| callbacks.contains_key(uuid) && chats.contains(&format!("\"{number}@c.us\"")))
    };
    until("the third takes over what the others held", done).await;
    until("the third repeats the attempt whose lease has run out", async || answered.lock().unwrap().contains(&path))
        .await;
    left.until_metric(CALLBACKS, |depth| depth < 0.5).await;
    let (callbacks, verified) = (world.receiver.requests().len(), callbacks_by_link(&world).len());
    frozen.signal("-CONT");
    frozen.wait_until_ready().await;
    // It serves again, and what it held when it froze is settled.
    let minted = frozen.mint(json!({})).await.unwrap();
    assert!(frozen.send_message("447700900555", "THAWED", &minted.text_of("text")).await);
    until("it serves again", async || callbacks_by_link(&world).contains_key(&minted.text_of("uuid"))).await;
    let by_link = callbacks_by_link(&world);
    assert!(by_link.values().all(|copies| copies.len() == 1), "a copy has the same id and the same body");
    let copies = world.receiver.requests().len() - callbacks - (by_link.len() - verified);
    assert!(copies <= 32, "{copies} were sent again by the resumed process");
    for process in [&frozen, &left] {
        process.until_metric(CALLBACKS, |depth| depth < 0.5).await;
    }
    frozen.until_metric("countersign_leases_lost_total{kind=\"callback\"}", |lost| lost > 0.5).await;
    drop(attempt);
    answering.abort();
    frozen.terminate();
    left.terminate();
}

/// A Redis that stands still for 300 ms of every second is slow, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn pauses_of_redis_only_delay_requests() {
    let server = Arc::new(redis_server::start());
    let world = World::new(TestStore::Redis(Arc::clone(&server)));
    let process = Process::start(&world).await;
    let done = Arc::new(AtomicBool::new(false));
    // On a thread of its own, whose sleep is not prolonged by what else the test does.
    let stutter = std::thread::spawn({
        let (server, done) = (Arc::downgrade(&server), Arc::clone(&done));
        move || {
            while let (false, Some(server)) = (done.load(Ordering::Relaxed), server.upgrade()) {
                server.signal("-STOP");
                std::thread::sleep(Duration::from_millis(300));
                server.signal("-CONT");
                drop(server);
                std::thread::sleep(Duration::from_millis(700));
            }
        }
    });
    let (process, world) = (&process, &world);
    let person = async |person: u32| {
        for round in 0..6 {
            let minted = process.mint(json!({})).await.expect("a slow store must not cause refusals");
            let number = format!("44770090{person:02}{round:02}");
            assert!(process.send_message(&number, &format!("S{person}-{round}"), &minted.text_of("text")).await);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    futures_util::future::join_all((0..20).map(person)).await;
    done.store(true, Ordering::Relaxed);
    until("every login has a callback", async || callbacks_by_link(world).len() == 120).await;
    stutter.join().unwrap();
    assert_eq!(world.receiver.requests().len(), 120, "each once");
}

/// The network is cut between Redis and its replica, and the replica is promoted: both halves take messages. The
/// old one confirms nothing, so that only one of them answers.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_split_only_one_side_accepts_logins() {
    let old = Arc::new(redis_server::start());
    let new = redis_server::start_replica_of(&old);
    let durable = |server: &RedisServer| Some(format!("url = \"{}\"\ndurability = \"durable\"", server.url()));
    let mut world = World::new(TestStore::Redis(Arc::clone(&old)));
    world.store = durable(&old);
    let before = world.start().await;
    let mut links = Vec::new();
    while links.len() < 2 {
        // It confirms when the replica has caught up.
        let minted = before.mint(json!({})).await;
        if minted.status == 200 {
            links.push((minted.text_of("uuid"), minted.text_of("text")));
        }
    }
    let replica_of = |server: &RedisServer, host: &str, port: &str| {
        let _: () = redis::cmd("REPLICAOF").arg(host).arg(port).query(&mut server.connection()).unwrap();
    };
    replica_of(&new, "NO", "ONE");
    let _another = redis_server::start_replica_of(&new);
    world.store = durable(&new);
    let after = world.start().await;
    let status_of_message =
        async |daemon: &Daemon, number: &str, id: &str, text: &str| daemon.send_message(number, id, text).await.status;
    for (index, (_, text)) in links.iter().enumerate() {
        let status = status_of_message(&before, &format!("44770090010{index}"), &format!("H{index}"), text).await;
        assert_eq!(status, 503, "only the old half has it");
    }
    before.worker.poll().await.ok();
    assert_eq!((world.receiver.requests().len(), world.gateway.requests().len()), (0, 0), "and nothing is sent");
    // The first message comes again, now to the new half; the second code is sent by another person.
    for (number, id, (_, text)) in [("447700900100", "H0", &links[0]), ("447700900199", "H9", &links[1])] {
        until("the new half takes it", async || status_of_message(&after, number, id, text).await == 200).await;
    }
    until("both have a callback", async || callbacks_by_link(&world).len() == 2).await;
    replica_of(&old, "127.0.0.1", &new.port.to_string());
    assert_eq!(status_of_message(&before, "447700900101", "H1", &links[1].1).await, 503);
    before.worker.poll().await.ok();
    after.settle().await;
    assert_eq!((world.receiver.requests().len(), world.gateway.requests().len()), (2, 2), "each once");
    before.stop().await;
    after.stop().await;
}

/// Redis' own time.
fn store_seconds(server: &RedisServer) -> i64 {
    let (seconds, _): (i64, i64) = redis::cmd("TIME").query(&mut server.connection()).unwrap();
    seconds
}

/// Three hosts with wrong clocks: only the store's says when a link ends and when a callback was sent.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs libfaketime: ./tests/run --long"]
async fn only_the_stores_clock_determines_times() {
    const LIFE: i64 = 20;
    let faketime = std::env::var_os("COUNTERSIGN_FAKETIME").expect("the path of libfaketime.so.1");
    let faketime = faketime.to_str().unwrap();
    let server = Arc::new(redis_server::start());
    let mut world = World::new(TestStore::Redis(Arc::clone(&server)));
    world.instance_lines = "expires_min = 10".to_owned();
    let mut processes = Vec::new();
    for shift in ["+5m", "-5m", "-30d"] {
        let (port, operator) = (free_port(), free_port());
        let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
        let environment = [("LD_PRELOAD", faketime), ("FAKETIME", shift), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        processes.push(Process::with(port, operator, &text, &environment).await);
    }
    let month = -2_592_000.0;
    processes[2].until_metric("countersign_clock_offset_seconds", |offset| (offset - month).abs() < 60.0).await;
    let (start, mut early, mut late) = (store_seconds(&server), Vec::new(), Vec::new());
    for process in &processes {
        for links in [&mut early, &mut late] {
            let minted = process.mint(json!({"expires": LIFE})).await.unwrap();
            let ends: jiff::Timestamp = minted.text_of("expires_at").parse().unwrap();
            assert!((start + LIFE..=start + LIFE + 30).contains(&ends.as_second()), "{ends} of {start}");
            links.push((minted.text_of("uuid"), minted.text_of("text")));
        }
    }
    for (index, (_, text)) in early.iter().enumerate() {
        let other = &processes[(index + 1) % 3];
        assert!(other.send_message(&format!("44770090010{index}"), &format!("E{index}"), text).await);
    }
    until("all that came in time are verified", async || callbacks_by_link(&world).len() == 3).await;
    let ended = || {
        let callbacks = world.receiver.requests();
        callbacks.iter().filter(|callback| callback.json()["type"] == "link.expired").count()
    };
    assert_eq!(ended(), 0, "nothing ends early");
    until("the others end", async || ended() == 3).await;
    assert!(store_seconds(&server) >= start + LIFE);
    for (index, (_, text)) in late.iter().enumerate() {
        for (place, process) in processes.iter().enumerate() {
            assert!(
                process.send_message(&format!("4477009002{index}{place}"), &format!("L{index}-{place}"), text).await
            );
        }
    }
    until("nine get the reply that it is over", async || world.gateway.requests().len() == 12).await;
    assert_eq!(callbacks_by_link(&world).len(), 3, "nothing ends late");
    // A receiver with a correct clock accepts five minutes at most.
    let now = Clock::default().wall().as_second();
    for callback in world.receiver.requests() {
        let sent: i64 = callback.header("webhook-timestamp").parse().unwrap();
        assert!((start - 5..=now + 5).contains(&sent), "{sent}, {start} to {now}");
    }
    for process in processes {
        process.terminate();
    }
}
