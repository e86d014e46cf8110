//! Floods by unauthenticated clients: they fill neither the memory nor the log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{
    daemon::{TestStore, WAHA, World},
    hostile_clients::{address, many_files},
    process::Process,
    wait::{until, within_timeout},
};

const MIB: usize = 1 << 20;

/// An unauthenticated client may send 3 MiB before its webhook is refused.
#[tokio::test(flavor = "multi_thread")]
async fn large_unauthenticated_bodies_stay_within_the_budget() {
    many_files();
    let mut world = World::new(TestStore::directory());
    world.top_level_lines = "limits.unauthenticated_mib = 48".to_owned();
    let process = Process::start(&world).await;
    let minted = process.mint(json!({})).await.unwrap();
    let (address, peak, start) = (address(&process), process.peak_rss_kib(), Instant::now());
    let (mut hoard, stalled) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..200 {
        let stalled = Arc::clone(&stalled);
        hoard.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("POST /webhooks/{WAHA} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", 3 * MIB);
            let _ = stream.write_all(head.as_bytes()).await;
            // All but the last byte.
            let _ = timeout(Duration::from_secs(5), stream.write_all(&vec![b' '; 3 * MIB - 1])).await;
            stalled.fetch_add(1, Ordering::Relaxed);
            let mut answer = Vec::new();
            let _ = within_timeout("an answer", stream.read_to_end(&mut answer)).await;
            let text = String::from_utf8_lossy(&answer);
            assert!(text.is_empty() || text.starts_with("HTTP/1.1 408") || text.contains("retry-after: "), "{text}");
        });
    }
    // Not what the daemon has open at one moment: it closes the first ones to make room for others. Before they stall
    // there may be no reservation to evict, and a webhook is answered 503.
    until("all have stalled or were closed", async || stalled.load(Ordering::Relaxed) == 200).await;
    assert!(process.send_message("447700900123", "M1", &minted.text_of("text")).await);
    world.receiver.wait_for(1).await;
    hoard.join_all().await;
    let grown = process.peak_rss_kib() - peak;
    eprintln!("grown {grown} KiB, over after {:?}", start.elapsed());
    assert!(grown < 96 * 1024, "{grown} KiB");
    assert!(process.metric("countersign_unauthenticated_refused_total{cause=\"evicted\"}").await > 100.0);
    process.terminate();
}

/// A line for a request, and none for what is not one.
#[tokio::test(flavor = "multi_thread")]
async fn rejected_requests_do_not_flood_the_log() {
    const REQUESTS: usize = 1000;
    many_files();
    let world = World::new(TestStore::directory());
    let (port, operator) = (crate::redis_server::free_port(), crate::redis_server::free_port());
    let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
    let text = text.replace("format = \"text\"\nlevel = \"trace\"", "format = \"json\"");
    let process = Process::with(port, operator, &text, &[]).await;
    let before = process.output().len();
    let canary = "canary-".repeat(500);
    let requests = [
        format!("GET /{canary} HTTP/1.1\r\nhost: {canary}\r\nuser-agent: {canary}\r\nx-request-id: {canary}\r\n\r\n"),
        format!("GET /api/otp/v2/{WAHA}/requests HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {canary}\r\n\r\n"),
        format!("POST /webhooks/{WAHA}/{canary} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{{}}"),
    ];
    let address = address(&process);
    let mut flood = JoinSet::new();
    for request in requests {
        for _ in 0..10 {
            let request = request.clone();
            flood.spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let mut answer = vec![0; 65536];
                for _ in 0..REQUESTS / 10 {
                    stream.write_all(request.as_bytes()).await.unwrap();
                    let read = within_timeout("an answer", stream.read(&mut answer)).await.unwrap();
                    assert!(answer[..read].starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer[..read]));
                }
            });
        }
    }
    for index in 0..REQUESTS {
        let garbage: &'static [u8] = [&b"\x16\x03\x01\x02"[..], b"GET / HTTP/1.1\r\ncanary\r\n\r\n"][index % 2];
        flood.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(garbage).await;
            let _ = within_timeout("an answer", stream.read_to_end(&mut Vec::new())).await;
        });
    }
    flood.join_all().await;
    let (status, _, written) = process.terminate();
    assert_eq!(status, Some(0));
    let log = &written[before..];
    let lines = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!(lines("\"message\":\"request\""), 3 * REQUESTS);
    let others = log.lines().count() - 3 * REQUESTS;
    assert!(others < 60, "{others}: {}", log.lines().filter(|line| !line.contains("\"request\"")).collect::<String>());
    assert!(log.len() < 3 * REQUESTS * 400, "{} bytes for {} requests", log.len(), 3 * REQUESTS);
    assert!(!log.contains("canary"));
}
