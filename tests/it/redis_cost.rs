//! What one request costs Redis: the commands of its scripts included, compared with `redis_cost.txt`.
//!
//! `COUNTERSIGN_BLESS=1 cargo test --test it -- redis_cost` writes the file anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;

use crate::{
    daemon::{TestStore, WAHA, World},
    redis_server::{self, RedisServer},
    wait::until,
};

const RECORDED: &str = include_str!("redis_cost.txt");
const REQUESTS: usize = 20;
/// Costs that differ by no more than this are equal.
const TOLERANCE: f64 = 0.05;

/// A command as `MONITOR` shows it: its name, and the script that it runs or belongs to, or else the kind of its key.
type MonitoredCommand = (String, String);

/// All commands that a Redis receives.
struct Monitor(Arc<Mutex<Vec<MonitoredCommand>>>, Arc<AtomicBool>);

impl Monitor {
    fn start(server: &RedisServer) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seeing, stopped) = (seen.clone(), stop.clone());
        std::thread::spawn(move || {
            let (mut lines, mut line, mut script) = (BufReader::new(stream), String::new(), String::new());
            while !stopped.load(Ordering::Relaxed) {
                // A time-out in the middle of a line leaves its beginning in `line`.
                if lines.read_line(&mut line).is_err() || !line.ends_with('\n') {
                    continue;
                }
                let mut words = line.split('"').skip(1).step_by(2).map(str::to_lowercase);
                if let Some(name) = words.next() {
                    let argument = words.next().unwrap_or_default();
                    let of = match (line.contains(" lua] "), name.as_str()) {
                        (true, _) => script.clone(),
                        (false, "evalsha") => {
                            script.clone_from(&argument);
                            argument
                        }
                        (false, _) => argument.split_once("}:").map_or("", |(_, key)| kind(key)).to_owned(),
                    };
                    seeing.lock().unwrap().push((name, of));
                }
                line.clear();
            }
        });
        Self(seen, stop)
    }

    /// What came since the last call. A command of ours marks the end, because the monitor lags behind.
    async fn take(&self, server: &RedisServer) -> Vec<MonitoredCommand> {
        let _: String = redis::cmd("ECHO").arg("the end").query(&mut server.connection()).unwrap();
        let marked = || self.0.lock().unwrap().iter().any(|(name, _)| name == "echo");
        until("the monitor shows the mark", async || marked()).await;
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Relaxed);
    }
}

/// What stands before the identity in a key.
fn kind(key: &str) -> &str {
    key.split_once(':').map_or(key, |(kind, _)| kind)
}

/// Commands of one request, by name.
type CommandCounts = BTreeMap<String, usize>;

/// Of the requests the one in the middle: a duty that comes rarely falls into few of them.
fn typical(name: &str, mut requests: Vec<CommandCounts>) -> String {
    requests.sort_by_key(|costs| costs.values().sum::<usize>());
    let costs = &requests[requests.len() / 2];
    let mut line = format!("{name}: {} =", costs.values().sum::<usize>());
    for (command, count) in costs {
        write!(line, " {command} {count}").unwrap();
    }
    line
}

/// The sum in a line.
fn total(line: &str) -> f64 {
    line.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("no number in {line:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_costs_the_recorded_commands() {
    let server = Arc::new(redis_server::start());
    let mut world = World::new(TestStore::Redis(server.clone()));
    // What a number's rate costs depends on when it was last asked for.
    world.instance_lines = "[instance.limits]\nreplies_per_second = 0\n".to_owned();
    let daemon = world.start().await;
    // Scripts are loaded by their first use.
    let warm = daemon.create_link(json!({})).await;
    daemon.send_message("447700900100", "WARM", &warm.text).await;
    let sent = daemon.post(&format!("/api/otp/v2/{WAHA}/request-code"), json!({ "chatId": "447700900100" })).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    daemon.settle().await;

    let monitor = Monitor::start(&server);
    // Long enough for every periodic duty that comes often.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle: BTreeSet<MonitoredCommand> = monitor.take(&server).await.into_iter().collect();
    let measured = async || {
        daemon.settle().await;
        let mut costs = CommandCounts::new();
        for command in monitor.take(&server).await {
            // The message log (t) is written behind, in batches; a list's expiry is prolonged once in a while.
            if !idle.contains(&command) && command.1 != "t" && command.0 != "pexpire" {
                *costs.entry(command.0).or_default() += 1;
            }
        }
        costs
    };
    let [mut minted, mut webhook, mut read, mut sent] = [const { Vec::new() }; 4];
    for index in 0..REQUESTS {
        let link = daemon.create_link(json!({})).await;
        minted.push(measured().await);
        daemon.send_message(&format!("4477009002{index:02}"), &format!("M{index}"), &link.text).await;
        webhook.push(measured().await);
        daemon.status(&link.uuid).await;
        read.push(measured().await);
        let body = json!({ "chatId": format!("4477009003{index:02}") });
        daemon.post(&format!("/api/otp/v2/{WAHA}/request-code"), body).await;
        sent.push(measured().await);
    }
    let found = [
        typical("generate-link", minted),
        typical("webhook, with callback and reply", webhook),
        typical("requests/{uuid}", read),
        typical("request-code, with its message and callback", sent),
    ];
    assert_eq!(world.gateway.requests().len(), 2 + 2 * REQUESTS);
    daemon.finish().await;
    if std::env::var_os("COUNTERSIGN_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/redis_cost.txt");
        std::fs::write(path, found.join("\n") + "\n").unwrap();
        return;
    }
    let recorded: Vec<&str> = RECORDED.lines().collect();
    assert_eq!(recorded.len(), found.len(), "redis_cost.txt has other requests");
    for (recorded, found) in recorded.iter().zip(&found) {
        let change = total(found) / total(recorded) - 1.0;
        assert!(change.abs() <= TOLERANCE, "{:+.0} %\nwas {recorded}\nis  {found}", change * 100.0);
    }
}

/// Calls since the start, by command: those of scripts included.
fn calls(server: &RedisServer) -> CommandCounts {
    let stats = server.info("commandstats");
    let count = |line: &str| {
        let (name, calls) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), calls.split(',').next()?.parse().ok()?))
    };
    stats.lines().filter_map(count).collect()
}

/// A lane that is narrow beside what waits in it, in all partitions.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_costs_few_additional_commands_per_job() {
    const LOGINS: usize = 300;
    let server = Arc::new(redis_server::start());
    let mut world = World::new(TestStore::Redis(server.clone()));
    world.instance_lines = "[instance.limits]\nreplies_per_second = 1000000\n".to_owned();
    let daemon = world.start().await;
    let mut links = Vec::new();
    for _ in 0..LOGINS {
        links.push(daemon.create_link(json!({})).await);
    }
    world.gateway.hold();
    world.receiver.hold();
    for (index, link) in links.iter().enumerate() {
        daemon.send_message(&format!("447700901{index:03}"), &format!("M{index}"), &link.text).await;
    }
    let before = calls(&server);
    world.gateway.release();
    world.receiver.release();
    world.receiver.wait_for(LOGINS).await;
    world.gateway.wait_for(LOGINS).await;
    let mut costs = calls(&server);
    for (command, count) in &mut costs {
        *count -= before.get(command).copied().unwrap_or_default();
    }
    costs.retain(|_, count| *count > 0);
    // One settles; what is left is a share of a lease, and of the looks of every second.
    let scripts = costs.get("evalsha").copied().unwrap_or_default();
    let commands: usize = costs.values().sum();
    println!("of {} jobs: {commands} = {costs:?}", 2 * LOGINS);
    assert!(scripts < 2 * 2 * LOGINS, "{scripts} scripts for {} jobs: {costs:?}", 2 * LOGINS);
    assert!(commands < 14 * 2 * LOGINS, "{commands} commands for {} jobs: {costs:?}", 2 * LOGINS);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_list_reads_only_its_own_records() {
    const LINKS: usize = 60;
    const PAGE: usize = 10;
    let server = Arc::new(redis_server::start());
    let world = World::new(TestStore::Redis(server.clone()));
    let daemon = world.start().await;
    for _ in 0..LINKS {
        daemon.create_link(json!({})).await;
    }
    daemon.settle().await;
    let reads = || calls(&server).get("get").copied().unwrap_or_default();
    let before = reads();
    let page = daemon.get(&format!("/api/otp/v2/{WAHA}/requests?limit={PAGE}")).await;
    assert_eq!(page.data("requests").as_array().map(Vec::len), Some(PAGE));
    let read = reads() - before;
    // One more tells whether there is another page; records of one millisecond are read together.
    assert!((PAGE..2 * PAGE).contains(&read), "{read} records for a page of {PAGE}");
    daemon.finish().await;
}
