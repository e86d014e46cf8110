//! Requests that parsers disagree about, that are too large, or that never end: each is refused once, in bounded
//! time and memory, and nothing after it on its connection is served.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{
    daemon::{ReceivedResponse, TOKEN, TestStore, WAHA, WAHA_KEY, World},
    hostile_clients::{address, many_files, slowest_legitimate_request},
    process::Process,
    wait::TIMEOUT,
};

/// Bytes that an attacker hides in a body so that the daemon reads them as a request.
const SMUGGLED: &str = "GET /openapi.json HTTP/1.1\r\nhost: smuggled\r\n\r\n";

/// Everything that the daemon answers to these bytes until it closes the connection.
async fn response_to(process: &Process, bytes: &[u8]) -> String {
    let (mut from, mut to) = TcpStream::connect(address(process)).await.unwrap().into_split();
    let bytes = bytes.to_vec();
    let writer = tokio::spawn(async move {
        let _ = to.write_all(&bytes).await;
        to
    });
    let mut answer = Vec::new();
    let closed = timeout(Duration::from_secs(40), from.read_to_end(&mut answer)).await;
    writer.abort();
    if closed.is_err() {
        answer.splice(0..0, *b"still open: ");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(headers: &str, body: &str) -> Vec<u8> {
    let path = format!("/api/otp/v2/{WAHA}/generate-link");
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\n\
         content-type: application/json\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

fn malformed() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let smuggling = |headers: &str, body: &str| request(headers, &format!("{body}{SMUGGLED}"));
    let many = |count: usize| (0..count).fold(String::new(), |all, index| format!("{all}x{index}: y\r\n"));
    let long = |length: usize| format!("x: {}\r\n", "y".repeat(length));
    vec![
        ("CL and TE", smuggling("content-length: 2\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), &[400]),
        ("TE and CL", smuggling("transfer-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n"), &[400]),
        ("two lengths", smuggling("content-length: 2\r\ncontent-length: 2\r\n", "{}"), &[400]),
        ("two different lengths", smuggling("content-length: 2\r\ncontent-length: 60\r\n", "{}"), &[400]),
        ("a list of lengths", smuggling("content-length: 2, 2\r\n", "{}"), &[400]),
        ("a signed length", smuggling("content-length: +2\r\n", "{}"), &[400]),
        ("a negative length", smuggling("content-length: -2\r\n", "{}"), &[400]),
        ("an endless length", smuggling("content-length: 99999999999999999999999\r\n", "{}"), &[400]),
        ("a hexadecimal length", smuggling("content-length: 0x2\r\n", "{}"), &[400]),
        ("TE twice", smuggling("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), &[400]),
        ("TE with another coding", smuggling("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"), &[400]),
        ("TE unknown", smuggling("transfer-encoding: xchunked\r\n", "0\r\n\r\n"), &[400]),
        ("TE before a space", smuggling("transfer-encoding : chunked\r\n", "0\r\n\r\n"), &[400]),
        ("a chunk size with a sign", smuggling("transfer-encoding: chunked\r\n", "+2\r\n{}\r\n0\r\n\r\n"), &[400]),
        ("a chunk size too large", smuggling("transfer-encoding: chunked\r\n", "fffffffffffffffff\r\n"), &[400]),
        ("a chunk without its end", smuggling("transfer-encoding: chunked\r\n", "2\r\n{}0\r\n\r\n"), &[400]),
        ("obs-fold", request("x: a\r\n b\r\ncontent-length: 2\r\n", "{}"), &[400]),
        ("a bare CR in a header", request("x: a\rb\r\ncontent-length: 2\r\n", "{}"), &[400]),
        ("NUL in a header", request("x: a\0b\r\ncontent-length: 2\r\n", "{}"), &[400]),
        ("two hosts", request("host: b\r\ncontent-length: 2\r\n", "{}"), &[400]),
        ("101 headers", request(&format!("{}content-length: 2\r\n", many(101)), "{}"), &[400, 431]),
        ("33 KiB of headers", request(&format!("{}content-length: 2\r\n", long(33 << 10)), "{}"), &[431]),
        ("a megabyte of headers", request(&long(1 << 20), ""), &[431]),
        ("a long path", format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(40 << 10)).into(), &[414, 431]),
        ("a byte too long", request("content-length: 65537\r\n", &" ".repeat(65_537)), &[413]),
        ("far too long", request("content-length: 1099511627776\r\n", &" ".repeat(1 << 20)), &[413]),
        ("an end too early", request("content-length: 60\r\n", "{"), &[408]),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(), &[400, 505]),
        ("HTTP/3.7", b"GET / HTTP/3.7\r\nhost: a\r\n\r\n".to_vec(), &[400, 505]),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".repeat(8), &[400]),
        ("no host", b"GET / HTTP/1.1\r\n\r\n".to_vec(), &[400]),
        ("only line ends", b"\r\n".repeat(40_000), &[400, 408, 431]),
        ("not a byte", Vec::new(), &[408]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_requests_are_rejected_once() {
    let world = World::new(TestStore::directory());
    let process = Process::start(&world).await;
    let peak = process.peak_rss_kib();
    let cases = malformed();
    let responses =
        futures_util::future::join_all(cases.iter().map(|(_, bytes, _)| response_to(&process, bytes))).await;
    let mut wrong = Vec::new();
    for ((name, _, statuses), answer) in cases.iter().zip(responses) {
        let status = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        let once = answer.matches("HTTP/1.1 ").count() == 1;
        if !status.is_some_and(|status| statuses.contains(&status)) || !once {
            wrong.push(format!("{name}: {statuses:?}, not {}", answer.lines().next().unwrap_or_default()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(process.mint(json!({})).await.is_some());
    let grown = process.peak_rss_kib() - peak;
    assert!(grown < 32 * 1024, "{grown} KiB");
    process.terminate();
}

async fn mint(process: &Process, body: String) -> ReceivedResponse {
    let request = http::Request::post(format!("{}/api/otp/v2/{WAHA}/generate-link", process.base))
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .body(body.into_bytes())
        .unwrap();
    process.client.send(request).await.unwrap().into()
}

/// Signed with the gateway's secret: a trusted sender may send malformed data, too.
async fn webhook(process: &Process, body: String) -> u16 {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha512>::new_from_slice(WAHA_KEY.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let hex = mac.finalize().into_bytes().iter().fold(String::new(), |out, byte| format!("{out}{byte:02x}"));
    let request = http::Request::post(format!("{}/webhooks/{WAHA}", process.base))
        .header("content-type", "application/json")
        .header("x-webhook-hmac", hex)
        .header("x-webhook-hmac-algorithm", "sha512");
    let request = request.body(body.into_bytes()).unwrap();
    let deadline = Instant::now() + TIMEOUT;
    loop {
        // On a busy machine a body may miss its deadline; a gateway sends it again.
        match process.client.send(request.clone()).await {
            Ok(answer) if answer.status() != 408 => return answer.status().as_u16(),
            unfinished => assert!(Instant::now() < deadline, "{:?}", unfinished.map(|answer| answer.status())),
        }
    }
}

fn keys(count: usize) -> String {
    let all: Vec<String> = (0..count).map(|index| format!("\"{index:x}\":1")).collect();
    format!("{{{}}}", all.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_json_is_rejected_at_little_cost() {
    many_files();
    let world = World::new(TestStore::directory());
    let process = Process::start(&world).await;
    let peak = process.peak_rss_kib();
    let start = Instant::now();
    let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    for body in [
        deep(200),
        deep(30_000),
        "[".repeat(65_000),
        "{\"a\":".repeat(10_000),
        r#"{"name":"\ud800"}"#.to_owned(),
        r#"{"name":"\udc00\ud800"}"#.to_owned(),
        r#"{"chatId":"447700900123","chatId":"447700900124"}"#.to_owned(),
        r#"{"metadata":{"a":"1","a":"2"}}"#.to_owned(),
        "{\"name\":\"\u{fffd}".to_owned(),
        format!("{{\"name\":{}}}", "9".repeat(60_000)),
        format!("{{\"name\":1e{}}}", "9".repeat(60_000)),
        "{} {}".to_owned(),
    ] {
        let answer = mint(&process, body.clone()).await;
        let shown: String = body.chars().take(60).collect();
        assert!(matches!(answer.status, 400 | 422), "{shown}: {} {}", answer.status, answer.text);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(answer.text.len() < 4096 && answer.json["code"] != Value::Null, "{}", answer.text);
    }
    // Unknown members are ignored; many of them cost no more than their bytes.
    assert!(matches!(mint(&process, keys(7000)).await.status, 200 | 422));
    let mut many = JoinSet::new();
    let process = std::sync::Arc::new(process);
    for _ in 0..4 {
        for body in [deep(1_500_000), deep(100), "[".repeat(3 << 20), keys(240_000), "{\"a\":".repeat(600_000)] {
            let process = std::sync::Arc::clone(&process);
            many.spawn(async move { webhook(&process, body).await });
        }
    }
    for status in many.join_all().await {
        assert!(matches!(status, 200 | 400 | 413 | 422), "{status}");
    }
    let mut asked = 0..4;
    let slowest = slowest_legitimate_request(&process, || asked.next().is_none()).await;
    let grown = process.peak_rss_kib() - peak;
    eprintln!("{:?}, slowest {slowest:?}, grown {grown} KiB", start.elapsed());
    assert!(grown < 256 * 1024, "{grown} KiB");
}
