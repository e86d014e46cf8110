//! Events of a request: streams, long polls, permissions, and events from another process.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    daemon::{Daemon, META, META_TOKEN, ReceivedResponse, TOKEN, TestStore, WAHA, World},
    login_flow::on_both_stores,
    process::Process,
    wait::{TIMEOUT, until},
};

on_both_stores! {
    a_stream_reports_each_change_until_the_end
    a_poll_token_shows_the_state_and_nothing_else
    a_long_poll_answers_when_something_changes
    expiry_is_reported_on_time
    a_stopping_process_ends_its_streams
}

fn path(uuid: &str) -> String {
    format!("/api/otp/v2/{WAHA}/requests/{uuid}/events")
}

/// A stream of events on a socket of its own.
struct Stream {
    socket: TcpStream,
    text: String,
}

impl Stream {
    async fn open(base: &str, token: &str, path: &str) -> Self {
        let mut socket = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        Self { socket, text: String::new() }
    }

    /// Reads on until `wanted` has come.
    async fn until(&mut self, wanted: &str) -> &str {
        let mut buffer = [0; 4096];
        while !self.text.contains(wanted) {
            let read = timeout(TIMEOUT, self.socket.read(&mut buffer)).await;
            let read = read.unwrap_or_else(|_| panic!("no {wanted} in {}", self.text)).unwrap();
            assert!(read > 0, "it ended without {wanted}: {}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        &self.text
    }

    /// What each event holds, as far as it has come.
    fn events(&self) -> Vec<Value> {
        let data = self.text.split("data: ").skip(1);
        data.map(|rest| serde_json::from_str(rest.split('\n').next().unwrap()).unwrap()).collect()
    }
}

/// The last chunk of a body without a length.
const END: &str = "\r\n0\r\n\r\n";

async fn a_stream_reports_each_change_until_the_end(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"chatId": "447700900123"})).await;
    let mut stream = Stream::open(&daemon.base, TOKEN, &path(&link.uuid)).await;
    let head = stream.until("\n\n").await;
    assert!(head.contains("200 OK") && head.contains("content-type: text/event-stream"), "{head}");
    assert!(head.contains("x-request-id: ") && head.contains("cache-control: no-store"), "{head}");
    daemon.send_message("447700900199", "E1", &link.text).await;
    stream.until("sender_mismatch").await;
    daemon.send_message("447700900123", "E2", &link.text).await;
    stream.until(END).await;
    let seen: Vec<(Value, Value)> =
        stream.events().iter().map(|event| (event["status"].clone(), event["attempts"].clone())).collect();
    assert_eq!(seen, [(json!("pending"), json!(0)), (json!("pending"), json!(1)), (json!("verified"), json!(1))]);
    assert_eq!(stream.events()[2]["subject"]["value"], "+447700900123", "an API token sees the subject");

    let mut late = Stream::open(&daemon.base, TOKEN, &path(&link.uuid)).await;
    late.until(END).await;
    assert_eq!(late.events().len(), 1, "a request that has ended is reported at once");
    let again = daemon.send(reconnect(&daemon, &link.uuid)).await;
    assert_eq!(again.status, 204, "a reconnecting EventSource is asked to stop");
    daemon.finish().await;
}

fn reconnect(daemon: &Daemon, uuid: &str) -> http::Request<Vec<u8>> {
    http::Request::get(format!("{}{}", daemon.base, path(uuid)))
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("last-event-id", "1")
        .body(Vec::new())
        .unwrap()
}

async fn a_poll_token_shows_the_state_and_nothing_else(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let minted = daemon.mint(json!({"chatId": "447700900123", "client_ref": "secret-cart", "name": "Harbour"})).await;
    let (uuid, token, code) = (minted.text_of("uuid"), minted.text_of("poll_token"), minted.text_of("code"));
    let mut stream = Stream::open(&daemon.base, &token, &path(&uuid)).await;
    stream.until("\n\n").await;
    daemon.send_message("447700900123", "P1", &minted.text_of("text")).await;
    stream.until(END).await;
    let events = stream.events();
    let names: Vec<&String> = events[1].as_object().unwrap().keys().collect();
    assert_eq!(names, ["completion", "expires_at", "status", "uuid"]);
    assert_eq!((&events[0]["status"], &events[1]["status"]), (&json!("pending"), &json!("verified")));
    assert_eq!(events[1]["completion"]["state"], "offered");
    for secret in ["447700900123", "Mara", "secret-cart", &code] {
        assert!(!stream.text.contains(secret), "{secret} in {}", stream.text);
    }
    let other = daemon.create_link(json!({})).await;
    for (what, wrong) in [
        ("another verification", path(&other.uuid)),
        ("another instance", path(&uuid).replace(WAHA, META)),
        ("the request itself", path(&uuid).replace("/events", "")),
        ("the list", format!("/api/otp/v2/{WAHA}/requests")),
    ] {
        let refused = daemon.get_as(&token, &wrong).await;
        assert_eq!((refused.status, &refused.json["code"]), (401, &json!("unauthenticated")), "{what}");
    }
    let handle = minted.text_of("start_url").rsplit('/').next().unwrap().to_owned();
    assert_eq!(daemon.get_as(&handle, &path(&uuid)).await.status, 401, "a token of another kind");
    assert_eq!(daemon.get_as(META_TOKEN, &path(&uuid).replace(WAHA, META)).await.status, 404, "another tenant");
    daemon.finish().await;
}

async fn a_long_poll_answers_when_something_changes(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    let waiting = format!("{}?wait=55", path(&link.uuid));
    let nothing = daemon.get(&format!("{}?wait=0", path(&link.uuid))).await;
    assert_eq!((nothing.status, nothing.data("status")), (200, &json!("pending")), "the end of the wait is no error");
    assert_eq!(nothing.header("access-control-allow-origin"), "*");
    let waited = async {
        let news = daemon.get(&waiting).await;
        (news, Instant::now())
    };
    let ((news, answered), changed) = tokio::join!(waited, async {
        until("it waits", async || daemon.services.env.store.changes().waiting() > 0).await;
        daemon.send_message("447700900123", "L1", &link.text).await;
        Instant::now()
    });
    assert_eq!(news.data("status"), "verified");
    let late = answered.saturating_duration_since(changed);
    assert!(late < Duration::from_secs(30), "it waited for its 55 seconds to end: {late:?}");
    assert_eq!(daemon.get(&waiting).await.data("status"), "verified", "a request that has ended is reported at once");
    for bad in ["56", "-1", "x", "", "1&wait=2"] {
        let refused = daemon.get(&format!("{}?wait={bad}", path(&link.uuid))).await;
        assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("wait")), "{bad}");
    }
    assert_eq!(daemon.get(&path("0192f2a0-0000-7000-8000-000000000000")).await.status, 404);
    assert_eq!(daemon.get(&path("garbage")).await.status, 404);
    let preflight = http::Request::options(format!("{}{}", daemon.base, path(&link.uuid))).body(Vec::new()).unwrap();
    let preflight = daemon.send(preflight).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (204, "GET"));
    assert_eq!(daemon.services.env.store.changes().waiting(), 0, "every waiter was removed");
    daemon.finish().await;
}

async fn expiry_is_reported_on_time(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"expires": 60})).await;
    // No worker fires timers here, so the reader itself must notice the expiry.
    daemon.advance_clock(Duration::from_secs(58)).await;
    let news = daemon.get(&format!("{}?wait=55", path(&link.uuid))).await;
    assert_eq!(news.data("status"), "expired");
    daemon.finish().await;
}

async fn a_stopping_process_ends_its_streams(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    let mut stream = Stream::open(&daemon.base, TOKEN, &path(&link.uuid)).await;
    stream.until("\n\n").await;
    let start = Instant::now();
    daemon.stop().await;
    stream.until(END).await;
    assert!(start.elapsed() < Duration::from_secs(15), "the grace time was not spent on a waiter");
}

/// Two processes on one Redis: one has the event stream, the other receives the message.
#[tokio::test(flavor = "multi_thread")]
async fn events_reach_other_processes() {
    let world = World::new(TestStore::redis());
    let (here, there) = (Process::start(&world).await, Process::start(&world).await);
    let mut fast = false;
    for round in 0..20 {
        let minted = here.mint(json!({})).await.unwrap();
        let mut stream = Stream::open(&there.base, &minted.text_of("poll_token"), &path(&minted.text_of("uuid"))).await;
        stream.until("\n\n").await;
        let start = Instant::now();
        assert!(here.send_message("447700900123", &format!("X{round}"), &minted.text_of("text")).await);
        stream.until(END).await;
        assert_eq!(stream.events()[1]["status"], "verified");
        // Without the channel it always takes until the next poll, at least 4.5 s; a busy machine sometimes takes as
        // long.
        fast = start.elapsed() < Duration::from_secs(4);
        if fast && round >= 2 {
            break;
        }
    }
    assert!(fast, "no event arrived before the next poll");
}

#[tokio::test]
async fn waiters_for_one_record_are_bounded() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    let mut streams = Vec::new();
    for _ in 0..countersign::store::changes::MAX_WAITERS_PER_RECORD {
        let mut stream = Stream::open(&daemon.base, TOKEN, &path(&link.uuid)).await;
        stream.until("\n\n").await;
        streams.push(stream);
    }
    let refused: ReceivedResponse = daemon.get(&path(&link.uuid)).await;
    assert_eq!((refused.status, &refused.json["code"]), (503, &json!("temporary_reduced_capacity")));
    assert_eq!(refused.header("retry-after"), "5");
    drop(streams);
    until("the places of clients that went away are given back", async || {
        // The next write finds that the client has disconnected.
        daemon.send_message("447700900123", "B1", &link.text).await;
        daemon.services.env.store.changes().waiting() == 0
    })
    .await;
    daemon.finish().await;
}
