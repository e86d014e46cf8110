//! `status`: one screen for the night call.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    egress::{Egress, Policy},
    failure::Failure,
    service::status::{FailureStatus, GatewayStatus, QueueStatus, ReplicaStatus, Status},
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
    let egress = Egress::new(Policy { anywhere: true, http: true, ..Policy::default() });
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
    let offset = status.store.clock_offset_seconds;
    let clock =
        if offset.abs() > 5.0 { format!(" !! this host's clock is off by {offset:.1} s") } else { String::new() };
    let store = if status.store.description.is_empty() { "NOT REACHED YET" } else { &status.store.description };
    line(format!("store    {store}{clock}"));
    if !status.config.current {
        line("config   !! the file holds a configuration that was refused; the old one is in use".to_owned());
    }
    line(String::new());
    line("gateways".to_owned());
    status.gateways.iter().for_each(|gateway| line(of_gateway(gateway)));
    line(String::new());
    line("queues".to_owned());
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
    line("replicas".to_owned());
    status.replicas.iter().for_each(|replica| line(of_replica(replica)));
    out
}

fn of_gateway(gateway: &GatewayStatus) -> String {
    let heard = match gateway.last_inbound_age_seconds {
        Some(age) => format!("{}heard {} ago", if age > QUIET { "!! " } else { "" }, span(age)),
        None => "nothing heard yet".to_owned(),
    };
    let refused = if gateway.refuses_us { "  !! it refuses us: logged out, banned, or a wrong token" } else { "" };
    let disabled = if gateway.state == "enabled" { "" } else { "  (disabled)" };
    format!("  {:<20} {:<12} {heard}{refused}{disabled}  {}", plain(&gateway.name), gateway.gateway, gateway.instance)
}

fn of_queue(queue: &QueueStatus) -> String {
    let oldest = queue.oldest_seconds.map(|age| format!(", the oldest for {}", span(age))).unwrap_or_default();
    let late = queue.lateness_seconds.map_or_else(String::new, |late| {
        format!(", {}overdue by {}", if late > LATE { "!! " } else { "" }, span(late))
    });
    format!("  {:<10} {} wait{oldest}{late}", queue.kind, queue.depth)
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
    let config = if replica.alive && !replica.config_current { "  !! refused its configuration" } else { "" };
    let seen = span(replica.seen_seconds_ago);
    format!("  {:<30} {:<10} {state}, seen {seen} ago{config}", plain(&replica.name), replica.version)
}

/// What a terminal may be shown of a text that came from elsewhere.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
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
