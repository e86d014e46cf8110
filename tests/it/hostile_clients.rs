//! Slow clients: none keeps its connection open without end, or delays other clients.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    daemon::{TOKEN, TestStore, WAHA, World},
    process::Process,
    wait::within_timeout,
};

const GET: &str = "GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n";
const MANUAL: &str = "GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n";

pub(crate) fn address(process: &Process) -> SocketAddr {
    process.base.trim_start_matches("http://").parse().unwrap()
}

/// Raises the limit of open files: these tests open many connections.
pub(crate) fn many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// Serves legitimate requests during an attack; returns how long the slowest took.
pub(crate) async fn slowest_legitimate_request(process: &Process, mut over: impl FnMut() -> bool) -> Duration {
    let mut slowest = Duration::ZERO;
    while !over() {
        let start = Instant::now();
        assert!(process.mint(json!({})).await.is_some(), "a legitimate request was refused");
        slowest = slowest.max(start.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
    slowest
}

/// Sends `first`, then `more` repeatedly, and reads whatever comes, until the daemon closes the connection.
async fn drip(address: SocketAddr, first: Vec<u8>, more: &'static [u8], pause: Duration) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    if to.write_all(&first).await.is_err() {
        return;
    }
    let mut answer = vec![0; 65536];
    loop {
        match timeout(pause, from.read(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => return,
            Err(_) if to.write_all(more).await.is_err() => return,
            Ok(Ok(_)) | Err(_) => {}
        }
    }
}

/// Requests more than the kernel buffers, and reads a byte now and then.
async fn read_slowly(address: SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let ask = async {
        // Eight megabytes of responses; the kernel buffers four.
        for _ in 0..12 {
            stream.write_all(MANUAL.as_bytes()).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let _ = timeout(Duration::from_secs(5), ask).await;
    let mut byte = [0];
    while let Ok(Ok(1)) = timeout(Duration::from_mins(1), stream.read(&mut byte)).await {
        sleep(Duration::from_millis(500)).await;
    }
}

/// Sends chunks as fast as possible.
async fn send_endlessly(address: SocketAddr, head: String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let reader = tokio::spawn(async move {
        let mut answer = Vec::new();
        let _ = from.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    });
    let _ = to.write_all(head.as_bytes()).await;
    while to.write_all(b"400\r\n").await.is_ok()
        && to.write_all(&[b' '; 1024]).await.is_ok()
        && to.write_all(b"\r\n").await.is_ok()
    {
        sleep(Duration::from_millis(1)).await;
    }
    let answer = reader.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 4") || answer.is_empty(), "{answer}");
}

fn post(headers: &str) -> String {
    format!(
        "POST /api/otp/v2/{WAHA}/generate-link HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{headers}\r\n"
    )
}

/// Sends one request and keeps the connection open, as a gateway's connection pool does.
async fn idle(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    send_request(&mut stream).await;
    stream
}

async fn send_request(stream: &mut TcpStream) {
    stream.write_all(GET.as_bytes()).await.unwrap();
    let mut answer = [0; 4096];
    let read = within_timeout("an answer", stream.read(&mut answer)).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 404"));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_disconnected() {
    many_files();
    let mut world = World::new(TestStore::directory());
    world.top_level_lines = "[limits]\npages_per_minute = 0\nwrong_tokens_per_minute = 0\n".to_owned();
    let process = Process::start(&world).await;
    let address = address(&process);
    for _ in 0..20 {
        process.mint(json!({})).await.unwrap();
    }
    let (files, peak) = (process.open_files(), process.peak_rss_kib());

    let mut opening = JoinSet::new();
    for _ in 0..1000 {
        opening.spawn(idle(address));
    }
    let mut idle = opening.join_all().await;
    let start = Instant::now();
    let mut slow = JoinSet::new();
    let second = Duration::from_secs(1);
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    for _ in 0..500 {
        slow.spawn(drip(address, b"GET / HTTP/1.1\r\nx: ".to_vec(), b"x", second));
    }
    for _ in 0..50 {
        slow.spawn(drip(address, Vec::new(), b"", second * 5));
        slow.spawn(drip(address, format!("{GET}GET /").into(), b"x", second));
        slow.spawn(drip(address, GET.into(), b"\r\n", second));
        slow.spawn(drip(address, post(&format!("{bearer}content-length: 60000\r\n")).into(), b" ", second));
        slow.spawn(drip(
            address,
            post(&format!("{bearer}transfer-encoding: chunked\r\n")).into(),
            b"1\r\n \r\n",
            second,
        ));
        slow.spawn(drip(address, post("transfer-encoding: chunked\r\n").into(), b"1\r\n \r\n", second));
    }
    for _ in 0..10 {
        slow.spawn(send_endlessly(address, post(&format!("{bearer}transfer-encoding: chunked\r\n"))));
        slow.spawn(send_endlessly(address, post("transfer-encoding: chunked\r\n")));
    }
    for _ in 0..40 {
        slow.spawn(read_slowly(address));
    }
    // All slow connections are closed, and all idle ones are open: they may stay for 75 seconds.
    let gone = || process.open_files() <= files + idle.len() + 8 && start.elapsed() > Duration::from_secs(5);
    let over = || gone() || start.elapsed() > Duration::from_secs(60);
    let slowest = slowest_legitimate_request(&process, over).await;
    assert!(gone(), "{} of {files} files are open after {:?}", process.open_files(), start.elapsed());
    assert!(process.open_files() > files + 900, "connections that are idle between requests may stay");
    // Beside all other tests, on a busy machine.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let grown = process.peak_rss_kib() - peak;
    assert!(grown < 160 * 1024, "{grown} KiB");
    for stream in idle.iter_mut().step_by(100) {
        send_request(stream).await;
    }
    eprintln!("all gone after {:?}, slowest legitimate {slowest:?}, grown {grown} KiB", start.elapsed());
    process.terminate();
}
