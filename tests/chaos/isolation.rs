//! Effect of failing lanes on a healthy one: how much later its callbacks arrive than without them.
//!
//! The healthy lane belongs to the same instance as the trouble, but for the receivers of many tenants.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign::domain::InstanceId;
use tokio::task::JoinHandle;

use crate::{
    Plan,
    daemon::{InstanceBlock, TOKEN, WAHA, World},
    fill::Filler,
    load::{PendingLogin, UNLIMITED, create_logins, lateness, replica, send_at_intervals, test_store},
    process::Process,
    report::{ChaosReport, longest, median, percentile, say},
};

const ROUNDS: usize = 3;
const PEOPLE: usize = 300;
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_secs(60);
const RECEIVERS: usize = 64;
/// As much later as it may be, in milliseconds, where that is more than half as late again.
const MORE: f64 = 5.0;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    PacedNumber,
    GatewayDown,
    HangingOfOne,
    HangingOfMany,
    BlackHole,
    ChatsAtOnce,
    TestCallbacks,
}

impl Trouble {
    const ALL: [Self; 8] = [
        Self::None,
        Self::PacedNumber,
        Self::GatewayDown,
        Self::HangingOfOne,
        Self::HangingOfMany,
        Self::BlackHole,
        Self::ChatsAtOnce,
        Self::TestCallbacks,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::None => "nothing, as a control",
            Self::PacedNumber => "a paced number with 5,000 replies due",
            Self::GatewayDown => "a gateway down with 5,000 chats due",
            Self::HangingOfOne => "64 hanging receivers of one tenant",
            Self::HangingOfMany => "64 hanging receivers of many tenants",
            Self::BlackHole => "100,000 due callbacks of one black hole",
            Self::ChatsAtOnce => "10,000 chats due at once",
            Self::TestCallbacks => "callbacks/test at full speed",
        }
    }
}

/// Ends the trouble when it goes.
#[derive(Default)]
struct RunningTrouble {
    hanging: Vec<TcpListener>,
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<()>>,
    accepted: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Drop for RunningTrouble {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for caller in &self.callers {
            caller.abort();
        }
    }
}

pub(crate) async fn run(plan: &Plan, report: &mut ChaosReport) {
    for trouble in Trouble::ALL.into_iter().filter(|trouble| plan.includes(trouble.name())) {
        say(format_args!("{}", trouble.name()));
        let (mut ratios, mut differences) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (idle, troubled) = round(trouble, plan.scale).await;
            ratios.push(troubled / idle.max(0.001));
            differences.push(troubled - idle);
        }
        let (ratio, difference) = (median(&ratios), median(&differences));
        let figures = format!("p99 {ratio:.2} times its own idle one, {difference:+.2} ms; at most 1.5 times or +5 ms");
        report.judge(trouble.name(), ratio <= 1.5 || difference <= MORE, &figures);
    }
}

/// The p99 of the healthy lane before and during.
async fn round(trouble: Trouble, scale: usize) -> (f64, f64) {
    let world = world(trouble);
    let process = replica(&world).await;
    let (warm, calm, late) = (
        create_logins(&process, 50).await,
        create_logins(&process, PEOPLE).await,
        create_logins(&process, PEOPLE).await,
    );
    let _warm = measure(&world, &process, &warm).await;
    let idle = measure(&world, &process, &calm).await;
    let cause = begin(trouble, &world, &process, scale).await;
    let filler = Filler::new(&world).await;
    let before = (filler.waiting("callback").await, filler.waiting("reply").await);
    let troubled = measure(&world, &process, &late).await;
    let (callbacks, replies) = (filler.waiting("callback").await, filler.waiting("reply").await);
    let tests = match cause.accepted.load(Ordering::Relaxed) {
        0 => String::new(),
        accepted => format!(", {accepted} tests taken, {} refused", cause.refused.load(Ordering::Relaxed)),
    };
    let quantiles = |values: &[f64]| {
        format!("p50 {:.2} p99 {:.2} max {:.2} ms", median(values), percentile(values, 99), longest(values))
    };
    say(format_args!(
        "  idle {}; then {}; {} callbacks and {} replies waited, {callbacks} and {replies} afterwards{tests}",
        quantiles(&idle),
        quantiles(&troubled),
        before.0,
        before.1,
    ));
    (percentile(&idle, 99), percentile(&troubled, 99))
}

async fn measure(world: &World, process: &Process, people: &[PendingLogin]) -> Vec<f64> {
    let logins = send_at_intervals(&[process], people, POLL_INTERVAL).await;
    lateness(&world.receiver, &logins, TIMEOUT).await
}

fn world(trouble: Trouble) -> World {
    let mut world = World::new(test_store("redis"));
    world.instance_lines = UNLIMITED.to_owned();
    if trouble == Trouble::PacedNumber {
        world.instance_lines = UNLIMITED.replace("replies_per_second = 0", "replies_per_second = 20");
    }
    if trouble == Trouble::HangingOfMany {
        for place in 0..RECEIVERS {
            let tenant = InstanceBlock {
                id: &tenant(place),
                name: "Tenant",
                number: &format!("+4477008{place:05}"),
                token: &format!("cst_token-of-tenant-{place}"),
                lines: "allow_http_callbacks = true\ncallback_allow_networks = [\"127.0.0.0/8\"]",
                gateway: &format!(
                    "kind = \"waha\"\nurl = \"{}\"\napi_key = \"waha-api-key-0123456789\"\n\
                     webhook_secret = \"waha-hmac-key-0123456789abcdef\"",
                    world.gateway.url
                ),
            };
            world.more_instances += &tenant.to_string();
        }
    }
    world
}

fn tenant(place: usize) -> String {
    format!("5f0c2a90-0000-4000-8000-0000000100{place:02x}")
}

/// Returns when the trouble is there.
async fn begin(trouble: Trouble, world: &World, process: &Process, scale: usize) -> RunningTrouble {
    let (mut cause, mut lanes) = (RunningTrouble::default(), Vec::new());
    let filler = Filler::new(world).await;
    let own: InstanceId = WAHA.parse().unwrap();
    match trouble {
        Trouble::None => {}
        Trouble::PacedNumber | Trouble::GatewayDown | Trouble::ChatsAtOnce => {
            if trouble == Trouble::GatewayDown {
                world.gateway.fail(503, u64::MAX);
            }
            let count = scale * if trouble == Trouble::ChatsAtOnce { 10_000 } else { 5_000 };
            lanes.push(filler.replies(own, count).await);
        }
        Trouble::HangingOfOne | Trouble::HangingOfMany => {
            for place in 0..RECEIVERS {
                let (listener, url) = hanging();
                let of = if trouble == Trouble::HangingOfOne { own } else { tenant(place).parse().unwrap() };
                // More than are attempted while it is measured.
                lanes.push(filler.callbacks(of, &url, 50).await);
                cause.hanging.push(listener);
            }
        }
        Trouble::BlackHole => {
            let (listener, url) = hanging();
            lanes.push(filler.callbacks(own, &url, 100_000 * scale).await);
            cause.hanging.push(listener);
        }
        Trouble::TestCallbacks => {
            cause.callers = (0..4).map(|_| tokio::spawn(call(process, &cause))).collect();
        }
    }
    filler.release(&lanes).await;
    cause
}

/// Accepts connections, as the kernel does for it, and never answers.
fn hanging() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    (listener, url)
}

/// Requests test callbacks, each as soon as the last one was answered.
fn call(process: &Process, cause: &RunningTrouble) -> impl Future<Output = ()> + use<> {
    let (client, stop) = (process.client.clone(), Arc::clone(&cause.stop));
    let (accepted, refused) = (Arc::clone(&cause.accepted), Arc::clone(&cause.refused));
    let url = format!("{}/api/otp/v2/{WAHA}/callbacks/test", process.base);
    async move {
        while !stop.load(Ordering::Relaxed) {
            let request = http::Request::post(&url).header("authorization", format!("Bearer {TOKEN}"));
            let taken = client.send(request.body(Vec::new()).unwrap()).await;
            let count = if taken.is_ok_and(|response| response.status() == 200) { &accepted } else { &refused };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
