//! The graceful shutdown: not ready, no new connections, attempts in flight finish, and the leases of the rest are
//! released for other replicas.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use countersign::{
    clock::Clock,
    store::{
        Jobs as _, LaneKind,
        redis::{Durability, RedisStore},
    },
};
use serde_json::json;

use crate::{
    daemon::{TestStore, World, message, signed_waha},
    process::Process,
    redis_server::free_port,
    wait::until,
};

async fn start(world: &World, shutdown: (&str, &str)) -> Process {
    let (port, operator) = (free_port(), free_port());
    let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
    let (from, to) = ("drain_delay = \"0s\"\ngrace = \"20s\"", shutdown);
    let text = text.replace(from, &format!("drain_delay = \"{}\"\ngrace = \"{}\"", to.0, to.1));
    Process::with(port, operator, &text, &[]).await
}

/// Requests still arrive while load balancers remove the endpoint. They are served, although the probe fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_draining_process_is_not_ready_and_serves() {
    let world = World::new(TestStore::directory());
    let process = start(&world, ("10s", "20s")).await;
    process.signal("-TERM");
    until("it is not ready", async || process.operator("/readyz").await.status == 503).await;
    assert_eq!(process.operator("/livez").await.status, 200);
    assert!(process.metric("countersign_ready").await.abs() < 0.5);
    let minted = process.mint(json!({})).await.expect("a draining process serves");
    assert!(process.send_message("447700900123", "D1", &minted.text_of("text")).await);
    let (status, _, written) = process.wait_for_exit();
    assert_eq!(status, Some(0), "{written}");
    assert_eq!(world.receiver.requests().len(), 1, "a login while draining has its callback");
}

/// The receiver is slower than the grace period: the attempt is cancelled, its job is due at once, and the other
/// replica delivers it long before the lease would have expired.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_do_not_finish_in_time_are_released_at_once() {
    let world = World::new(TestStore::redis());
    let process = start(&world, ("0s", "1s")).await;
    let minted = process.mint(json!({})).await.unwrap();
    world.receiver.hold();
    assert!(process.send_message("447700900123", "H1", &minted.text_of("text")).await);
    until("the attempt has begun", async || world.receiver.requests().len() == 1).await;
    let (status, took, written) = process.terminate();
    world.receiver.release();
    assert_eq!(status, Some(0), "{written}");
    assert!(took < Duration::from_secs(40), "{took:?}");
    assert!(written.contains("releasing their leases"), "{written}");
    // A lease lasts 15 s from the start of the attempt.
    let store = RedisStore::new(&world.test_store.url(), Durability::Standard, Clock::default()).unwrap();
    let due = store.due().await.unwrap();
    assert!(due.iter().any(|due| due.lane.kind() == LaneKind::Callbacks), "{due:?}");
    let other = start(&world, ("0s", "20s")).await;
    until("the other one delivers it", async || world.receiver.requests().len() == 2).await;
    let arrived = world.receiver.requests();
    assert_eq!(arrived[0].header("webhook-id"), arrived[1].header("webhook-id"));
    other.until_metric("countersign_queue_depth{kind=\"callback\"}", |depth| depth < 0.5).await;
    other.terminate();
}

/// Three replicas are replaced one after the other, three times, under a load that is balanced over the ready ones: no
/// request fails, every login has a callback, and none has two.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_request_and_neither_loses_nor_repeats_a_callback() {
    let world = Arc::new(World::new(TestStore::redis()));
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(start(&world, ("3s", "20s")).await);
    }
    // The balancer's list: a replica gets requests until a failed probe was seen.
    let list: Arc<Mutex<Vec<(String, String)>>> =
        Arc::new(Mutex::new(replicas.iter().map(|one| (one.base.clone(), one.operator.clone())).collect()));
    let done = Arc::new(AtomicBool::new(false));
    let probing = tokio::spawn({
        let (list, done) = (Arc::clone(&list), Arc::clone(&done));
        async move {
            let client = crate::daemon::client();
            while !done.load(Ordering::Relaxed) {
                let known = list.lock().unwrap().clone();
                for one in known {
                    let request = http::Request::get(format!("{}/readyz", one.1)).body(Vec::new()).unwrap();
                    if !client.send(request).await.is_ok_and(|response| response.status().is_success()) {
                        list.lock().unwrap().retain(|other| *other != one);
                    }
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let turn = Arc::new(AtomicU32::new(0));
    let mut load = tokio::task::JoinSet::new();
    for worker in 0..6u32 {
        let (list, done, accepted, turn) =
            (Arc::clone(&list), Arc::clone(&done), Arc::clone(&accepted), Arc::clone(&turn));
        load.spawn(async move {
            let client = crate::daemon::client();
            let next = || {
                let list = list.lock().unwrap();
                list[turn.fetch_add(1, Ordering::Relaxed) as usize % list.len()].0.clone()
            };
            let mut round = 0u32;
            while !done.load(Ordering::Relaxed) {
                let request =
                    http::Request::post(format!("{}/api/otp/v2/{}/generate-link", next(), crate::daemon::WAHA))
                        .header("authorization", format!("Bearer {}", crate::daemon::TOKEN))
                        .header("content-type", "application/json")
                        .body(b"{}".to_vec())
                        .unwrap();
                let minted: crate::daemon::ReceivedResponse =
                    client.send(request).await.expect("a mint was not answered during the restart").into();
                assert_eq!(minted.status, 200, "{}", minted.text);
                let now = countersign::clock::Clock::default().wall().as_second();
                let number = format!("4477{worker:02}{round:06}");
                let body = message(&number, &format!("R{worker}-{round}"), &minted.text_of("text"), now);
                let answer = client.send(signed_waha(&next(), &body)).await;
                let answer = answer.expect("a message was not answered during the restart");
                assert_eq!(answer.status().as_u16(), 200);
                accepted.lock().unwrap().push(minted.text_of("uuid"));
                round += 1;
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        });
    }
    for _ in 0..3 {
        for replica in &mut replicas {
            // As in a Deployment with maxUnavailable 0, the new replica is ready before the old one is stopped.
            let fresh = start(&world, ("3s", "20s")).await;
            list.lock().unwrap().push((fresh.base.clone(), fresh.operator.clone()));
            let old = std::mem::replace(replica, fresh);
            let (status, took, written) = tokio::task::spawn_blocking(move || old.terminate()).await.unwrap();
            assert_eq!(status, Some(0), "{written}");
            assert!(took < Duration::from_secs(60), "{took:?}");
        }
    }
    done.store(true, Ordering::Relaxed);
    while let Some(worker) = load.join_next().await {
        worker.unwrap();
    }
    probing.await.unwrap();
    let accepted = Arc::into_inner(accepted).unwrap().into_inner().unwrap();
    assert!(accepted.len() > 50, "{}", accepted.len());
    let delivered = || {
        let mut ids: Vec<String> = Vec::new();
        for callback in world.receiver.requests() {
            let body = callback.json();
            if body["type"] == "link.verified" {
                ids.push(body["data"]["uuid"].as_str().unwrap().to_owned());
            }
        }
        ids
    };
    until("every login has a callback", async || delivered().len() >= accepted.len()).await;
    let mut ids = delivered();
    ids.sort();
    let mut expected = accepted;
    expected.sort();
    assert_eq!(ids, expected, "each once");
    for replica in replicas {
        replica.terminate();
    }
}
