//! `status`: a summary of a running daemon for operators. Lines that need attention contain `!!`.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    app::exit::CommandError,
    config::Config,
    domain::KeyRing,
    egress::{Egress, Policy},
    ops::status::{
        FailureStatus, GatewayStatus, LastErrorStatus, QueueStatus, RefusingStatus, ReplicaStatus, Status, StoreStatus,
    },
    service::{KeysStatus, MasterStatus},
    telemetry::stdout::print,
};

/// The daemon, and the output format.
#[derive(Debug, Args)]
pub(super) struct StatusOptions {
    /// Use the operator listener of this configuration.
    #[arg(short, long, env = "COUNTERSIGN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// URL of the operator listener of any replica [default: that of the configuration, or <http://127.0.0.1:9090>]
    #[arg(long, env = "COUNTERSIGN_OPERATOR_URL", value_name = "URL")]
    operator_url: Option<String>,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

/// Where the operator listener is by default.
pub(super) const DEFAULT_OPERATOR_URL: &str = "http://127.0.0.1:9090";
/// Seconds without a webhook after which a gateway is marked.
const MAX_INBOUND_AGE: f64 = 900.0;
/// Seconds overdue after which a queue is marked.
const MAX_LATENESS: f64 = 60.0;
/// Seconds after which figures of queues and replicas are marked as stale: they are read every 5 s.
const MAX_REPORT_AGE: f64 = 20.0;
/// Seconds after which the store counts as unresponsive: it is checked every 3 s, with a timeout of 2 s.
const MAX_STORE_REPORT_AGE: f64 = 6.0;
/// Seconds for which a refusal of the store counts as current.
const RECENT_REFUSAL_AGE: f64 = 60.0;
/// Share of the store's capacity above which it is marked.
const MAX_USED_SHARE: f64 = 0.85;
/// Waiting jobs of one instance from which they are shown.
const MANY_JOBS: u64 = 100;
/// Gateways that are listed, those with a problem first.
const MAX_LISTED_GATEWAYS: usize = 20;
/// Bytes of a response: a thousand instances are 400 kB.
const MAX_RESPONSE_LEN: usize = 16 << 20;

/// Exit status 0 if the daemon is ready, 1 if it is not ready or does not answer.
pub(super) fn run(options: &StatusOptions) -> Result<ExitCode, CommandError> {
    let body = super::runtime()?.block_on(fetch(&operator_url(options)?))?;
    let status = read(&body)?;
    if options.json {
        print(String::from_utf8_lossy(&body))?;
    } else {
        print(render(&status).trim_end())?;
    }
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn operator_url(options: &StatusOptions) -> Result<String, CommandError> {
    match (&options.operator_url, &options.config) {
        (Some(url), _) => Ok(url.trim_end_matches('/').to_owned()),
        (None, Some(path)) => Ok(listener(&super::parse_config(&super::read_config(path)?)?)),
        (None, None) => Ok(DEFAULT_OPERATOR_URL.to_owned()),
    }
}

/// The URL of the daemon's status.
fn listener(config: &Config) -> String {
    let mut address = config.operator_listen;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
}

/// Keys that the daemon of this configuration may still need, and that the configuration lacks.
pub(super) fn missing_keys(config: &Config) -> Result<Vec<MasterStatus>, CommandError> {
    let status = read(&super::runtime()?.block_on(fetch(&listener(config)))?)?;
    let here = KeyRing::new(&config.keys.0).map_or_else(Vec::new, |ring| ring.fingerprints());
    let is_here = |master: &MasterStatus| here.iter().any(|own| own.starts_with(&master.fingerprint));
    Ok(status.keys.masters.into_iter().filter(|master| !master.removable && !is_here(master)).collect())
}

fn read(body: &[u8]) -> anyhow::Result<Status> {
    serde_json::from_slice(body).context("the response is not a status; is this the operator listener?")
}

async fn fetch(operator: &str) -> anyhow::Result<Vec<u8>> {
    let egress = Egress::new(Policy { any_address: true, allow_http: true, ..Policy::default() })
        .with_max_response_len(MAX_RESPONSE_LEN);
    let request = http::Request::get(format!("{operator}/status")).body(Vec::new()).context("--operator-url")?;
    let response = egress.send(request).await;
    let response = response.with_context(|| {
        format!("no answer from {operator}: is the daemon running there? --operator-url names another address")
    })?;
    if !response.status().is_success() {
        bail!("{operator}/status answered {}", response.status());
    }
    Ok(response.into_body())
}

fn render(status: &Status) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("writing to a string does not fail");
    let readiness = if status.ready { "ready" } else { "NOT READY" };
    line(format!("countersign {} at {}: {readiness}, up since {}", status.version, status.replica, status.started_at));
    store_lines(&status.store).into_iter().for_each(&mut line);
    if !status.config.waiting.is_empty() {
        line(format!("config   !! needs a restart for {}; the rest is in use", status.config.waiting.join(", ")));
    } else if !status.config.current {
        line("config   !! the configuration in the file was refused; the old one is in use".to_owned());
    }
    key_lines(&status.keys).into_iter().for_each(&mut line);
    line(String::new());
    line("gateways".to_owned());
    let mut gateways: Vec<&GatewayStatus> = status.gateways.iter().collect();
    gateways.sort_by_key(|gateway| {
        !(gateway.rejects_credentials || gateway.quota_used.is_some_and(|used| used > MAX_USED_SHARE))
    });
    gateways.iter().take(MAX_LISTED_GATEWAYS).for_each(|gateway| line(gateway_line(gateway)));
    if gateways.len() > MAX_LISTED_GATEWAYS {
        line(format!("  and {} more; `--json` has all of them", gateways.len() - MAX_LISTED_GATEWAYS));
    }
    line(String::new());
    let stale = match status.seen_seconds_ago {
        Some(age) if age > MAX_REPORT_AGE => format!(" !! as of {} ago", human_duration(age)),
        Some(_) => String::new(),
        None => " !! not read yet".to_owned(),
    };
    line(format!("queues{stale}"));
    if status.queues.is_empty() {
        line("  nothing waits".to_owned());
    }
    status.queues.iter().for_each(|queue| line(queue_line(queue)));
    if status.callbacks_given_up > 0 {
        let count = status.callbacks_given_up;
        line(format!("  !! {count} callbacks given up by this replica; `callbacks list` shows them"));
    }
    line(String::new());
    line("latest failures".to_owned());
    if status.failures.is_empty() {
        line("  none".to_owned());
    }
    status.failures.iter().for_each(|failure| line(failure_line(failure)));
    line(String::new());
    line(format!("replicas{stale}"));
    status.replicas.iter().for_each(|replica| line(replica_line(replica)));
    out
}

fn store_lines(store: &StoreStatus) -> Vec<String> {
    let described = match store.described_seconds_ago {
        Some(age) if age > MAX_STORE_REPORT_AGE || !store.answers => {
            format!("!! does not answer; {} ago: {}", human_duration(age), store.description)
        }
        Some(_) => store.description.clone(),
        None => "NOT REACHED YET".to_owned(),
    };
    let mut lines = vec![format!("store    {described}")];
    let mut trouble = |text: String| lines.push(format!("         {text}"));
    #[expect(clippy::cast_precision_loss, reason = "a share of bytes")]
    let share = store.used_bytes as f64 / store.limit_bytes.max(1) as f64;
    if store.limit_bytes > 0 && share > MAX_USED_SHARE {
        trouble(format!("!! {:.0} % of its capacity is used", share * 100.0));
    }
    if store.replicas_missing > 0 {
        trouble(
            "!! Redis has no replica, and store.durability requires one to confirm: every write is refused".to_owned(),
        );
    }
    let offset = store.clock_offset_seconds;
    if offset.abs() > 5.0 {
        trouble(format!("!! this host's clock is off by {offset:.1} s"));
    }
    if let Some(RefusingStatus { reason, for_seconds, .. }) = &store.refusing {
        trouble(format!("!! has refused new work for {}: {}", human_duration(*for_seconds), printable(reason)));
    }
    if let Some(LastErrorStatus { operation, reason, seconds_ago, .. }) = &store.last_error {
        let mark = if *seconds_ago < RECENT_REFUSAL_AGE { "!! " } else { "" };
        trouble(format!("{mark}refused {operation} {} ago: {}", human_duration(*seconds_ago), printable(reason)));
    }
    lines
}

fn key_lines(keys: &KeysStatus) -> Vec<String> {
    let KeysStatus { look_up, look_up_since, previous_until, requested, missing, masters } = keys;
    let since = look_up_since.as_deref().unwrap_or("not known yet");
    let mut lines = vec![format!("keys     look-up key {look_up} since {since}")];
    let mut more = |text: String| lines.push(format!("         {text}"));
    if let Some(until) = previous_until {
        more(format!("it is being replaced: the previous one is used as well until {until}"));
        if requested > look_up {
            more(format!("look-up key {requested} is requested, and is created after that"));
        }
    }
    if let Some(why) = missing {
        more(format!("!! this replica finds no records: {}", printable(why)));
    }
    for MasterStatus { fingerprint, current, present, needed_until, removable } in masters {
        more(match (current, present, removable) {
            (true, ..) => format!("{fingerprint} encrypts new data"),
            (_, true, true) => format!("{fingerprint} can be removed from key_file"),
            (_, true, false) => {
                format!("{fingerprint} is needed until {needed_until}; nothing new is encrypted with it")
            }
            (_, false, false) => {
                format!("!! {fingerprint} is needed until {needed_until}, and is not in key_file here")
            }
            (_, false, true) => continue,
        });
    }
    lines
}

fn gateway_line(gateway: &GatewayStatus) -> String {
    let inbound = match gateway.last_inbound_age_seconds {
        Some(age) => {
            format!("{}last webhook {} ago", if age > MAX_INBOUND_AGE { "!! " } else { "" }, human_duration(age))
        }
        None => "no webhook yet".to_owned(),
    };
    let refused = if gateway.rejects_credentials {
        "  !! it refuses our credentials: logged out, banned, or a wrong token"
    } else {
        ""
    };
    let room = match gateway.quota_used {
        Some(used) if used > MAX_USED_SHARE => format!("  !! {:.0} % of its quota in the store is used", used * 100.0),
        _ => String::new(),
    };
    let waiting = match gateway.pending_jobs {
        jobs if jobs >= MANY_JOBS => format!("  {jobs} jobs wait"),
        _ => String::new(),
    };
    let disabled = if gateway.state == "enabled" { "" } else { "  (disabled)" };
    format!(
        "  {:<20} {:<12} {inbound}{refused}{room}{waiting}{disabled}  {}",
        printable(&gateway.name),
        gateway.gateway,
        gateway.instance
    )
}

fn queue_line(queue: &QueueStatus) -> String {
    let oldest =
        queue.oldest_seconds.map(|age| format!(", the oldest for {}", human_duration(age))).unwrap_or_default();
    let late = queue.lateness_seconds.map_or_else(String::new, |late| {
        format!(", {}overdue by {}", if late > MAX_LATENESS { "!! " } else { "" }, human_duration(late))
    });
    let held = match queue.held {
        0 => String::new(),
        held => format!(", {held} on hold after failures"),
    };
    format!("  {:<10} {} wait{oldest}{late}{held}", queue.kind, queue.depth)
}

fn failure_line(failure: &FailureStatus) -> String {
    let FailureStatus { at, instance, what, reason, count } = failure;
    format!("  {at}  {what:<9} {}  x{count}  {instance}", printable(reason))
}

fn replica_line(replica: &ReplicaStatus) -> String {
    let state = match (replica.alive, replica.ready) {
        (true, true) => "ready",
        (true, false) => "NOT READY",
        (false, _) => "gone",
    };
    let config =
        if replica.alive && !replica.config_current { "  !! its file contains another configuration" } else { "" };
    let seen = human_duration(replica.seen_seconds_ago);
    format!("  {:<30} {:<10} {state}, seen {seen} ago{config}", printable(&replica.name), replica.version)
}

/// A text from outside, without control characters, which a terminal would interpret, and cut off at 400 characters.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(400).collect()
}

fn human_duration(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match whole {
        0..120 => format!("{whole} s"),
        120..7200 => format!("{} min", whole / 60),
        7200..172_800 => format!("{} h", whole / 3600),
        _ => format!("{} days", whole / 86_400),
    }
}
