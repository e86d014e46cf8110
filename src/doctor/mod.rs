//! `doctor`: what the running daemon makes of genuine, forged, replayed and stale webhooks in its gateway's own
//! dialect, on a pass/fail card.
//!
//! It signs with the secrets of the configuration, writes messages with a code that nobody minted, and sees in
//! the daemon's metrics what became of them. Nothing stays behind but counters, unless more is asked for.

mod card;
mod checks;
mod dialect;
mod forge;
mod live;
mod probe;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Args;

pub use self::dialect::compose;
use self::{
    card::{Card, Title},
    checks::Patient,
    probe::Probe,
};
use crate::{
    app::{self, exit::Failure},
    config::{Config, InstanceConfig},
    domain::Phone,
    gateway::{self, Gateway, Purpose},
};

/// `EX_USAGE` of sysexits.h.
const REFUSED: u8 = 64;

/// What `doctor` is asked.
#[derive(Debug, Args)]
pub struct Options {
    /// The id of the instance, or its name.
    instance: String,
    #[arg(long)]
    pub config: PathBuf,
    /// Where the daemon is; the public address also tests what stands in between. Default: `listen`.
    #[arg(long)]
    url: Option<String>,
    /// Where its probes and metrics are. Default: `operator_listen`.
    #[arg(long)]
    operator_url: Option<String>,
    /// Print the card as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Your own number in E.164: composed messages come from it, and replies to it are allowed.
    #[arg(long)]
    phone: Option<Phone>,
    /// An API token of the instance: with --phone, a link is minted and matched; needed for --wait.
    #[arg(long, env = "COUNTERSIGN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Then mint a link, and wait this many seconds for a person to send it from a real phone.
    #[arg(long, num_args = 0..=1, default_missing_value = "300", requires = "token")]
    wait: Option<u64>,
}

/// Runs every check and prints the card; the exit code is 0 or 1.
pub async fn run(config: Config, options: &Options) -> Result<ExitCode, Failure> {
    let wanted = |instance: &InstanceConfig| {
        instance.id.to_string() == options.instance.to_lowercase() || instance.name == options.instance
    };
    let Some(instance) = config.instances.iter().find(|instance| wanted(instance)) else {
        return Err(refuse(format!("{:?} is no instance of {}", options.instance, options.config.display())));
    };
    if instance.reply_to_unknown && options.phone.is_none() {
        return Err(refuse(
            "this instance answers codes that nobody minted (reply_to_unknown), so that replies would go out to a \
             made-up number; give your own with --phone"
                .to_owned(),
        ));
    }
    let gateway = build(&config, instance)?;
    let others = config.instances.iter().filter(|other| other.id != instance.id);
    let others: Vec<Arc<dyn Gateway>> = others.filter_map(|other| build(&config, other).ok()).collect();
    let base = options.url.clone().unwrap_or_else(|| local(config.listen));
    let operator = options.operator_url.clone().unwrap_or_else(|| local(config.operator_listen));
    let probe = Probe::new(&base, &operator, instance.id);
    let mut patient = Patient::new(gateway, instance, others, probe, options.phone.as_ref());
    let mut card = Card::default();
    checks::all(&patient, &mut card).await;
    patient.speak_as_operator();
    let matches = !patient.only_sends();
    if let (Some(token), Some(_), true) = (&options.token, &options.phone, card.passed() && matches) {
        live::matched(&patient, token, &mut card).await;
    }
    let title = Title {
        instance: instance.id.to_string(),
        gateway: patient.gateway.kind(),
        url: base,
        proof: patient.gateway.proof().describe(),
        weak: patient.gateway.proof().is_weak(),
    };
    if let (Some(token), Some(seconds), true) = (&options.token, options.wait, card.passed()) {
        live::wait(&patient, token, Duration::from_secs(seconds), &mut card).await;
    }
    card.print(&title, options.json);
    Ok(if card.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build(config: &Config, instance: &InstanceConfig) -> Result<Arc<dyn Gateway>, Failure> {
    let url = app::webhook_url(&config.public_url, instance.id);
    Ok(gateway::build(&instance.gateway, Purpose::Inspect, &url)?)
}

fn refuse(why: String) -> Failure {
    Failure { status: REFUSED, error: anyhow::anyhow!(why) }
}

/// A listener of this machine, as a client reaches it.
fn local(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    format!("http://{address}")
}

/// So that a command without a runtime can start it.
pub fn blocking(config: Config, options: &Options) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start a runtime")?.block_on(run(config, options))
}
