//! `serve`, `check-config`, `healthcheck`.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::{
    app::{self, Application},
    clock::Clock,
    config::{self, Config, Faults},
    failure::Failure,
    gateway::Purpose,
    service::Instances,
    shutdown, telemetry,
};

/// Everything the configuration says, or everything that is wrong with it.
fn assemble(text: &str) -> Result<(Config, Instances), Failure> {
    let mut faults = Faults::default();
    let config = config::load(Some(text), config::environment(), &[], &mut faults);
    let built = config.map(|config| {
        let instances = app::instances(&config, Purpose::Serve, &mut faults);
        (config, instances)
    });
    match built {
        Some(built) if faults.is_empty() => Ok(built),
        _ => Err(faults.into()),
    }
}

pub(super) fn serve(text: &str) -> Result<ExitCode, Failure> {
    let (config, instances) = assemble(text)?;
    telemetry::init(&config.log);
    runtime()?.block_on(async {
        let stop = shutdown::on_signal().context("cannot listen for signals")?;
        let application = Application::build(&config, instances, Clock::default()).await?;
        application.run(stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn check(text: &str) -> Result<ExitCode, Failure> {
    let (config, instances) = assemble(text)?;
    println!("the configuration is good: {} instance(s), public at {}", config.instances.len(), config.public_url);
    for instance in instances.all() {
        println!(
            "  {} {}: {}, webhooks proved by {}, at {}",
            instance.config.id,
            instance.config.name,
            instance.gateway.kind(),
            instance.gateway.proof().describe(),
            format_args!("{}webhooks/{}", config.public_url, instance.config.id),
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// For containers without a shell.
pub(super) fn healthcheck(url: &str) -> Result<ExitCode, Failure> {
    let policy = crate::egress::Policy { anywhere: true, ..Default::default() };
    let request = http::Request::get(format!("{}/readyz", url.trim_end_matches('/')))
        .body(Vec::new())
        .context("the URL cannot be read")?;
    let ready = runtime()?.block_on(async { crate::egress::Egress::new(policy).send(request).await });
    let ready = ready.is_ok_and(|response| response.status().is_success());
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start a runtime")?)
}
