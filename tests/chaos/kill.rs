//! A replica is killed every two seconds while people log in. For each message that was answered 200, the app must
//! receive one callback, or several with the same id and body.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use countersign::{random, store::LEASE_DURATION};
use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::RwLock;

use crate::{
    Plan,
    daemon::World,
    load::{SentLogin, UNLIMITED, copies, create_login, differ, first_callbacks, replica, test_store},
    process::Process,
    report::{ChaosReport, percentile, say},
};

const TIMEOUT: Duration = Duration::from_secs(90);
const PER_SECOND: u32 = 40;

struct Trial {
    store: &'static str,
    replicas: usize,
    logins: usize,
    /// Time between two kills. Longer for a single process, which must start again in between.
    pause: Duration,
}

pub(crate) async fn run(plan: &Plan, report: &mut ChaosReport) {
    let trials = [
        Trial { store: "redis", replicas: 3, logins: 15_000 * plan.scale, pause: Duration::from_secs(2) },
        Trial { store: "embedded", replicas: 1, logins: 5_000 * plan.scale, pause: Duration::from_secs(4) },
    ];
    for trial in trials.iter().filter(|trial| plan.includes(trial.store)) {
        run_one(trial, report).await;
    }
}

/// The processes of a trial; an entry is `None` while a new process starts.
type Replicas = Vec<RwLock<Option<Process>>>;

async fn run_one(trial: &Trial, report: &mut ChaosReport) {
    let mut world = World::new(test_store(trial.store));
    world.instance_lines = UNLIMITED.to_owned();
    let mut replicas = Replicas::new();
    for _ in 0..trial.replicas {
        replicas.push(RwLock::new(Some(replica(&world).await)));
    }
    let (done, kills, taken) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let start = tokio::time::Instant::now();
    let people = async {
        let one = async |place: usize| {
            tokio::time::sleep_until(start + Duration::from_secs(1) / PER_SECOND * u32::try_from(place).unwrap()).await;
            let login = log_in_with_retries(&replicas, place).await;
            taken.lock().unwrap().push(login);
        };
        join_all((0..trial.logins).map(one)).await;
        done.store(true, Ordering::Relaxed);
    };
    let killing = async {
        while !done.load(Ordering::Relaxed) {
            tokio::time::sleep(trial.pause).await;
            let place = usize::from(random::bytes::<1>()[0]) % replicas.len();
            kill(&replicas[place], &world).await;
            kills.fetch_add(1, Ordering::Relaxed);
        }
    };
    tokio::join!(people, killing);
    let taken = taken.into_inner().unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while first_callbacks(&world.receiver).len() < taken.len() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Repeated callbacks may still arrive.
    tokio::time::sleep(LEASE_DURATION + Duration::from_secs(3)).await;
    judge(trial, &world, &taken, kills.into_inner(), report);
}

/// Kills a process with SIGKILL, and starts another one in its place.
async fn kill(place: &RwLock<Option<Process>>, world: &World) {
    if let Some(process) = place.read().await.as_ref() {
        process.signal("-KILL");
    }
    let dead = place.write().await.take();
    if let Some(dead) = dead {
        dead.kill();
    }
    let next = replica(world).await;
    *place.write().await = Some(next);
}

/// One login, whose app and gateway repeat requests without a response at the next replica.
async fn log_in_with_retries(replicas: &Replicas, place: usize) -> SentLogin {
    let mut minted = None;
    let mut turn = place;
    loop {
        if let Some(process) = replicas[turn % replicas.len()].read().await.as_ref() {
            if minted.is_none() {
                minted = create_login(process, json!({})).await;
            }
            if let Some(person) = &minted
                && let Some(login) = person.send_message(process).await
            {
                return login;
            }
        }
        turn += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn judge(trial: &Trial, world: &World, taken: &[SentLogin], kills: usize, report: &mut ChaosReport) {
    let copies = copies(&world.receiver);
    let first = first_callbacks(&world.receiver);
    let late: Vec<f64> = taken
        .iter()
        .filter_map(|login| Some(first.get(&login.uuid)?.saturating_duration_since(login.answered).as_secs_f64()))
        .collect();
    let lost = taken.iter().filter(|login| !first.contains_key(&login.uuid)).count();
    let double = copies.values().filter(|copies| differ(copies)).count();
    let repeated: usize = copies.values().map(|copies| copies.len() - 1).sum();
    let replies: HashSet<String> =
        world.gateway.requests().iter().map(|reply| reply.json()["chatId"].as_str().unwrap().to_owned()).collect();
    let silent = taken.iter().filter(|login| !replies.contains(&format!("{}@c.us", login.number))).count();
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let share = 100.0 * repeated as f64 / taken.len() as f64;
    let name = trial.store;
    say(format_args!(
        "{name}: {} logins, {kills} kills: {lost} lost, {double} double, {repeated} repeated ({share:.2} %), {silent} \
         without a reply; late by p50 {:.3} s, p99 {:.2} s, at most {:.2} s",
        taken.len(),
        percentile(&late, 50),
        percentile(&late, 99),
        percentile(&late, 100)
    ));
    report.judge(&format!("{name}: callbacks lost"), lost == 0, &lost.to_string());
    report.judge(&format!("{name}: logins without a reply"), silent == 0, &silent.to_string());
    report.judge(&format!("{name}: links with differing callbacks"), double == 0, &double.to_string());
    report.at_most(&format!("{name}: repeated with equal id and body"), share, 0.5, " %");
    report.at_most(&format!("{name}: the latest"), percentile(&late, 100), LEASE_DURATION.as_secs_f64() + 3.0, " s");
}
