//! Faults that page an operator, on a running daemon: `status` names the cause, and the series of the alert changes.
//! Failed callbacks are shown with the receiver's host.

use std::{
    fmt::Write as _,
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    daemon::{InstanceBlock, TestStore, WAHA, World, client, message, signed_waha},
    process::Process,
    redis_server::{self, RedisServer, free_port},
};

/// Height of a terminal.
const SCREEN: usize = 50;

fn status(operator: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign")).args(["status", "--operator-url", operator]).output();
    let output = output.unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Asks until one output contains all of it.
async fn shows(process: &Process, expected: &[&str]) -> String {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let screen = status(&process.operator);
        if expected.iter().all(|text| screen.contains(text)) {
            assert!(screen.lines().count() <= SCREEN, "{screen}");
            return screen;
        }
        assert!(Instant::now() < deadline, "{expected:?} never in\n{screen}\n{}", process.output());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn wait_for_increase(process: &Process, series: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while process.metric(series).await < 1.0 {
        assert!(Instant::now() < deadline, "{series} in\n{}", process.operator("/metrics").await.text);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn log_in(process: &Process, number: &str, body: Value) {
    let minted = process.mint(body).await.unwrap();
    assert!(process.send_message(number, number, &minted.text_of("text")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logged_out_gateway_and_a_wrong_secret_are_shown() {
    let world = World::new(TestStore::directory());
    world.gateway.fail(401, u64::MAX);
    let process = Process::start(&world).await;
    log_in(&process, "447700900123", json!({})).await;
    shows(&process, &["Harbour", "it refuses our credentials", "reply"]).await;
    wait_for_increase(&process, &format!("countersign_numbers_refused{{instance_id=\"{WAHA}\"}}")).await;

    let now = countersign::clock::Clock::default().wall().as_second();
    let mut forged = signed_waha(&process.base, &message("447700900124", "F1", "hello", now));
    forged.headers_mut().insert("x-webhook-hmac", "00".repeat(64).parse().unwrap());
    assert_eq!(process.client.send(forged).await.unwrap().status().as_u16(), 401);
    shows(&process, &["webhook", "wrong signature"]).await;
    // As from another store or another key.
    assert!(process.send_message("447700900125", "U1", "[ZZZZZZZZZZZZZZ]").await);
    let screen = shows(&process, &["message", "code_unknown"]).await;
    assert!(!screen.contains("4477"), "{screen}");
    process.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failing_receiver_is_shown_with_its_cause() {
    let mut world = World::new(TestStore::directory());
    // Here names do not resolve, and no certificate is trusted.
    world.instance_lines = "[instance.limits]\nreplies_per_second = 100\n".to_owned();
    let broken = crate::fakes::RecordingServer::start();
    broken.fail(500, u64::MAX);
    let moved = crate::fakes::RecordingServer::start();
    moved.fail(404, u64::MAX);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (hangs, refuses) = (silent.local_addr().unwrap().to_string(), format!("127.0.0.1:{}", free_port()));
    let untrusted = format!("127.0.0.1:{}", crate::egress_corpus::tls_server("expired").await.0);
    let process = Process::start(&world).await;
    let cases = [
        (broken.url.clone(), format!("{}: status 500", broken.url.trim_start_matches("http://"))),
        (moved.url.clone(), format!("{}: status 404", moved.url.trim_start_matches("http://"))),
        (format!("http://{hangs}"), format!("{hangs}: timeout")),
        (format!("http://{refuses}"), format!("{refuses}: connect")),
        ("https://receiver.invalid".to_owned(), "receiver.invalid: dns".to_owned()),
        (format!("https://{untrusted}"), format!("{untrusted}: tls")),
    ];
    for (index, (url, _)) in cases.iter().enumerate() {
        let body = json!({ "callback": { "success": format!("{url}/secret-path?key=1") } });
        log_in(&process, &format!("44770090010{index}"), body).await;
    }
    let expected: Vec<&str> = cases.iter().map(|(_, shown)| shown.as_str()).collect();
    let screen = shows(&process, &expected).await;
    assert!(!screen.contains("secret-path"), "{screen}");
    let queue = screen.lines().find(|line| line.contains("wait, the oldest for ")).unwrap_or_default();
    let seconds = |before: &str| queue.split_once(before)?.1.split(' ').next()?.parse::<u64>().ok();
    // Since its next attempt was due, which is later than its first one.
    assert!(seconds("overdue by ") < seconds("the oldest for "), "{screen}");
    for result in ["status_5xx", "status_4xx", "timeout", "connect", "dns", "tls"] {
        let labels = format!("instance_id=\"{WAHA}\",result=\"{result}\"");
        wait_for_increase(&process, &format!("countersign_callback_attempts_total{{{labels}}}")).await;
    }
    process.terminate();
}

fn set_maxmemory(server: &RedisServer, limit: &str) {
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(limit).exec(&mut server.connection()).unwrap();
}

fn store_config(server: &RedisServer, durability: &str) -> String {
    format!("url = \"{}\"\ndurability = \"{durability}\"", server.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_is_shown() {
    let server = redis_server::start();
    let mut world = World::new(TestStore::directory());
    world.store = Some(store_config(&server, "standard"));
    let process = Process::start(&world).await;
    let set = |limit: &str| set_maxmemory(&server, limit);
    set("1mb");
    while process.mint(json!({})).await.is_some() {}
    shows(&process, &["!! refused", "the store is full", "% of its capacity is used", "of 1.00M used"]).await;
    let text = process.operator("/metrics").await.text;
    let full =
        text.lines().find(|line| line.starts_with("countersign_store_errors_total") && line.contains("\"full\""));
    assert!(full.is_some(), "{text}");
    assert!(
        process.metric("countersign_store_used_bytes").await > process.metric("countersign_store_limit_bytes").await
    );
    set("0");
    process.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_redis_replica_is_shown() {
    let master = redis_server::start();
    let replica = redis_server::start_replica_of(&master);
    let mut world = World::new(TestStore::directory());
    world.store = Some(store_config(&master, "durable"));
    let process = Process::start(&world).await;
    replica.signal("-KILL");
    shows(&process, &["Redis has no replica", "every write is refused"]).await;
    wait_for_increase(&process, "countersign_store_replicas_missing").await;
    assert!(process.mint(json!({})).await.is_none());
    shows(&process, &["!! refused", "no replica has it"]).await;
    wait_for_increase(&process, "countersign_store_errors_total{operation=\"commit\",cause=\"unavailable\"}").await;
    process.terminate();
}

/// Without any login, so that only the daemon's own test writes are refused. The best of six, as other tests load the
/// machine.
async fn shows_in_time(process: &Process, refuse: impl Fn(), allow: impl Fn(), expected: &[&str]) {
    const BOUND: Duration = Duration::from_secs(6);
    let refuses = "countersign_store_refuses_writes";
    let mut took = Vec::new();
    while took.len() < 6 && took.last().is_none_or(|took| *took >= BOUND) {
        process.until_metric(refuses, |value| value < 1.0).await;
        refuse();
        let start = Instant::now();
        process.until_metric(refuses, |value| value > 0.0).await;
        shows(process, expected).await;
        took.push(start.elapsed());
        allow();
    }
    assert!(took.last().is_some_and(|took| *took < BOUND), "{expected:?}: {took:?}");
    process.until_metric(refuses, |value| value < 1.0).await;
    shows(process, &["ready, up since"]).await;
    assert!(!status(&process.operator).contains("takes no new work"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_rejects_writes_is_shown_without_any_login() {
    let server = redis_server::start();
    let mut world = World::new(TestStore::directory());
    world.store = Some(store_config(&server, "standard"));
    let process = Process::start(&world).await;
    let set = |limit: &str| set_maxmemory(&server, limit);
    let full = ["ready, up since", "!! has refused new work for ", "the store is full", "!! refused trial"];
    shows_in_time(&process, || set("1mb"), || set("0"), &full).await;
    let away = ["!! does not answer; ", "!! has refused new work for ", "nothing listens"];
    shows_in_time(&process, || server.signal("-KILL"), || server.restart(), &away).await;
    process.terminate();

    let master = redis_server::start();
    let replica = redis_server::start_replica_of(&master);
    world.store = Some(store_config(&master, "durable"));
    let process = Process::start(&world).await;
    let gone = ["ready, up since", "!! has refused new work for ", "no replica has it", "Redis has no replica"];
    let back = || {
        replica.restart();
        let follow = ["REPLICAOF", "127.0.0.1", &master.port.to_string()].map(str::to_owned);
        redis::cmd(&follow[0]).arg(&follow[1..]).exec(&mut replica.connection()).unwrap();
    };
    shows_in_time(&process, || replica.signal("-KILL"), back, &gone).await;
    process.terminate();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "waits until figures are old: tests/run --long"]
async fn a_read_only_and_then_stopped_redis_is_shown() {
    let server = redis_server::start();
    let mut world = World::new(TestStore::directory());
    world.store = Some(store_config(&server, "standard"));
    let process = Process::start(&world).await;
    shows(&process, &["master"]).await;
    let unused_port = free_port();
    let follow = |host: &str, port: &str| {
        redis::cmd("REPLICAOF").arg(host).arg(port).exec(&mut server.connection()).unwrap();
    };
    follow("127.0.0.1", &unused_port.to_string());
    let screen = shows(&process, &["NOT READY", "READONLY", "Redis says: You can't write", ", slave,"]).await;
    assert!(!screen.contains(", master,"), "{screen}");
    wait_for_increase(&process, "countersign_store_errors_total{operation=\"probe\",cause=\"unavailable\"}").await;
    follow("NO", "ONE");
    process.wait_until_ready().await;
    server.signal("-KILL");
    // Older figures are marked as such.
    shows(
        &process,
        &[
            "NOT READY",
            "does not answer;",
            "s ago: Redis",
            "nothing listens at the address in store.url",
            "queues !! as of",
        ],
    )
    .await;
    server.restart();
    process.wait_until_ready().await;
    process.terminate();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs libfaketime: tests/run --long"]
async fn a_wrong_clock_is_shown() {
    let faketime = std::env::var_os("COUNTERSIGN_FAKETIME").expect("the path of libfaketime.so.1");
    let faketime = faketime.to_str().unwrap();
    let world = World::new(TestStore::redis());
    let (port, operator) = (free_port(), free_port());
    let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
    let environment = [("LD_PRELOAD", faketime), ("FAKETIME", "+400s"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    let process = Process::with(port, operator, &text, &environment).await;
    shows(&process, &["!! this host's clock is off by "]).await;
    wait_for_increase(&process, "countersign_clock_offset_seconds").await;
    process.terminate();
}

#[test]
fn a_plain_public_url_is_refused_with_the_reason() {
    let world = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut world = World::new(TestStore::directory());
        world.public_url = "http://wa.example.org".to_owned();
        world.config("127.0.0.1:0", "127.0.0.1:0")
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), world).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_countersign")).args(["serve", "--config"]).arg(file.path()).output();
    let output = output.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{error}");
    assert!(error.contains("public_url") && error.contains("loopback"), "{error}");
}

/// With a thousand tenants, a tenth of them in use, a scrape and the status stay small.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tenants_fit_into_a_small_scrape_and_one_screen() {
    const TENANTS: usize = 1_000;
    const USED: usize = 100;
    let mut world = World::new(TestStore::directory());
    let id = |number: usize| format!("5f0c2a90-0000-4000-8000-0000000{number:05}");
    let token = |number: usize| format!("cst_token-of-tenant-{number:05}-0123456789");
    for number in 100..TENANTS + 98 {
        let block = InstanceBlock {
            id: &id(number),
            name: &format!("Tenant {number}"),
            number: &format!("+4477009{number:05}"),
            token: &token(number),
            lines: "",
            gateway: "kind = \"waha\"\nurl = \"http://127.0.0.1:1\"\napi_key = \"waha-api-key-0123456789\"\n\
                      webhook_secret = \"waha-hmac-key-0123456789abcdef\"",
        };
        write!(world.more_instances, "{block}").unwrap();
    }
    let text = world.config("127.0.0.1:PORT", "127.0.0.1:OPERATOR");
    let text = text.replace("level = \"trace\"", "level = \"warn\"");
    let (port, operator) = (free_port(), free_port());
    let text = text.replace("127.0.0.1:PORT", &format!("127.0.0.1:{port}"));
    let text = text.replace("127.0.0.1:OPERATOR", &format!("127.0.0.1:{operator}"));
    let process = Process::with(port, operator, &text, &[]).await;
    for number in 100..100 + USED {
        let request = http::Request::post(format!("{}/api/otp/v2/{}/generate-link", process.base, id(number)))
            .header("authorization", format!("Bearer {}", token(number)))
            .header("content-type", "application/json")
            .body(b"{}".to_vec())
            .unwrap();
        assert_eq!(process.client.send(request).await.unwrap().status().as_u16(), 200);
    }
    let request = http::Request::get(format!("{}/metrics", process.operator)).body(Vec::new()).unwrap();
    let scrape = client().with_max_response_len(64 << 20).send(request).await.unwrap();
    let scrape = String::from_utf8_lossy(scrape.body()).into_owned();
    assert_eq!(scrape.matches("countersign_instance_info{").count(), TENANTS);
    let minted = format!("countersign_links_minted_total{{instance_id=\"{}\"}}", id(100));
    assert!(scrape.contains(&format!("{minted} 1\n")), "{minted}");
    println!("{} bytes, {} lines", scrape.len(), scrape.lines().count());
    assert!(scrape.len() < 1_000_000, "{} bytes, {} lines", scrape.len(), scrape.lines().count());
    let screen = shows(&process, &["ready, up since", "more; `--json` has all of them"]).await;
    assert!(screen.matches("no webhook yet").count() <= 20, "only some are listed: {screen}");
    process.terminate();
}

/// With `PROMETHEUS`, the path of the server: Prometheus evaluates the shipped rules over scrapes of a running daemon.
/// Redis stops and starts, and the alert fires and resolves.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes, and needs Prometheus: tests/run --long"]
async fn prometheus_fires_and_resolves_the_shipped_alert() {
    let prometheus = std::env::var_os("PROMETHEUS").expect("the path of the server");
    let server = redis_server::start();
    let mut world = World::new(TestStore::directory());
    world.store = Some(store_config(&server, "standard"));
    let process = Process::start(&world).await;
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = format!(
        "global: {{scrape_interval: 2s, evaluation_interval: 2s}}\n\
         rule_files: [\"{}/deploy/helm/countersign/files/alerts.yaml\"]\n\
         scrape_configs:\n  - job_name: countersign\n    static_configs: [{{targets: [\"{}\"]}}]\n",
        env!("CARGO_MANIFEST_DIR"),
        process.operator.trim_start_matches("http://"),
    );
    let file = directory.path().join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let mut child = Command::new(prometheus)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--log.level=error")
        .spawn()
        .unwrap();
    let base = format!("http://127.0.0.1:{port}/api/v1");
    let outcome = tokio::spawn(async move {
        let start = Instant::now();
        until_alert(&base, &process, "inactive").await;
        server.signal("-KILL");
        until_alert(&base, &process, "firing").await;
        println!("firing {} s after the start", start.elapsed().as_secs());
        server.restart();
        until_alert(&base, &process, "inactive").await;
        println!("inactive {} s after the start", start.elapsed().as_secs());
        process.terminate();
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    outcome.unwrap();
}

/// The state of `StoreUnavailable`, once the daemon was scraped and the rule evaluated.
async fn until_alert(base: &str, process: &Process, wanted: &str) {
    let deadline = Instant::now() + Duration::from_secs(300);
    let mut seen = Value::Null;
    while Instant::now() < deadline {
        let query = http::Request::get(format!("{base}/query?query=countersign_ready")).body(Vec::new()).unwrap();
        let scraped = match process.client.send(query).await {
            Ok(answer) => String::from_utf8_lossy(answer.body()).contains("countersign_ready"),
            Err(_) => false,
        };
        let request = http::Request::get(format!("{base}/alerts")).body(Vec::new()).unwrap();
        if let Ok(answer) = process.client.send(request).await
            && scraped
        {
            seen = serde_json::from_slice(answer.body()).unwrap_or_default();
            let alerts = seen["data"]["alerts"].as_array().cloned().unwrap_or_default();
            let ours = alerts.iter().find(|alert| alert["labels"]["alertname"] == "StoreUnavailable");
            if ours.map_or("inactive", |alert| alert["state"].as_str().unwrap()) == wanted {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("never {wanted}: {seen:#}");
}
