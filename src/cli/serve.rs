//! `serve`, `check-config` and `healthcheck`.

use std::{fmt::Write as _, net::IpAddr, path::Path, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::Args;
use futures_util::future::join_all;
use serde_json::{Value, json};
use url::Url;

use super::{ConfigFile, runtime, status::DEFAULT_OPERATOR_URL};
use crate::{
    app::{
        self, Application, ConfigSource, Listeners,
        exit::{CommandError, EX_CONFIG},
        signals,
    },
    clock::Clock,
    config::{self, Config, FileWatch},
    domain::time::rfc3339,
    reader::Fault,
    service::{Instance, MasterStatus},
    telemetry::{self, stdout::print},
};

pub(super) fn serve(path: &Path) -> Result<ExitCode, CommandError> {
    let runtime = runtime()?;
    let _within = runtime.enter();
    // Before the configuration is read, so that no later change is missed.
    let source = ConfigSource::new(path).context("cannot listen for SIGHUP")?;
    let (config, instances) = app::load(&super::read_config(path)?)?;
    telemetry::init(&config.log);
    let served = runtime.block_on(async {
        let stop = signals::shutdown_token().context("cannot listen for signals")?;
        let listeners = Listeners::bind(&config)?;
        let application = Application::build(&config, listeners, instances, Clock::default()).await?;
        application.with_reload(source).run(stop).await
    });
    served.map(|()| ExitCode::SUCCESS).map_err(CommandError::from_daemon_error)
}

#[derive(Debug, Args)]
pub(super) struct CheckConfigOptions {
    #[command(flatten)]
    config: ConfigFile,
    /// Also ask the daemon that runs with it whether it needs a key that the file lacks.
    #[arg(long)]
    running: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Exit status 78 if the configuration is invalid.
pub(super) fn check_config(options: &CheckConfigOptions) -> Result<ExitCode, CommandError> {
    let path = &options.config.path;
    let (config, instances) = match app::load(&super::read_config(path)?) {
        Err(faults) if options.json => {
            let fault = |fault: &Fault| json!({ "key": fault.key, "problem": fault.problem, "origin": fault.origin });
            let faults: Vec<Value> = faults.iter().map(fault).collect();
            print(json!({ "valid": false, "faults": faults }))?;
            return Ok(ExitCode::from(EX_CONFIG));
        }
        loaded => loaded?,
    };
    let files = FileWatch::new(path, config::environment()).files();
    let warnings = config::warnings(&files, config::environment());
    let missing = if options.running { super::status::missing_keys(&config)? } else { Vec::new() };
    let mut instances = instances.all();
    instances.sort_by_key(|instance| instance.config.id);
    if options.json {
        let instances: Vec<Value> = instances.iter().map(|instance| instance_json(&config, instance)).collect();
        let missing: Vec<&str> = missing.iter().map(|key| key.fingerprint.as_str()).collect();
        print(json!({
            "valid": true, "public_url": config.public_url.as_str(), "instances": instances,
            "warnings": warnings, "missing_keys": missing,
        }))?;
    } else {
        print(described(&config, &instances, &missing, &warnings).trim_end())?;
    }
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn instance_json(config: &Config, instance: &Instance) -> Value {
    let warnings = app::warnings(instance);
    let warnings: Vec<String> = warnings.iter().map(|one| format!("{}: {}", one.problem, one.about)).collect();
    json!({
        "id": instance.config.id, "name": instance.config.name, "gateway": instance.gateway.kind(),
        "webhook_url": app::webhook_url(&config.public_url, instance.config.id),
        "proof": instance.gateway.webhook_auth().describe(), "warnings": warnings,
    })
}

fn described(config: &Config, instances: &[Arc<Instance>], missing: &[MasterStatus], warnings: &[String]) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("writing to a string does not fail");
    let count = instances.len();
    let plural = if count == 1 { "" } else { "s" };
    line(format!("the configuration is valid: {count} instance{plural}, public at {}", config.public_url));
    for warning in warnings {
        line(format!("warning: {warning}"));
    }
    for instance in instances {
        line(format!(
            "  {} {}: {}, webhooks authenticated by {}, at {}",
            instance.config.id,
            instance.config.name,
            instance.gateway.kind(),
            instance.gateway.webhook_auth().describe(),
            instance
                .gateway
                .webhook_auth()
                .signed_url()
                .map_or_else(|| app::webhook_url(&config.public_url, instance.config.id), str::to_owned),
        ));
        let now = Clock::default().wall();
        for token in instance.config.tokens.iter().filter(|token| token.named) {
            let end = token.until.map(|until| {
                format!("{} {}", if token.has_ended(now) { ", ENDED" } else { ", until" }, rfc3339(until))
            });
            line(format!("    token {}: {}{}", token.id, token.scopes, end.unwrap_or_default()));
        }
        for warning in app::warnings(instance) {
            line(format!("    warning: {}: {}", warning.problem, warning.about));
        }
    }
    for MasterStatus { fingerprint, needed_until, .. } in missing {
        line(format!("  key_file lacks the key {fingerprint}, which is needed until {needed_until}"));
    }
    out
}

#[derive(Debug, Args)]
pub(super) struct HealthcheckOptions {
    /// URL of the operator listener.
    #[arg(long, env = "COUNTERSIGN_OPERATOR_URL", value_name = "URL", default_value = DEFAULT_OPERATOR_URL)]
    operator_url: Url,
    /// Check every address that the host name resolves to, for a name that stands for several replicas.
    #[arg(long)]
    each: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// The health check of containers without a shell. With `--each`, every address of the host must be ready.
pub(super) fn healthcheck(options: &HealthcheckOptions) -> Result<ExitCode, CommandError> {
    let url = &options.operator_url;
    let answers = runtime()?.block_on(async {
        let mut urls = vec![url.clone()];
        if options.each {
            let host = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
            let addresses = tokio::net::lookup_host(host).await.context("the host has no address")?;
            urls = addresses.map(|address| with_host(url, address.ip())).collect();
        }
        anyhow::Ok(join_all(urls.into_iter().map(|url| async { (readiness(&url).await, url) })).await)
    })?;
    let ready = answers.iter().all(|(answer, _)| answer.is_ok());
    if options.json {
        let checked: Vec<Value> = answers
            .iter()
            .map(|(answer, url)| json!({ "url": url.as_str(), "ready": answer.is_ok(), "reason": answer.as_ref().err() }))
            .collect();
        print(json!({ "ready": ready, "checked": checked }))?;
    } else {
        for (answer, url) in &answers {
            if let Err(why) = answer {
                print(format_args!("{url}: {why}"))?;
            }
        }
    }
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn with_host(url: &Url, ip: IpAddr) -> Url {
    let mut url = url.clone();
    url.set_ip_host(ip).expect("a URL whose host was looked up has one");
    url
}

/// Why the replica is not ready.
async fn readiness(operator: &Url) -> Result<(), String> {
    let policy = crate::egress::Policy { any_address: true, allow_http: true, ..Default::default() };
    let request = http::Request::get(format!("{}/readyz", operator.as_str().trim_end_matches('/'))).body(Vec::new());
    let request = request.map_err(|error| error.to_string())?;
    match crate::egress::Egress::new(policy).send(request).await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(String::from_utf8_lossy(response.body()).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}
