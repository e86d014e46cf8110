//! How fast and in which order backlogs are processed.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use countersign::domain::InstanceId;
use futures_util::{StreamExt as _, stream};

use crate::{
    Plan,
    daemon::{TestStore, WAHA, World},
    fakes::RecordingServer,
    fill::Filler,
    load::{SentLogin, UNLIMITED, create_logins, lateness, redis, replica, send_at_intervals, test_store},
    process::Process,
    proxy::Proxy,
    report::{ChaosReport, longest, median, percentile, say},
};

const TIMEOUT: Duration = Duration::from_mins(4);

pub(crate) async fn run(plan: &Plan, report: &mut ChaosReport) {
    if plan.includes("backlog") {
        backlog(plan.scale, report).await;
    }
    if plan.includes("distance") {
        distance(plan.scale, report).await;
    }
    if plan.includes("burst") {
        burst(plan.scale, report).await;
    }
    for replicas in [1, 3] {
        if plan.includes(&format!("order {replicas}")) {
            order(replicas, report).await;
        }
    }
}

/// Waits for `count` requests beyond `earlier` ones; the seconds from the first to the last of them.
async fn span(fake: &RecordingServer, earlier: usize, count: usize) -> f64 {
    let deadline = Instant::now() + TIMEOUT;
    while fake.count() < earlier + count && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let arrived: Vec<Instant> = fake.requests().iter().map(|one| one.at).collect();
    assert!(arrived.len() >= earlier + count, "{} of {} came", arrived.len(), earlier + count);
    (arrived[earlier + count - 1] - arrived[earlier]).as_secs_f64()
}

/// Due callbacks beside those of messages that come as fast as they are taken.
async fn backlog(scale: usize, report: &mut ChaosReport) {
    let count = 10_000 * scale;
    let mut world = World::new(test_store("redis"));
    world.instance_lines = UNLIMITED.to_owned();
    let process = replica(&world).await;
    let people = create_logins(&process, count).await;
    let taken =
        stream::iter(&people).map(|person| person.send_with_retries(&process)).buffer_unordered(64).count().await;
    assert_eq!(taken, count);
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let rate = |seconds: f64| count as f64 / seconds;
    let fresh = rate(span(&world.receiver, 0, count).await);
    let filler = Filler::new(&world).await;
    let own: InstanceId = WAHA.parse().unwrap();
    let lane = filler.callbacks(own, &format!("{}/default", world.receiver.url), count).await;
    filler.release(&[lane]).await;
    let drained = rate(span(&world.receiver, count, count).await);
    say(format_args!("backlog of {count}: {fresh:.0}/s fresh, {drained:.0}/s from the backlog"));
    report.at_least("a backlog drains, as a share of fresh ones", drained / fresh, 0.5, "");
}

/// Held replies, with Redis here and 20 ms away.
async fn distance(scale: usize, report: &mut ChaosReport) {
    let count = 1500 * scale;
    let mut seconds = Vec::new();
    for round_trip in [Duration::ZERO, Duration::from_millis(20)] {
        let server = Arc::new(redis());
        let mut world = World::new(TestStore::Redis(Arc::clone(&server)));
        let proxy = Proxy::delayed(server.port, round_trip).await;
        world.store = Some(format!("url = \"redis://127.0.0.1:{}/0\"", proxy.port));
        world.instance_lines = UNLIMITED.to_owned();
        world.gateway.delay(Duration::from_millis(50));
        let process = replica(&world).await;
        let filler = Filler::new(&world).await;
        let lane = filler.replies(WAHA.parse().unwrap(), count).await;
        filler.release(&[lane]).await;
        let took = span(&world.gateway, 0, count).await;
        say(format_args!("distance: Redis {round_trip:?} further away, {count} held replies leave in {took:.2} s"));
        seconds.push(took);
        process.terminate();
    }
    report.at_most("Redis 20 ms away drains, times as long", seconds[1] / seconds[0], 1.5, "");
}

/// 1,500 logins in eight seconds, three replicas, default settings.
async fn burst(scale: usize, report: &mut ChaosReport) {
    let count = 1500 * scale;
    let mut world = World::new(test_store("redis"));
    world.instance_lines = "[instance.limits]\nmint_per_second = 0\ninstance_mint_per_second = 0\n".to_owned();
    let processes = [replica(&world).await, replica(&world).await, replica(&world).await];
    let people = create_logins(&processes[0], count).await;
    let began = Instant::now();
    let pause = Duration::from_secs(8) / u32::try_from(count).unwrap();
    let logins = send_at_intervals(&processes.each_ref(), &people, pause).await;
    let last = logins.iter().map(|login| login.answered).max().unwrap();
    let late = lateness(&world.receiver, &logins, TIMEOUT).await;
    let out = world.receiver.requests().iter().map(|one| one.at).max().unwrap();
    say(format_args!(
        "burst: {count} messages taken in {:.1} s; callbacks late by p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms",
        (last - began).as_secs_f64(),
        median(&late),
        percentile(&late, 99),
        longest(&late)
    ));
    let after = out.saturating_duration_since(last).as_secs_f64();
    report.at_most("all callbacks of a burst are out, after its last message", after, 2.0, " s");
}

/// A number that receives more messages than it may answer.
async fn order(replicas: usize, report: &mut ChaosReport) {
    const RATE: f64 = 20.0;
    const ARRIVALS_PER_SECOND: f64 = 45.0;
    const SECONDS: f64 = 30.0;
    let mut world = World::new(test_store("redis"));
    world.instance_lines = "[instance.limits]\nmint_per_second = 0\ninstance_mint_per_second = 0\n".to_owned();
    let mut processes: Vec<Process> = Vec::new();
    for _ in 0..replicas {
        processes.push(replica(&world).await);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
    let people = create_logins(&processes[0], (ARRIVALS_PER_SECOND * SECONDS) as usize).await;
    let logins = send_at_intervals(
        &processes.iter().collect::<Vec<_>>(),
        &people,
        Duration::from_secs_f64(1.0 / ARRIVALS_PER_SECOND),
    )
    .await;
    span(&world.gateway, 0, logins.len()).await;
    let (overtaken, waited) = served(&world.gateway, &logins);
    let mut lapsed = 0.0;
    for process in &processes {
        lapsed += process.metric("countersign_leases_lost_total{kind=\"reply\"}").await;
    }
    let ideal = (ARRIVALS_PER_SECOND / RATE - 1.0) * SECONDS;
    say(format_args!(
        "order {replicas}: {} replies at {RATE}/s; waited p50 {:.1} s, at most {:.1} s, {ideal:.1} s with a perfect queue; \
         overtaken by one that came later by p50 {:.2} s, p99 {:.2} s, at most {:.2} s; {lapsed} leases ran out",
        logins.len(),
        median(&waited),
        longest(&waited),
        median(&overtaken),
        percentile(&overtaken, 99),
        longest(&overtaken)
    ));
    report.at_most(
        &format!("order {replicas}: the longest wait beside a perfect queue"),
        longest(&waited),
        ideal * 1.1 + 2.0,
        " s",
    );
    report.at_most(
        &format!("order {replicas}: a reply is overtaken by one that came later"),
        longest(&overtaken),
        2.0,
        " s",
    );
}

/// Of each reply: how long after its message was answered one was sent that got its reply before, in seconds, and how
/// long it took.
fn served(gateway: &RecordingServer, logins: &[SentLogin]) -> (Vec<f64>, Vec<f64>) {
    let logins: HashMap<String, &SentLogin> =
        logins.iter().map(|login| (format!("{}@c.us", login.number), login)).collect();
    let mut newest: Option<Instant> = None;
    let (mut overtaken, mut waited) = (Vec::new(), Vec::new());
    for reply in gateway.requests() {
        let login = logins[reply.json()["chatId"].as_str().unwrap()];
        let later = newest.map_or(Duration::ZERO, |newest| newest.saturating_duration_since(login.answered));
        overtaken.push(later.as_secs_f64());
        newest = newest.max(Some(login.sent));
        waited.push(reply.at.saturating_duration_since(login.answered).as_secs_f64());
    }
    (overtaken, waited)
}
