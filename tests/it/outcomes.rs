//! Replies whose gateway does not answer as it should: what was not sent is tried again, what may have been sent is
//! repeated once.

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
    app::{Daemon, Ground, WAHA, World},
    flow::on_both_stores,
    redis_server::free_port,
};

on_both_stores! {
    what_a_proxy_gave_up_on_is_repeated_once
    what_was_not_taken_in_between_is_not_a_repetition
    a_gateway_that_is_not_there_gets_the_whole_schedule
    a_wish_beyond_the_use_of_a_reply_is_its_end
}

/// Takes each request whole and then breaks the connection.
struct Resetting {
    url: String,
    taken: Arc<AtomicUsize>,
}

impl Resetting {
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
async fn replied(app: &Daemon) {
    let link = app.link(json!({})).await;
    app.says("447700900123", "A", &link.text).await;
    app.settle().await;
    for seconds in [3, 7, 19, 37, 60] {
        app.advance(Duration::from_secs(seconds)).await;
    }
}

async fn metric(app: &Daemon, name: &str) -> u64 {
    let request = http::Request::get(format!("{}/metrics", app.operator)).body(Vec::new()).unwrap();
    let text = app.send(request).await.text;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_default()
}

async fn replies(app: &Daemon, result: &str) -> u64 {
    let labels = format!("instance_id=\"{WAHA}\",gateway=\"waha\",result=\"{result}\"");
    metric(app, &format!("countersign_replies_total{{{labels}}}")).await
}

async fn dead_replies(app: &Daemon) -> u64 {
    metric(app, "countersign_jobs_dead_total{kind=\"reply\",reason=\"given_up\"}").await
}

async fn what_a_proxy_gave_up_on_is_repeated_once(ground: Ground) {
    let world = World::new(ground);
    let app = world.start().await;
    world.gateway.fail(504, 100);
    replied(&app).await;
    assert_eq!(world.gateway.arrived().len(), 2);
    assert_eq!((replies(&app, "unknown").await, replies(&app, "retried").await, dead_replies(&app).await), (2, 0, 1));
    app.finish().await;
}

async fn what_was_not_taken_in_between_is_not_a_repetition(ground: Ground) {
    let world = World::new(ground);
    let app = world.start().await;
    let link = app.link(json!({})).await;
    world.gateway.fail(504, 1);
    app.says("447700900123", "A", &link.text).await;
    app.settle().await;
    world.gateway.fail(429, 1);
    app.advance(Duration::from_secs(3)).await;
    world.gateway.fail(504, 100);
    app.advance(Duration::from_secs(7)).await;
    app.advance(Duration::from_secs(19)).await;
    app.advance(Duration::from_secs(37)).await;
    assert_eq!(world.gateway.arrived().len(), 3, "twice perhaps sent, once refused");
    assert_eq!((replies(&app, "unknown").await, replies(&app, "retried").await, dead_replies(&app).await), (2, 1, 1));
    app.finish().await;
}

async fn a_gateway_that_is_not_there_gets_the_whole_schedule(ground: Ground) {
    let mut world = World::new(ground);
    world.gateway.url = format!("http://127.0.0.1:{}", free_port());
    let app = world.start().await;
    replied(&app).await;
    assert_eq!((replies(&app, "retried").await, replies(&app, "unknown").await, dead_replies(&app).await), (5, 0, 1));
    app.finish().await;
}

async fn a_wish_beyond_the_use_of_a_reply_is_its_end(ground: Ground) {
    let world = World::new(ground);
    let app = world.start().await;
    for (count, wish) in ["121", "18446744073709551615", "Fri, 31 Dec 9999 23:59:59 GMT"].into_iter().enumerate() {
        world.gateway.fail(429, 1);
        world.gateway.fail_with("retry-after", wish);
        let link = app.link(json!({})).await;
        app.says("447700900123", &format!("W{count}"), &link.text).await;
        app.settle().await;
        let ended = count as u64 + 1;
        assert_eq!((replies(&app, "too_late").await, dead_replies(&app).await), (ended, ended), "{wish}");
    }
    app.advance(Duration::from_hours(2)).await;
    assert_eq!(world.gateway.arrived().len(), 3);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_after_the_request_is_repeated_once() {
    let mut world = World::new(Ground::directory());
    let gateway = Resetting::start().await;
    world.gateway.url.clone_from(&gateway.url);
    let app = world.start().await;
    replied(&app).await;
    assert_eq!(gateway.taken.load(Ordering::SeqCst), 2);
    assert_eq!((replies(&app, "unknown").await, dead_replies(&app).await), (2, 1));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_answers_after_eleven_seconds_is_asked_twice() {
    let world = World::new(Ground::directory());
    world.gateway.delay(Duration::from_secs(11));
    let app = world.start().await;
    replied(&app).await;
    world.gateway.delay(Duration::ZERO);
    assert_eq!(world.gateway.arrived().len(), 2);
    assert_eq!((replies(&app, "unknown").await, dead_replies(&app).await), (2, 1));
    app.finish().await;
}
