//! `doctor`: posts genuine, forged, replayed and stale webhooks in the gateway's own format to the running daemon, and
//! prints a pass/fail report.
//!
//! Webhooks are composed ([`Gateway::compose`]), signed with the secrets of the configuration, and contain codes that were never
//! issued. The daemon's response and its metrics show how each was handled. Only counters change, unless there
//! is an API token.

mod checks;
mod forge;
mod live;
mod oidc;
mod probe;
mod proxy_fix;
mod report;
mod target;
mod template;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Args;

use self::{
    probe::Probe,
    report::{Report, ReportHeader},
    target::CheckTarget,
};
use crate::{
    app::{self, exit::CommandError},
    config::{self, Config, InstanceConfig},
    domain::{Phone, keys::KeyRing},
    gateway::{self, Gateway, Purpose},
    telemetry::stdout::print,
};

/// The arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorOptions {
    /// The id of the instance, or its name [default: the only instance of the configuration]
    #[arg(env = "COUNTERSIGN_INSTANCE")]
    instance: Option<String>,
    /// The configuration of the daemon, a TOML file.
    #[arg(short, long, env = "COUNTERSIGN_CONFIG", value_name = "FILE", default_value = "countersign.toml")]
    pub config: PathBuf,
    /// Check an OpenID provider from outside instead, by its issuer URL; needs no configuration.
    #[arg(long, value_name = "ISSUER")]
    oidc: Option<String>,
    /// With --oidc: a client whose requests are checked.
    #[arg(long, requires = "oidc", requires = "redirect_uri", value_name = "ID")]
    client_id: Option<String>,
    /// With --client-id: one of its redirect URIs.
    #[arg(long, requires = "client_id", value_name = "URI")]
    redirect_uri: Option<String>,
    /// URL of the daemon; the public one also tests the proxies in between [default: that of `listen`]
    // Not from `COUNTERSIGN_URL`, the public one of other commands: the first run is without the proxies.
    #[arg(long)]
    url: Option<String>,
    /// URL of the operator listener, for metrics [default: that of `operator_listen`]
    #[arg(long, env = "COUNTERSIGN_OPERATOR_URL", value_name = "URL")]
    operator_url: Option<String>,
    /// Print the report as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Your own number in E.164: messages come from it, and replies may be sent to it.
    #[arg(long)]
    phone: Option<Phone>,
    /// A file with an API token of the instance. Default: the environment variable `COUNTERSIGN_TOKEN`. With --phone, a
    /// link is minted and verified; required for --wait.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Finally mint a link, and wait this many seconds for a person to send it from a real phone.
    #[arg(long, num_args = 0..=1, default_missing_value = "300", value_name = "SECONDS")]
    wait: Option<u64>,
}

/// Runs every check and prints the report. The exit code is 0 if all checks passed, else 1.
///
/// # Errors
///
/// The instance is unknown, the configuration is invalid, or `--phone` is required.
pub async fn run(config: Config, options: &DoctorOptions) -> Result<ExitCode, CommandError> {
    let instance = find_instance(&config, options)?;
    if instance.reply_to_unknown && options.phone.is_none() {
        return Err(CommandError::arguments(
            "this instance replies to unknown codes (reply_to_unknown), so it would reply to a made-up number; give \
             your own with --phone",
        ));
    }
    let gateway = build(&config, instance)?;
    let others = config.instances.iter().filter(|other| other.id != instance.id);
    let others: Vec<Arc<dyn Gateway>> = others.filter_map(|other| build(&config, other).ok()).collect();
    let base = options.url.clone().unwrap_or_else(|| loopback_url(config.listen));
    let operator = options.operator_url.clone().unwrap_or_else(|| loopback_url(config.operator_listen));
    let probe = Probe::new(&base, &operator, instance.id, KeyRing::new(&config.keys.0));
    let mut target = CheckTarget::new(gateway, instance, others, probe, options.phone.as_ref());
    let mut report = Report::default();
    checks::run_all(&target, &mut report).await;
    template::check(&target, &mut report).await;
    target.use_operator_phone();
    let matches = !target.is_send_only();
    let token = api_token(options)?;
    if let (Some(token), Some(_), true) = (&token, &options.phone, report.passed() && matches) {
        live::check_link(&target, token, &mut report).await;
    }
    let title = ReportHeader::Instance {
        instance: instance.id.to_string(),
        gateway: target.gateway.kind(),
        url: base,
        auth: target.gateway.webhook_auth().describe(),
        weak: target.gateway.webhook_auth().is_weak(),
    };
    if let (Some(token), Some(seconds), true) = (&token, options.wait, report.passed()) {
        live::check_real_phone(&target, token, Duration::from_secs(seconds), &mut report).await;
    }
    print(report.render(&title, options.json).trim_end())?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// From the file, else from the environment.
fn api_token(options: &DoctorOptions) -> Result<Option<String>, CommandError> {
    let token = match &options.token_file {
        Some(file) => {
            let read = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            Some(read.trim().to_owned())
        }
        None => config::environment().find(|(name, _)| name == "COUNTERSIGN_TOKEN").map(|(_, value)| value),
    };
    let token = token.filter(|token| !token.is_empty());
    if options.wait.is_some() && token.is_none() {
        return Err(CommandError::arguments(
            "--wait mints a link: set COUNTERSIGN_TOKEN, or name a file with --token-file",
        ));
    }
    Ok(token)
}

fn find_instance<'a>(config: &'a Config, options: &DoctorOptions) -> Result<&'a InstanceConfig, CommandError> {
    let all = &config.instances;
    let found = match (&options.instance, all.as_slice()) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(wanted), _) => all.iter().find(|one| one.id.to_string() == wanted.to_lowercase() || one.name == *wanted),
    };
    found.ok_or_else(|| {
        let file = options.config.display();
        let names: Vec<String> = all.iter().map(|one| format!("{} ({})", one.name, one.id)).collect();
        let names = names.join(", ");
        CommandError::arguments(match &options.instance {
            Some(wanted) => format!("{wanted:?} is not an instance of {file}, which has {names}"),
            None => format!("name one of the instances of {file}: {names}"),
        })
    })
}

fn build(config: &Config, instance: &InstanceConfig) -> Result<Arc<dyn Gateway>, CommandError> {
    let url = app::webhook_url(&config.public_url, instance.id);
    Ok(gateway::build(&instance.gateway, Purpose::Inspect, &url)?)
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
pub fn run_blocking(config: Config, options: &DoctorOptions) -> Result<ExitCode, CommandError> {
    block_on(run(config, options))
}

/// Checks the provider of `--oidc` and prints the report; `None` if the options name an instance instead.
pub fn run_oidc(options: &DoctorOptions) -> Option<Result<ExitCode, CommandError>> {
    let issuer = options.oidc.as_deref()?;
    let client = options.client_id.as_deref().zip(options.redirect_uri.as_deref());
    let client = client.map(|(id, redirect_uri)| oidc::KnownClient { id, redirect_uri });
    Some(block_on(async {
        let mut report = Report::default();
        oidc::run_all(issuer, client, &mut report).await;
        let title = ReportHeader::Provider { issuer: issuer.to_owned() };
        print(report.render(&title, options.json).trim_end())?;
        Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }))
}

fn block_on(checks: impl Future<Output = Result<ExitCode, CommandError>>) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start a runtime")?.block_on(checks)
}
