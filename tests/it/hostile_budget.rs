//! The budget for unauthenticated requests: stalled clients are evicted for those that are not.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    daemon::{InstanceBlock, TOKEN, TestStore, WAHA, World},
    hostile_clients::{address, many_files},
    process::Process,
};

const GREEN_API: &str = "5f0c2a90-0000-4000-8000-000000000003";
/// Longer than any deadline of the daemon.
const TIMEOUT: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_header_is_compared_before_the_body_is_read() {
    let mut world = World::new(TestStore::directory());
    world.more_instances = InstanceBlock {
        id: GREEN_API,
        name: "Green",
        number: "+447700900997",
        token: "wk_green_token_0123456789abcdefghij",
        lines: "",
        gateway: "kind = \"green-api\"\nurl = \"http://127.0.0.1:9\"\ninstance = \"1100000777\"\n\
                  api_key = \"key-of-the-gateway\"\nwebhook_secret = \"c81f20d76ab94e3f95d07be2416c8a39\"",
    }
    .to_string();
    let process = Process::start(&world).await;
    for (secret, status) in [("Bearer wrong", "HTTP/1.1 401"), ("", "HTTP/1.1 401")] {
        let mut stream = TcpStream::connect(address(&process)).await.unwrap();
        let head = format!(
            "POST /webhooks/{GREEN_API} HTTP/1.1\r\nhost: a\r\nauthorization: {secret}\r\ncontent-length: 3000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        // Answered without a byte of the body; reading it would take ten seconds and end with 408.
        timeout(TIMEOUT, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), status);
    }
    process.terminate();
}

/// 150 stalled bodies are twenty times the budget.
#[tokio::test(flavor = "multi_thread")]
async fn stalled_bodies_do_not_hold_up_a_genuine_one() {
    many_files();
    let mut world = World::new(TestStore::directory());
    world.top_level_lines = "limits.unauthenticated_mib = 12".to_owned();
    let process = Process::start(&world).await;
    let minted = process.mint(json!({})).await.unwrap();
    let mut stalled = Vec::new();
    for _ in 0..150 {
        let mut stream = TcpStream::connect(address(&process)).await.unwrap();
        let head = format!("POST /webhooks/{WAHA} HTTP/1.1\r\nhost: a\r\ncontent-length: 3000000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let _ = stream.write_all(&vec![b' '; 1_500_000]).await;
        stalled.push(stream);
    }
    let text = format!("{}{}", minted.text_of("text"), " ".repeat(1_000_000));
    assert!(process.send_message("447700900123", "M1", &text).await);
    world.receiver.wait_for(1).await;
    assert!(process.metric("countersign_unauthenticated_refused_total{cause=\"evicted\"}").await > 100.0);
    assert!(process.metric("countersign_unauthenticated_bytes").await <= 12.0 * 1024.0 * 1024.0);
    // The first one is evicted: it gets a response, and may try again later.
    let mut answer = Vec::new();
    let _ = timeout(TIMEOUT, stalled.swap_remove(0).read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || (answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: ")), "{answer}");
    drop(stalled);
    process.terminate();
}

/// Streams may use half of the budget; the next one gets 503, and other clients do not end those that wait.
#[tokio::test(flavor = "multi_thread")]
async fn other_clients_do_not_evict_streams() {
    many_files();
    let mut world = World::new(TestStore::directory());
    world.top_level_lines = "limits.unauthenticated_mib = 1".to_owned();
    let process = Process::start(&world).await;
    let mut streams = Vec::new();
    let mut refused = 0;
    for _ in 0..4 {
        let uuid = process.mint(json!({})).await.unwrap().text_of("uuid");
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address(&process)).await.unwrap();
            let get = format!(
                "GET /api/otp/v2/{WAHA}/requests/{uuid}/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
            );
            stream.write_all(get.as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            timeout(TIMEOUT, stream.read_exact(&mut answer)).await.unwrap().unwrap();
            match &answer {
                b"HTTP/1.1 200" => streams.push(stream),
                b"HTTP/1.1 503" => refused += 1,
                other => panic!("{}", String::from_utf8_lossy(other)),
            }
        }
    }
    assert_eq!((streams.len(), refused), (64, 16), "of 8 KiB each in half a MiB");
    let mut strangers = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(address(&process)).await.unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx: ").await;
        strangers.push(stream);
    }
    process.signal("-TERM");
    // Each stream is still there and ends as it should.
    for mut stream in streams {
        let mut rest = Vec::new();
        timeout(TIMEOUT, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.contains("event: status") && rest.ends_with("\r\n0\r\n\r\n"), "{rest}");
    }
    let (status, _, log) = tokio::task::spawn_blocking(|| process.wait_for_exit()).await.unwrap();
    assert_eq!(status, Some(0), "{log}");
}
