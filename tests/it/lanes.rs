//! Lanes: a receiver or gateway that fails, hangs or has a long queue delays no other, and each number sends its oldest
//! message first.

use std::{net::TcpListener, time::Duration};

use countersign::{
    clock::Clock,
    domain::{InstanceId, Partition},
    store::{
        Change, Job, JobId, JobState, Jobs as _, LEASE_DURATION, Lane, LeaseRequest, Records as _,
        archive::Archive as _,
        redis::{Durability, RedisStore},
    },
};
use serde_json::json;

use crate::{
    daemon::{CreatedLink, Daemon, TestStore, WAHA, World},
    fakes::ReceivedRequest,
    login_flow::on_both_stores,
    wait::until,
};

on_both_stores! {
    hanging_receivers_do_not_delay_others
    replies_above_the_rate_are_sent_oldest_first_and_delay_no_callback
    a_failing_number_keeps_its_attempts_for_later
}

async fn verified(daemon: &Daemon, person: usize, body: serde_json::Value) {
    let link = daemon.create_link(body).await;
    send_link_message(daemon, person, &link).await;
}

async fn send_link_message(daemon: &Daemon, person: usize, link: &CreatedLink) {
    let answer = daemon.send_message(&format!("4477009{person:05}"), &format!("M{person}"), &link.text).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// A listener whose connections the kernel accepts, and that never responds.
fn hanging_listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    (listener, url)
}

async fn hanging_receivers_do_not_delay_others(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let receivers: Vec<(TcpListener, String)> = (0..40).map(|_| hanging_listener()).collect();
    for (person, (_, url)) in receivers.iter().cycle().take(320).enumerate() {
        verified(&daemon, person, json!({ "callback": { "success": url } })).await;
    }
    verified(&daemon, 999, json!({})).await;
    world.receiver.wait_for(1).await;
    // Each hanging receiver still has an attempt in flight, and together they have no more than their share.
    let hanging = daemon.services.env.local_dispatch.permits.claimed_jobs();
    assert!((20..=128).contains(&hanging), "{hanging} attempts hang");
    drop(receivers);
    daemon.stop().await;
}

async fn replies_above_the_rate_are_sent_oldest_first_and_delay_no_callback(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\nreplies_per_second = 1\n".to_owned();
    let daemon = world.start().await;
    let people = 12;
    let mut links = Vec::new();
    for _ in 0..people {
        links.push(daemon.create_link(json!({})).await);
    }
    for (person, link) in links.iter().enumerate() {
        send_link_message(&daemon, person, link).await;
    }
    world.receiver.wait_for(people).await;
    let replies_sent = world.gateway.requests().len();
    assert!(replies_sent < people, "the replies have not caught up with the callbacks");
    // The start page shows that replies are delayed.
    let listed = daemon.get(&format!("/api/otp/v2/{WAHA}/requests?limit=1")).await;
    let page = url::Url::parse(listed.data("requests")[0]["start_url"].as_str().unwrap()).unwrap();
    until("the page says that replies are late", async || {
        daemon.get(page.path()).await.text.contains("Many people are signing in")
    })
    .await;
    let metrics = http::Request::get(format!("{}/metrics", daemon.operator)).body(Vec::new()).unwrap();
    let metrics = daemon.send(metrics).await.text;
    assert!(metrics.contains(&format!("countersign_message_delay_seconds{{instance_id=\"{WAHA}\"}}")), "{metrics}");
    let replies = world.gateway.wait_for(people).await;
    let order: Vec<usize> = replies
        .iter()
        .map(ReceivedRequest::json)
        .map(|json| json["chatId"].as_str().unwrap()[7..12].parse().unwrap())
        .collect();
    for (place, person) in order.iter().enumerate() {
        // Replies that are sent at the same time may arrive in any order.
        assert!(place.abs_diff(*person) <= 2, "{order:?}");
    }
    daemon.finish().await;
}

async fn a_failing_number_keeps_its_attempts_for_later(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\nreplies_per_second = 0\n".to_owned();
    let daemon = world.start().await;
    world.gateway.fail(503, u64::MAX);
    for person in 0..30 {
        verified(&daemon, person, json!({})).await;
    }
    daemon.settle().await;
    let attempts = world.gateway.requests().len();
    assert!((10..30).contains(&attempts), "{attempts}: after ten failures the lane is held");
    world.receiver.wait_for(30).await;
    world.gateway.fail(503, 0);
    for _ in 0..12 {
        daemon.advance(Duration::from_secs(7)).await;
    }
    world.gateway.wait_for(attempts + 30).await;
    daemon.finish().await;
}

/// A job that crashes each process that attempts it never gets an outcome.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_leases_always_expire_is_given_up() {
    let world = World::new(TestStore::redis());
    let id: InstanceId = WAHA.parse().unwrap();
    let clock: Clock = world.clock.clone();
    let store = RedisStore::new(&world.test_store.url(), Durability::Standard, clock.clone()).unwrap();
    let (lane, partition) = (Lane::replies(id), Partition::from_byte(3));
    let job = Job {
        id: JobId("poison".to_owned()),
        instance: id,
        lane: lane.clone(),
        due: None,
        body: b"no key opens it".to_vec(),
        lease: false,
    };
    let change =
        Change { partition, records: Vec::new(), answers: None, jobs: vec![job], valid_until: None, finishing: true };
    let _ = store.commit(&change).await.unwrap();
    for lapsed in 0..8 {
        let request = LeaseRequest { partition, lane: lane.clone(), limit: 1, busy_groups: [].into() };
        store.due().await.unwrap();
        let granted = store.lease(&[request]).await.unwrap().remove(0);
        assert_eq!(granted.jobs[0].expired_leases, lapsed);
        clock.advance(LEASE_DURATION);
    }
    let daemon = world.start().await;
    daemon.settle().await;
    let dead = store.jobs(id, JobState::Dead, 9).await.unwrap();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].note, "poison: 8 consecutive leases expired without an outcome");
    let metrics = http::Request::get(format!("{}/metrics", daemon.operator)).body(Vec::new()).unwrap();
    let metrics = daemon.send(metrics).await.text;
    assert!(metrics.contains("countersign_jobs_dead_total{kind=\"reply\",reason=\"poison\"} 1"), "{metrics}");
    daemon.finish().await;
}
