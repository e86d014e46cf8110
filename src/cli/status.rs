//! `status`: one screen for the night call.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    app::exit::Failure,
    egress::{Egress, Policy},
    service::status::{
        FailureStatus, GatewayStatus, QueueStatus, RefusalStatus, RefusingStatus, ReplicaStatus, Status, StoreStatus,
    },
};

/// Whom to ask, and how to show it.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Ask the daemon that this configuration starts.
    #[arg(long, conflicts_with = "operator")]
    config: Option<PathBuf>,
    /// The operator listener of any replica.
    #[arg(long, default_value = "http://127.0.0.1:9090")]
    operator: String,
    /// Everything, as JSON.
    #[arg(long)]
    json: bool,
}

/// Nothing from this gateway for so long is worth a look.
const QUIET: f64 = 900.0;
/// Work that waits so long is worth a look.
const LATE: f64 = 60.0;
/// What was read of queues and replicas longer ago is not what it is now: it is read every 5 s.
const STALE: f64 = 20.0;
/// So old may a description of the store be: it is asked every 3 s and has 2 s to answer.
const ASKED: f64 = 6.0;
/// A refusal of the store so short ago is going on.
const RECENT: f64 = 60.0;
/// A store that uses this share of its room needs more.
const FULL: f64 = 0.85;
/// So many jobs of one instance are worth a word.
const MANY_JOBS: u64 = 100;
/// Instances that are listed; those in trouble come first.
const LISTED: usize = 20;
/// Bytes of an answer: a thousand instances are 400 kB.
const ANSWER: usize = 16 << 20;

/// Exit 0: ready; 1: not ready, or no answer.
pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let operator = operator(options)?;
    let body = super::serve::runtime()?.block_on(ask(&operator))?;
    let status: Status =
        serde_json::from_slice(&body).context("the answer is not a status; is this the operator listener?")?;
    if options.json {
        println!("{}", String::from_utf8_lossy(&body));
    } else {
        print!("{}", screen(&status));
    }
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn operator(options: &Options) -> Result<String, Failure> {
    if let Some(path) = &options.config {
        let mut address = super::load(&super::read(path)?)?.operator_listen;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        return Ok(format!("http://{address}"));
    }
    Ok(options.operator.trim_end_matches('/').to_owned())
}

async fn ask(operator: &str) -> anyhow::Result<Vec<u8>> {
    let egress = Egress::new(Policy { anywhere: true, http: true, ..Policy::default() }).reading(ANSWER);
    let request = http::Request::get(format!("{operator}/status")).body(Vec::new()).context("--operator")?;
    let response = egress.send(request).await;
    let response = response.with_context(|| format!("no answer from {operator}; is the daemon running?"))?;
    if !response.status().is_success() {
        bail!("{operator}/status answered {}", response.status());
    }
    Ok(response.into_body())
}

fn screen(status: &Status) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes everything");
    let readiness = if status.ready { "ready" } else { "NOT READY" };
    line(format!("countersign {} at {}: {readiness}, up since {}", status.version, status.replica, status.started_at));
    of_store(&status.store).into_iter().for_each(&mut line);
    if !status.config.waiting.is_empty() {
        line(format!("config   !! needs a restart for {}; the rest is in use", status.config.waiting.join(", ")));
    } else if !status.config.current {
        line("config   !! the file holds a configuration that was refused; the old one is in use".to_owned());
    }
    line(String::new());
    line("gateways".to_owned());
    let mut gateways: Vec<&GatewayStatus> = status.gateways.iter().collect();
    gateways.sort_by_key(|gateway| !(gateway.refuses_us || gateway.room_used.is_some_and(|used| used > FULL)));
    gateways.iter().take(LISTED).for_each(|gateway| line(of_gateway(gateway)));
    if gateways.len() > LISTED {
        line(format!("  and {} more; `--json` has all of them", gateways.len() - LISTED));
    }
    line(String::new());
    let stale = match status.seen_seconds_ago {
        Some(age) if age > STALE => format!(" !! as they were {} ago", span(age)),
        Some(_) => String::new(),
        None => " !! not read yet".to_owned(),
    };
    line(format!("queues{stale}"));
    if status.queues.is_empty() {
        line("  nothing waits".to_owned());
    }
    status.queues.iter().for_each(|queue| line(of_queue(queue)));
    if status.callbacks_given_up > 0 {
        let count = status.callbacks_given_up;
        line(format!("  !! {count} callbacks given up by this replica; `callbacks list` shows them"));
    }
    line(String::new());
    line("latest failures".to_owned());
    if status.failures.is_empty() {
        line("  none".to_owned());
    }
    status.failures.iter().for_each(|failure| line(of_failure(failure)));
    line(String::new());
    line(format!("replicas{stale}"));
    status.replicas.iter().for_each(|replica| line(of_replica(replica)));
    out
}

fn of_store(store: &StoreStatus) -> Vec<String> {
    let described = match store.described_seconds_ago {
        Some(age) if age > ASKED || !store.answers => {
            format!("!! does not answer; {} ago: {}", span(age), store.description)
        }
        Some(_) => store.description.clone(),
        None => "NOT REACHED YET".to_owned(),
    };
    let mut lines = vec![format!("store    {described}")];
    let mut trouble = |text: String| lines.push(format!("         {text}"));
    #[expect(clippy::cast_precision_loss, reason = "a share of bytes")]
    let share = store.used_bytes as f64 / store.limit_bytes.max(1) as f64;
    if store.limit_bytes > 0 && share > FULL {
        trouble(format!("!! {:.0} % of its room is used", share * 100.0));
    }
    if store.replicas_missing > 0 {
        trouble("!! no replica follows, and store.durability asks one to confirm: every write is refused".to_owned());
    }
    let offset = store.clock_offset_seconds;
    if offset.abs() > 5.0 {
        trouble(format!("!! this host's clock is off by {offset:.1} s"));
    }
    if let Some(RefusingStatus { reason, for_seconds, .. }) = &store.refusing {
        trouble(format!("!! takes no new work for {}: {}", span(*for_seconds), plain(reason)));
    }
    if let Some(RefusalStatus { operation, reason, seconds_ago, .. }) = &store.last_refusal {
        let mark = if *seconds_ago < RECENT { "!! " } else { "" };
        trouble(format!("{mark}refused {operation} {} ago: {}", span(*seconds_ago), plain(reason)));
    }
    lines
}

fn of_gateway(gateway: &GatewayStatus) -> String {
    let heard = match gateway.last_inbound_age_seconds {
        Some(age) => format!("{}heard {} ago", if age > QUIET { "!! " } else { "" }, span(age)),
        None => "nothing heard yet".to_owned(),
    };
    let refused = if gateway.refuses_us { "  !! it refuses us: logged out, banned, or a wrong token" } else { "" };
    let room = match gateway.room_used {
        Some(used) if used > FULL => format!("  !! {:.0} % of its room in the store is used", used * 100.0),
        _ => String::new(),
    };
    let waiting = match gateway.pending_jobs {
        jobs if jobs >= MANY_JOBS => format!("  {jobs} jobs wait"),
        _ => String::new(),
    };
    let disabled = if gateway.state == "enabled" { "" } else { "  (disabled)" };
    format!(
        "  {:<20} {:<12} {heard}{refused}{room}{waiting}{disabled}  {}",
        plain(&gateway.name),
        gateway.gateway,
        gateway.instance
    )
}

fn of_queue(queue: &QueueStatus) -> String {
    let oldest = queue.oldest_seconds.map(|age| format!(", the oldest for {}", span(age))).unwrap_or_default();
    let late = queue.lateness_seconds.map_or_else(String::new, |late| {
        format!(", {}overdue by {}", if late > LATE { "!! " } else { "" }, span(late))
    });
    let held = match queue.held {
        0 => String::new(),
        held => format!(", {held} held back after failures"),
    };
    format!("  {:<10} {} wait{oldest}{late}{held}", queue.kind, queue.depth)
}

fn of_failure(failure: &FailureStatus) -> String {
    let FailureStatus { at, instance, what, reason, count } = failure;
    format!("  {at}  {what:<9} {}  x{count}  {instance}", plain(reason))
}

fn of_replica(replica: &ReplicaStatus) -> String {
    let state = match (replica.alive, replica.ready) {
        (true, true) => "ready",
        (true, false) => "NOT READY",
        (false, _) => "gone",
    };
    let config =
        if replica.alive && !replica.config_current { "  !! its file holds another configuration" } else { "" };
    let seen = span(replica.seen_seconds_ago);
    format!("  {:<30} {:<10} {state}, seen {seen} ago{config}", plain(&replica.name), replica.version)
}

/// What a terminal may be shown of a text that came from elsewhere.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(400).collect()
}

fn span(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match whole {
        0..120 => format!("{whole} s"),
        120..7200 => format!("{} min", whole / 60),
        7200..172_800 => format!("{} h", whole / 3600),
        _ => format!("{} days", whole / 86_400),
    }
}
