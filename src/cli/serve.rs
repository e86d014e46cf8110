//! `serve`, `check-config` and `healthcheck`.

use std::{net::IpAddr, path::Path, process::ExitCode};

use anyhow::Context as _;
use futures_util::future::join_all;
use url::Url;

use crate::{
    app::{self, Application, ConfigSource, exit::Failure, signals},
    clock::Clock,
    config::ConfigFiles,
    domain::time::rfc3339,
    service::MasterStatus,
    telemetry,
};

pub(super) fn serve(path: &Path) -> Result<ExitCode, Failure> {
    let runtime = runtime()?;
    let _within = runtime.enter();
    // Before the configuration is read, so that no later change is missed.
    let source = ConfigSource::new(path).context("cannot listen for SIGHUP")?;
    let (config, instances) = app::load(&super::read_config(path)?)?;
    telemetry::init(&config.log);
    let served = runtime.block_on(async {
        let stop = signals::shutdown_token().context("cannot listen for signals")?;
        let application = Application::build(&config, instances, Clock::default()).await?;
        application.with_reload(source).run(stop).await
    });
    served.map(|()| ExitCode::SUCCESS).map_err(Failure::from_daemon_error)
}

/// `running`: also against the daemon that runs with it.
pub(super) fn check_config(files: &ConfigFiles, running: bool) -> Result<ExitCode, Failure> {
    let (config, instances) = app::load(files)?;
    println!("the configuration is valid: {} instance(s), public at {}", config.instances.len(), config.public_url);
    for instance in instances.all() {
        println!(
            "  {} {}: {}, webhooks authenticated by {}, at {}",
            instance.config.id,
            instance.config.name,
            instance.gateway.kind(),
            instance.gateway.webhook_auth().describe(),
            instance
                .gateway
                .webhook_auth()
                .signed_url()
                .map_or_else(|| app::webhook_url(&config.public_url, instance.config.id), str::to_owned,),
        );
        let now = Clock::default().wall();
        for token in instance.config.tokens.iter().filter(|token| token.named) {
            let end = token.until.map(|until| {
                format!("{} {}", if token.has_ended(now) { ", ENDED" } else { ", until" }, rfc3339(until))
            });
            println!("    token {}: {}{}", token.id, token.scopes, end.unwrap_or_default());
        }
        for (message, about) in app::warnings(&instance) {
            println!("    warning: {message}: {about}");
        }
    }
    let missing = if running { super::status::missing_keys(&config)? } else { Vec::new() };
    for MasterStatus { fingerprint, needed_until, .. } in &missing {
        println!("  key_file lacks the key {fingerprint}: what it made can be asked for until {needed_until}");
    }
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The health check of containers without a shell. With `each`, every address of the host must be ready.
pub(super) fn healthcheck(url: &str, each: bool) -> Result<ExitCode, Failure> {
    let url: Url = url.parse().context("the URL cannot be read")?;
    let answers = runtime()?.block_on(async {
        let mut urls = vec![url.clone()];
        if each {
            let host = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
            let addresses = tokio::net::lookup_host(host).await.context("the host has no address")?;
            urls = addresses.map(|address| with_host(&url, address.ip())).collect();
        }
        anyhow::Ok(join_all(urls.iter().map(is_ready)).await)
    })?;
    Ok(if answers.iter().all(|ready| *ready) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn with_host(url: &Url, ip: IpAddr) -> Url {
    let mut url = url.clone();
    url.set_ip_host(ip).expect("a URL whose host was looked up has one");
    url
}

async fn is_ready(url: &Url) -> bool {
    let policy = crate::egress::Policy { any_address: true, ..Default::default() };
    let request = http::Request::get(format!("{}/readyz", url.as_str().trim_end_matches('/'))).body(Vec::new());
    let Ok(request) = request else { return false };
    let why = match crate::egress::Egress::new(policy).send(request).await {
        Ok(response) if response.status().is_success() => return true,
        Ok(response) => String::from_utf8_lossy(response.body()).into_owned(),
        Err(error) => error.to_string(),
    };
    println!("{url}: {why}");
    false
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start a runtime")?)
}
