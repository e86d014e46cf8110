//! Retries, expiry and crash recovery while people log in.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use countersign::store::LEASE_DURATION;
use serde_json::json;

use crate::{
    Plan,
    daemon::World,
    fakes::RecordingServer,
    load::{Rhythm, Traffic, create_login_with_retries, login, replica, test_store},
    process::Process,
    report::{ChaosReport, longest, say},
};

const RATES: [f64; 5] = [2.0, 5.0, 10.0, 25.0, 50.0];
/// Of each kind, in each cell of the table.
const SAMPLES: usize = 4;
const LIFE: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(60);

/// Seconds; the longest of each.
struct SlowestTimes {
    /// From a failed attempt to the next one, which is due after two.
    retry: f64,
    /// From the end of a link's life to the callback.
    expired: f64,
    /// From the first attempt of a replica that is killed to that of another.
    recovered: f64,
}

pub(crate) async fn run(plan: &Plan, report: &mut ChaosReport) {
    say(format_args!("  {:<34}{:>10}{:>10}{:>12}", "longest, in seconds", "retry", "expired", "recovered"));
    let mut rows = Vec::new();
    for store in ["redis", "embedded"] {
        for (rhythm, word) in [(Rhythm::Regular, "regular"), (Rhythm::Poisson, "Poisson")] {
            for rate in RATES {
                let name = format!("{store}, {word}, {rate} logins/s");
                if !plan.includes(&name) {
                    continue;
                }
                let row = cell(store, rate, rhythm).await;
                let SlowestTimes { retry, expired, recovered } = row;
                say(format_args!("  {name:<34}{retry:>10.2}{expired:>10.2}{recovered:>12.2}"));
                rows.push((name, row));
            }
        }
    }
    for (name, SlowestTimes { retry, expired, recovered }) in rows {
        report.at_most(&format!("{name}: a retry due at +2 s comes at"), retry, 3.0, " s");
        report.at_most(&format!("{name}: link.expired is late by"), expired, 1.5, " s");
        let most = LEASE_DURATION.as_secs_f64() + 2.0;
        report.at_most(&format!("{name}: a dead replica's jobs come after"), recovered, most, " s");
    }
}

async fn cell(store: &str, rate: f64, rhythm: Rhythm) -> SlowestTimes {
    let mut world = World::new(test_store(store));
    world.instance_lines = "expires_min = 10\n".to_owned();
    let mut process = Arc::new(replica(&world).await);
    let mut traffic = Traffic::start(&process, rate, rhythm);
    tokio::time::sleep(Duration::from_secs(1)).await;
    // On one replica: another one would do its duties.
    let (retry, expired) = tokio::join!(retries(&process), expiries(&process));
    let mut logins = 0;
    let recovered = if store == "redis" {
        let victim = replica(&world).await;
        let held = hold_jobs(&victim).await;
        victim.kill();
        recovered(held).await
    } else {
        logins += traffic.stop().await;
        let held = hold_jobs(&process).await;
        process.signal("-KILL");
        // It lets go of the directory when it is gone, a moment later.
        tokio::time::sleep(Duration::from_millis(200)).await;
        process = Arc::new(replica(&world).await);
        traffic = Traffic::start(&process, rate, rhythm);
        recovered(held).await
    };
    logins += traffic.stop().await;
    assert!(logins > 0, "no login succeeded");
    SlowestTimes { retry: longest(&retry), expired: longest(&expired), recovered: longest(&recovered) }
}

/// Callbacks to receivers whose first answer is a failure; the seconds between their two attempts.
async fn retries(process: &Process) -> Vec<f64> {
    let mut receivers = Vec::new();
    for _ in 0..SAMPLES {
        let receiver = RecordingServer::start();
        receiver.fail(500, 1);
        login(process, json!({ "callback": { "success": format!("{}/retry", receiver.url) } })).await;
        receivers.push(receiver);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    between_attempts(&receivers).await
}

/// Links that are never used; by how many seconds each callback is late.
async fn expiries(process: &Process) -> Vec<f64> {
    let receiver = RecordingServer::start();
    let mut ends = HashMap::new();
    for _ in 0..SAMPLES {
        let asked = Instant::now();
        let body = json!({ "expires": LIFE.as_secs(), "callback": { "expired": format!("{}/expired", receiver.url) } });
        let link = create_login_with_retries(process, &body).await;
        ends.insert(link.uuid, asked + LIFE);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    arrivals(&receiver, SAMPLES).await;
    let mut arrived = HashMap::new();
    for callback in receiver.requests() {
        let body = callback.json();
        assert_eq!(body["type"], "link.expired");
        arrived.entry(body["data"]["uuid"].as_str().unwrap().to_owned()).or_insert(callback.at);
    }
    // One that never comes is late for ever.
    let late = |(uuid, end): (&String, &Instant)| {
        arrived.get(uuid).map_or(f64::INFINITY, |at| at.saturating_duration_since(*end).as_secs_f64())
    };
    ends.iter().map(late).collect()
}

/// Receivers that hang, each with an attempt of this process.
async fn hold_jobs(process: &Process) -> Vec<RecordingServer> {
    let mut receivers = Vec::new();
    for _ in 0..SAMPLES {
        let receiver = RecordingServer::start();
        receiver.delay(TIMEOUT);
        login(process, json!({ "callback": { "success": format!("{}/held", receiver.url) } })).await;
        arrivals(&receiver, 1).await;
        receivers.push(receiver);
    }
    receivers
}

/// The process is dead; the seconds until another one has come instead.
async fn recovered(receivers: Vec<RecordingServer>) -> Vec<f64> {
    for receiver in &receivers {
        receiver.delay(Duration::ZERO);
    }
    between_attempts(&receivers).await
}

async fn between_attempts(receivers: &[RecordingServer]) -> Vec<f64> {
    let mut seconds = Vec::new();
    for receiver in receivers {
        arrivals(receiver, 2).await;
        let attempts = receiver.requests();
        seconds.push(attempts.get(1).map_or(f64::INFINITY, |next| (next.at - attempts[0].at).as_secs_f64()));
    }
    seconds
}

async fn arrivals(receiver: &RecordingServer, count: usize) {
    let deadline = Instant::now() + TIMEOUT;
    while receiver.count() < count && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
