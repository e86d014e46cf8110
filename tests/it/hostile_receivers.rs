//! Receivers that do not answer, send byte by byte, never end or send too much: every attempt ends in time and reads
//! little, and healthy receivers get their callbacks meanwhile.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use countersign::egress::{Cause, Egress, EgressError, Policy, REQUEST_TIMEOUT};
use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::{
    daemon::{TestStore, WAHA, World},
    hostile_clients::many_files,
    process::Process,
};

/// How a receiver behaves: it sends `first`, then `more` again and again.
#[derive(Clone, Copy)]
struct ReceiverBehavior {
    name: &'static str,
    first: &'static str,
    more: &'static str,
    pause: Duration,
    /// The result of the attempt. A response with a valid head counts, whatever its body does.
    outcome: Result<u16, Cause>,
}

const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const SIZED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
const NEVER: Duration = Duration::from_hours(1);
const DRIP: Duration = Duration::from_millis(200);
const FAST: Duration = Duration::ZERO;
const TIMEOUT: Result<u16, Cause> = Err(Cause::Timeout);
const BROKEN: Result<u16, Cause> = Err(Cause::Incomplete);
/// 32 KiB.
const MUCH: &str = "$much";

const fn behavior(
    name: &'static str,
    first: &'static str,
    more: &'static str,
    pause: Duration,
    outcome: Result<u16, Cause>,
) -> ReceiverBehavior {
    ReceiverBehavior { name, first, more, pause, outcome }
}

const BEHAVIORS: &[ReceiverBehavior] = &[
    behavior("hangs after accept", "", "", NEVER, TIMEOUT),
    behavior("hangs in the head", "HTTP/1.1 200 OK\r\nx: ", "", NEVER, TIMEOUT),
    behavior("hangs after the head", SIZED, "", NEVER, TIMEOUT),
    behavior("drips the head", "HTTP/1.1 200 OK\r\nx: ", "y", DRIP, TIMEOUT),
    behavior("drips the body", SIZED, "y", DRIP, TIMEOUT),
    behavior("drips chunks", CHUNKED, "1\r\ny\r\n", DRIP, TIMEOUT),
    behavior("endless body", OK, MUCH, FAST, Ok(200)),
    behavior("a TiB", "HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\n", MUCH, FAST, Ok(200)),
    behavior("endless gzip", "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n", MUCH, FAST, Ok(200)),
    behavior("endless tiny chunks", CHUNKED, "1\r\ny\r\n", FAST, Ok(200)),
    behavior(
        "endless chunk extension",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=",
        MUCH,
        FAST,
        BROKEN,
    ),
    behavior(
        "endless trailers",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
        "x: y\r\n",
        FAST,
        BROKEN,
    ),
    behavior("endless header", "HTTP/1.1 200 OK\r\nx: ", MUCH, FAST, BROKEN),
    behavior("endless headers", "HTTP/1.1 200 OK\r\n", "x: y\r\n", FAST, BROKEN),
    behavior("endless status", "HTTP/1.1 200 ", MUCH, FAST, BROKEN),
    behavior("not HTTP", "SSH-2.0-OpenSSH_9.9\r\n", "", NEVER, BROKEN),
    behavior("another protocol", "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", "", NEVER, BROKEN),
];

/// The client reads these for itself: they end with the attempt, however many there were.
const INTERIM: &[ReceiverBehavior] = &[
    behavior("endless 1xx", "", "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", FAST, TIMEOUT),
    behavior("endless 100", "", "HTTP/1.1 100 Continue\r\n\r\n", FAST, TIMEOUT),
];

/// A receiver, and the most bytes it could send on one connection.
struct Receiver {
    address: SocketAddr,
    taken: Arc<AtomicUsize>,
}

impl Receiver {
    async fn start(way: ReceiverBehavior) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, taken) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let most = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, way, Arc::clone(&most)));
            }
        });
        Self { address, taken }
    }
}

async fn serve(mut stream: TcpStream, way: ReceiverBehavior, most: Arc<AtomicUsize>) {
    let mut request = [0; 16 * 1024];
    let _ = stream.read(&mut request).await;
    let more = if way.more == MUCH { "y".repeat(32 << 10) } else { way.more.to_owned() };
    let more = if way.pause == FAST { more.repeat(1.max((16 << 10) / more.len())) } else { more };
    let mut taken = 0;
    let mut next = way.first.to_owned();
    while stream.write_all(next.as_bytes()).await.is_ok() {
        taken += next.len();
        most.fetch_max(taken, Ordering::SeqCst);
        next.clone_from(&more);
        if way.pause == NEVER {
            // Until the client closes the connection.
            let _ = stream.read(&mut request).await;
            return;
        }
        sleep(way.pause).await;
    }
}

fn egress() -> Egress {
    Egress::new(Policy {
        allow_http: true,
        allowed_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..Policy::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_ends_in_time_and_reads_little() {
    let egress = egress();
    let attempts = BEHAVIORS.iter().chain(INTERIM).map(|way| {
        let egress = egress.clone();
        async move {
            let receiver = Receiver::start(*way).await;
            let request = http::Request::post(format!("http://{}/", receiver.address)).body(vec![b'x'; 1000]).unwrap();
            let start = Instant::now();
            let answer = egress.send(request).await;
            let took = start.elapsed();
            let length = answer.as_ref().map_or(0, |answer| answer.body().len());
            let unwritten = answer.as_ref().is_err_and(|error| !error.may_have_arrived);
            let outcome = answer.map(|answer| answer.status().as_u16()).map_err(|error| error.cause);
            // Twice the timeout, for a slow machine.
            let in_time = took < 2 * REQUEST_TIMEOUT;
            // In addition to what is read, the socket buffers of both sides take some.
            let taken = receiver.taken.load(Ordering::SeqCst);
            let little = (taken < 24 << 20 || INTERIM.iter().any(|one| one.name == way.name)) && length <= 64 << 10;
            (outcome != way.outcome || unwritten || !in_time || !little)
                .then(|| format!("{}: {outcome:?} after {took:?}, {length} bytes kept, {taken} taken", way.name))
        }
    });
    let wrong: Vec<String> = join_all(attempts).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_response_is_none() {
    for first in
        ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", CHUNKED, "HTTP/1.1 100 \r\n\r\n"]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(first.as_bytes()).await;
            }
        });
        let answer = egress().send(http::Request::get(url).body(Vec::new()).unwrap()).await;
        let broken = EgressError { cause: Cause::Incomplete, may_have_arrived: true };
        assert_eq!(answer.map(|answer| answer.status()), Err(broken), "{first}");
    }
}

/// A compressed body is passed on as it is: "hello", by gzip.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_decompressed() {
    const HELLO: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcbH\xcd\xc9\xc9\x07\0\x86\xa6\x106\x05\0\0\0";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", HELLO.len());
        stream.write_all(&[head.as_bytes(), HELLO].concat()).await.unwrap();
        String::from_utf8_lossy(&request[..read]).to_lowercase()
    });
    let answer = egress().send(http::Request::get(url).body(Vec::new()).unwrap()).await.unwrap();
    assert_eq!(answer.body(), HELLO);
    assert!(!asked.await.unwrap().contains("accept-encoding"));
}

/// A daemon with eight callbacks for each of them at once.
#[tokio::test(flavor = "multi_thread")]
async fn many_of_them_neither_bloat_the_daemon_nor_delay_healthy_receivers() {
    many_files();
    let world = World::new(TestStore::directory());
    let process = Process::start(&world).await;
    let mut urls = Vec::new();
    for way in BEHAVIORS {
        urls.push(format!("http://{}/x", Receiver::start(*way).await.address));
    }
    let peak = process.peak_rss_kib();
    for (index, url) in urls.iter().cycle().take(urls.len() * 8).enumerate() {
        let minted = process.mint(json!({"callback": {"success": url}})).await.unwrap();
        assert!(
            process.send_message(&format!("4477009{index:05}"), &format!("H{index}"), &minted.text_of("text")).await
        );
    }
    let start = Instant::now();
    let healthy = process.mint(json!({})).await.unwrap();
    assert!(process.send_message("447700900123", "WELL", &healthy.text_of("text")).await);
    world.receiver.wait_for(1).await;
    let took = start.elapsed();
    assert!(took < REQUEST_TIMEOUT, "it waited for those that hang: {took:?}");
    // Receivers that answer get all of their callbacks; those that time out get one at a time.
    let attempts = "countersign_callback_attempt_seconds_count";
    let timeouts = format!("countersign_callback_attempts_total{{instance_id=\"{WAHA}\",result=\"timeout\"}}");
    process.until_metric(attempts, |count| count >= 100.0).await;
    process.until_metric(&timeouts, |count| count >= 10.0).await;
    let grown = process.peak_rss_kib() - peak;
    eprintln!("healthy after {took:?}, grown {grown} KiB, tried after {:?}", start.elapsed());
    assert!(grown < 64 * 1024, "{grown} KiB");
    process.terminate();
}
