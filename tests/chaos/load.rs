//! Logins under load, and when their callbacks arrive.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use countersign::random;
use futures_util::{StreamExt as _, future::join_all, stream};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    daemon::{TestStore, World},
    fakes::RecordingServer,
    process::Process,
    redis_server::{self, RedisServer, free_port},
};

/// Limits switched off, so that the load test measures the daemon.
pub(crate) const UNLIMITED: &str =
    "[instance.limits]\nmint_per_second = 0\ninstance_mint_per_second = 0\nreplies_per_second = 0\n";

/// A Redis with `appendfsync everysec`, so that writes do not wait for the disk.
pub(crate) fn redis() -> RedisServer {
    redis_server::start_with(vec!["--appendfsync".to_owned(), "everysec".to_owned()])
}

/// The store of the daemons under test: `redis` or `embedded`.
pub(crate) fn test_store(store: &str) -> TestStore {
    if store == "redis" { TestStore::Redis(Arc::new(redis())) } else { TestStore::directory() }
}

/// Starts a `serve` process that logs errors only.
pub(crate) async fn replica(world: &World) -> Process {
    let (port, operator) = (free_port(), free_port());
    let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
    Process::with(port, operator, &text.replace("level = \"trace\"", "level = \"error\""), &[]).await
}

/// A created link, and the number that will send its message.
pub(crate) struct PendingLogin {
    pub(crate) uuid: String,
    pub(crate) number: String,
    text: String,
}

/// A message that was answered 200.
pub(crate) struct SentLogin {
    pub(crate) uuid: String,
    pub(crate) number: String,
    /// When the message was first sent.
    pub(crate) sent: Instant,
    pub(crate) answered: Instant,
}

pub(crate) async fn create_login(process: &Process, body: Value) -> Option<PendingLogin> {
    let minted = process.mint(body).await?;
    Some(PendingLogin { uuid: minted.text_of("uuid"), number: next_number(), text: minted.text_of("text") })
}

/// A number that no other login uses.
fn next_number() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("4477{:08}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// As [`create_login`], repeated until it succeeds.
pub(crate) async fn create_login_with_retries(process: &Process, body: &Value) -> PendingLogin {
    retry("a link", async || create_login(process, body.clone()).await).await
}

pub(crate) async fn create_logins(process: &Process, count: usize) -> Vec<PendingLogin> {
    let minting = stream::iter(0..count).map(|_| async { create_login_with_retries(process, &json!({})).await });
    minting.buffer_unordered(16).collect().await
}

/// Repeats a request that fails: on an overloaded machine the daemon responds 503 now and then.
async fn retry<T>(what: &str, attempt: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..200 {
        if let Some(done) = attempt().await {
            return done;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never answered 200: {what}");
}

impl PendingLogin {
    /// The same message from another number.
    pub(crate) fn another(self) -> Self {
        Self { number: next_number(), ..self }
    }

    /// Posts the webhook once.
    pub(crate) async fn send_message(&self, process: &Process) -> Option<SentLogin> {
        let sent = Instant::now();
        let accepted = process.send_message(&self.number, &self.uuid, &self.text).await;
        accepted.then(|| SentLogin {
            uuid: self.uuid.clone(),
            number: self.number.clone(),
            sent,
            answered: Instant::now(),
        })
    }

    /// Posts the webhook until it is answered 200, as gateways do.
    pub(crate) async fn send_with_retries(&self, process: &Process) -> SentLogin {
        let sent = Instant::now();
        let login = retry("a message", async || self.send_message(process).await).await;
        SentLogin { sent, ..login }
    }
}

/// Creates a link and sends its message.
pub(crate) async fn login(process: &Process, body: Value) -> SentLogin {
    create_login_with_retries(process, &body).await.send_with_retries(process).await
}

/// Sends messages at fixed times, `pause` apart, even if earlier ones are still in progress; to these processes in
/// turn.
pub(crate) async fn send_at_intervals(
    processes: &[&Process],
    people: &[PendingLogin],
    pause: Duration,
) -> Vec<SentLogin> {
    let start = tokio::time::Instant::now();
    let said = people.iter().enumerate().map(|(place, person)| async move {
        let due = start + pause * u32::try_from(place).unwrap();
        tokio::time::sleep_until(due).await;
        person.send_with_retries(processes[place % processes.len()]).await
    });
    join_all(said).await
}

/// When each callback of a verified link first arrived.
pub(crate) fn first_callbacks(receiver: &RecordingServer) -> HashMap<String, Instant> {
    let mut first = HashMap::new();
    for callback in receiver.requests() {
        let body = callback.json();
        if body["type"] == "link.verified" {
            first.entry(body["data"]["uuid"].as_str().unwrap().to_owned()).or_insert(callback.at);
        }
    }
    first
}

/// Every callback of a verified link, by its uuid: the id and the body.
pub(crate) fn copies(receiver: &RecordingServer) -> HashMap<String, Vec<(String, Vec<u8>)>> {
    let mut copies: HashMap<String, Vec<_>> = HashMap::new();
    for callback in receiver.requests() {
        let body = callback.json();
        if body["type"] == "link.verified" {
            let uuid = body["data"]["uuid"].as_str().unwrap().to_owned();
            copies.entry(uuid).or_default().push((callback.header("webhook-id").to_owned(), callback.body));
        }
    }
    copies
}

/// Whether a receiver cannot recognize them as copies of one callback.
pub(crate) fn differ(copies: &[(String, Vec<u8>)]) -> bool {
    copies.iter().any(|copy| *copy != copies[0])
}

/// Milliseconds from the response to the gateway to the callback; infinite for one that did not arrive within
/// `patience`.
pub(crate) async fn lateness(receiver: &RecordingServer, logins: &[SentLogin], patience: Duration) -> Vec<f64> {
    let deadline = Instant::now() + patience;
    loop {
        let first = first_callbacks(receiver);
        if logins.iter().all(|login| first.contains_key(&login.uuid)) || Instant::now() > deadline {
            let late = |login: &SentLogin| {
                first
                    .get(&login.uuid)
                    .map_or(f64::INFINITY, |at| at.saturating_duration_since(login.answered).as_secs_f64() * 1e3)
            };
            return logins.iter().map(late).collect();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Distribution of the times between two logins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rhythm {
    Regular,
    Poisson,
}

/// Logins at a constant rate until it is stopped.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    pub(crate) taken: Arc<AtomicUsize>,
    running: JoinHandle<()>,
}

impl Traffic {
    pub(crate) fn start(process: &Arc<Process>, per_second: f64, rhythm: Rhythm) -> Self {
        let (stop, taken, process) = (Arc::new(AtomicBool::new(false)), Arc::<AtomicUsize>::default(), process.clone());
        let (stopped, counted) = (stop.clone(), taken.clone());
        let running = tokio::spawn(async move {
            let mut due = tokio::time::Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                tokio::time::sleep_until(due).await;
                due += Duration::from_secs_f64(match rhythm {
                    Rhythm::Regular => 1.0 / per_second,
                    Rhythm::Poisson => -(1.0 - random::fraction()).max(1e-9).ln() / per_second,
                });
                let (process, counted) = (process.clone(), counted.clone());
                tokio::spawn(async move {
                    let Some(person) = create_login(&process, json!({})).await else { return };
                    if person.send_message(&process).await.is_some() {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self { stop, taken, running }
    }

    /// How many logins there were.
    pub(crate) async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.running.await.unwrap();
        self.taken.load(Ordering::Relaxed)
    }
}
