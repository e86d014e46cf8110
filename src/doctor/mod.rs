//! `doctor`: posts genuine, forged, replayed and stale webhooks in the gateway's own format to the running daemon, and
//! prints a pass/fail report.
//!
//! Webhooks are composed ([`compose`]), signed with the secrets of the configuration, and contain codes that were never
//! issued. The daemon's response and its metrics show how each was handled. Only counters change, unless `--token` is
//! given.

mod checks;
mod composer;
mod forge;
mod live;
mod oidc;
mod probe;
mod report;
mod target;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Args;

pub use self::composer::compose;
use self::{
    probe::Probe,
    report::{Report, ReportHeader},
    target::CheckTarget,
};
use crate::{
    app::{self, exit::Failure},
    config::{Config, InstanceConfig},
    domain::Phone,
    gateway::{self, Gateway, Purpose},
};

/// `EX_USAGE` of sysexits.h.
const EX_USAGE: u8 = 64;

/// The arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Options {
    /// The id of the instance, or its name.
    #[arg(required_unless_present = "oidc")]
    instance: Option<String>,
    #[arg(long, required_unless_present = "oidc")]
    pub config: Option<PathBuf>,
    /// Check an OpenID provider from outside instead, by its issuer URL.
    #[arg(long, value_name = "ISSUER", conflicts_with_all = ["instance", "config", "token", "phone", "wait"])]
    oidc: Option<String>,
    /// With --oidc: a client whose requests are checked.
    #[arg(long, requires = "oidc", requires = "redirect_uri")]
    client_id: Option<String>,
    /// With --client-id: one of its redirect URIs.
    #[arg(long, requires = "client_id")]
    redirect_uri: Option<String>,
    /// URL of the daemon; the public one also tests the proxies in between. Default: `listen`.
    #[arg(long)]
    url: Option<String>,
    /// URL of the operator listener, for metrics. Default: `operator_listen`.
    #[arg(long)]
    operator_url: Option<String>,
    /// Print the report as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Your own number in E.164: messages come from it, and replies may be sent to it.
    #[arg(long)]
    phone: Option<Phone>,
    /// An API token of the instance: with --phone, a link is minted and verified; required for --wait.
    #[arg(long, env = "COUNTERSIGN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Finally mint a link, and wait this many seconds for a person to send it from a real phone.
    #[arg(long, num_args = 0..=1, default_missing_value = "300", requires = "token")]
    wait: Option<u64>,
}

/// Runs every check and prints the report. The exit code is 0 if all checks passed, else 1.
///
/// # Errors
///
/// The instance is unknown, the configuration is invalid, or `--phone` is required.
pub async fn run(config: Config, options: &Options) -> Result<ExitCode, Failure> {
    let name = options.instance.as_deref().unwrap_or_default();
    let wanted = |instance: &InstanceConfig| instance.id.to_string() == name.to_lowercase() || instance.name == name;
    let Some(instance) = config.instances.iter().find(|instance| wanted(instance)) else {
        return Err(usage_error(format!("{name:?} is not an instance of the configuration")));
    };
    if instance.reply_to_unknown && options.phone.is_none() {
        return Err(usage_error(
            "this instance replies to unknown codes (reply_to_unknown), so it would reply to a made-up number; give \
             your own with --phone"
                .to_owned(),
        ));
    }
    let gateway = build(&config, instance)?;
    let others = config.instances.iter().filter(|other| other.id != instance.id);
    let others: Vec<Arc<dyn Gateway>> = others.filter_map(|other| build(&config, other).ok()).collect();
    let base = options.url.clone().unwrap_or_else(|| loopback_url(config.listen));
    let operator = options.operator_url.clone().unwrap_or_else(|| loopback_url(config.operator_listen));
    let probe = Probe::new(&base, &operator, instance.id);
    let mut target = CheckTarget::new(gateway, instance, others, probe, options.phone.as_ref());
    let mut report = Report::default();
    checks::run_all(&target, &mut report).await;
    target.use_operator_phone();
    let matches = !target.is_send_only();
    if let (Some(token), Some(_), true) = (&options.token, &options.phone, report.passed() && matches) {
        live::check_link(&target, token, &mut report).await;
    }
    let title = ReportHeader::Instance {
        instance: instance.id.to_string(),
        gateway: target.gateway.kind(),
        url: base,
        auth: target.gateway.webhook_auth().describe(),
        weak: target.gateway.webhook_auth().is_weak(),
    };
    if let (Some(token), Some(seconds), true) = (&options.token, options.wait, report.passed()) {
        live::check_real_phone(&target, token, Duration::from_secs(seconds), &mut report).await;
    }
    report.print(&title, options.json);
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build(config: &Config, instance: &InstanceConfig) -> Result<Arc<dyn Gateway>, Failure> {
    let url = app::webhook_url(&config.public_url, instance.id);
    Ok(gateway::build(&instance.gateway, Purpose::Inspect, &url)?)
}

fn usage_error(why: String) -> Failure {
    Failure { status: EX_USAGE, error: anyhow::anyhow!(why) }
}

/// The URL of a listener on this host.
fn loopback_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    format!("http://{address}")
}

/// [`run`] for callers without a runtime.
pub fn run_blocking(config: Config, options: &Options) -> Result<ExitCode, Failure> {
    block_on(run(config, options))
}

/// Checks the provider of `--oidc` and prints the report; `None` if the options name an instance instead.
pub fn run_oidc(options: &Options) -> Option<Result<ExitCode, Failure>> {
    let issuer = options.oidc.as_deref()?;
    let client = options.client_id.as_deref().zip(options.redirect_uri.as_deref());
    let client = client.map(|(id, redirect_uri)| oidc::KnownClient { id, redirect_uri });
    Some(block_on(async {
        let mut report = Report::default();
        oidc::run_all(issuer, client, &mut report).await;
        report.print(&ReportHeader::Provider { issuer: issuer.to_owned() }, options.json);
        Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }))
}

fn block_on(checks: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start a runtime")?.block_on(checks)
}
