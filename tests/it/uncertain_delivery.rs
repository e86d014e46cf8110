//! Replies whose gateway does not answer as it should: a message that was not sent is retried, and one that may have
//! been sent is repeated once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{io::AsyncReadExt as _, net::TcpListener};

use crate::{
    daemon::{Daemon, TestStore, WAHA, World},
    login_flow::on_both_stores,
    redis_server::free_port,
};

on_both_stores! {
    a_gateway_timeout_is_retried_once
    a_rejected_attempt_does_not_count_as_a_repetition
    an_unreachable_gateway_is_retried_on_the_whole_schedule
    a_retry_after_beyond_a_replys_lifetime_ends_it
}

/// Takes each request whole and then breaks the connection.
struct ResettingServer {
    url: String,
    taken: Arc<AtomicUsize>,
}

impl ResettingServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (url, taken) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"}") && stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {}
                count.fetch_add(1, Ordering::SeqCst);
                // What is closed with unread bytes, or without lingering, is reset.
                stream.set_zero_linger().unwrap();
            }
        });
        Self { url, taken }
    }
}

/// The verified link's reply, through all the attempts that it could have.
async fn verify_and_finish_reply(daemon: &Daemon) {
    let link = daemon.create_link(json!({})).await;
    daemon.send_message("447700900123", "A", &link.text).await;
    daemon.settle().await;
    for seconds in [3, 7, 19, 37, 60] {
        daemon.advance(Duration::from_secs(seconds)).await;
    }
}

async fn metric(daemon: &Daemon, name: &str) -> u64 {
    let request = http::Request::get(format!("{}/metrics", daemon.operator)).body(Vec::new()).unwrap();
    let text = daemon.send(request).await.text;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_default()
}

async fn replies(daemon: &Daemon, result: &str) -> u64 {
    let labels = format!("instance_id=\"{WAHA}\",gateway=\"waha\",result=\"{result}\"");
    metric(daemon, &format!("countersign_replies_total{{{labels}}}")).await
}

async fn dead_replies(daemon: &Daemon) -> u64 {
    metric(daemon, "countersign_jobs_dead_total{kind=\"reply\",reason=\"given_up\"}").await
}

async fn a_gateway_timeout_is_retried_once(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    world.gateway.fail(504, 100);
    verify_and_finish_reply(&daemon).await;
    assert_eq!(world.gateway.requests().len(), 2);
    assert_eq!(
        (replies(&daemon, "unknown").await, replies(&daemon, "retried").await, dead_replies(&daemon).await),
        (2, 0, 1)
    );
    daemon.finish().await;
}

async fn a_rejected_attempt_does_not_count_as_a_repetition(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    world.gateway.fail(504, 1);
    daemon.send_message("447700900123", "A", &link.text).await;
    daemon.settle().await;
    world.gateway.fail(429, 1);
    daemon.advance(Duration::from_secs(3)).await;
    world.gateway.fail(504, 100);
    daemon.advance(Duration::from_secs(7)).await;
    daemon.advance(Duration::from_secs(19)).await;
    daemon.advance(Duration::from_secs(37)).await;
    assert_eq!(world.gateway.requests().len(), 3, "twice perhaps sent, once refused");
    assert_eq!(
        (replies(&daemon, "unknown").await, replies(&daemon, "retried").await, dead_replies(&daemon).await),
        (2, 1, 1)
    );
    daemon.finish().await;
}

async fn an_unreachable_gateway_is_retried_on_the_whole_schedule(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.gateway.url = format!("http://127.0.0.1:{}", free_port());
    let daemon = world.start().await;
    verify_and_finish_reply(&daemon).await;
    assert_eq!(
        (replies(&daemon, "retried").await, replies(&daemon, "unknown").await, dead_replies(&daemon).await),
        (5, 0, 1)
    );
    daemon.finish().await;
}

async fn a_retry_after_beyond_a_replys_lifetime_ends_it(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    for (count, wish) in ["121", "18446744073709551615", "Fri, 31 Dec 9999 23:59:59 GMT"].into_iter().enumerate() {
        world.gateway.fail(429, 1);
        world.gateway.fail_with("retry-after", wish);
        let link = daemon.create_link(json!({})).await;
        daemon.send_message("447700900123", &format!("W{count}"), &link.text).await;
        daemon.settle().await;
        let ended = count as u64 + 1;
        assert_eq!((replies(&daemon, "too_late").await, dead_replies(&daemon).await), (ended, ended), "{wish}");
    }
    daemon.advance(Duration::from_hours(2)).await;
    assert_eq!(world.gateway.requests().len(), 3);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_reset_after_the_request_is_retried_once() {
    let mut world = World::new(TestStore::directory());
    let gateway = ResettingServer::start().await;
    world.gateway.url.clone_from(&gateway.url);
    let daemon = world.start().await;
    verify_and_finish_reply(&daemon).await;
    assert_eq!(gateway.taken.load(Ordering::SeqCst), 2);
    assert_eq!((replies(&daemon, "unknown").await, dead_replies(&daemon).await), (2, 1));
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_timeout_of_eleven_seconds_is_retried_once() {
    let world = World::new(TestStore::directory());
    world.gateway.delay(Duration::from_secs(11));
    let daemon = world.start().await;
    verify_and_finish_reply(&daemon).await;
    world.gateway.delay(Duration::ZERO);
    assert_eq!(world.gateway.requests().len(), 2);
    assert_eq!((replies(&daemon, "unknown").await, dead_replies(&daemon).await), (2, 1));
    daemon.finish().await;
}
