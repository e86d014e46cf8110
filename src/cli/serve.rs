//! `serve`, `check-config`, `healthcheck`.

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;

use crate::{
    app::{self, Application, Source},
    clock::Clock,
    failure::Failure,
    shutdown, telemetry,
};

pub(super) fn serve(path: &Path) -> Result<ExitCode, Failure> {
    let runtime = runtime()?;
    let _within = runtime.enter();
    // Before anything is read: what changes from now on is noticed.
    let source = Source::new(path).context("cannot listen for SIGHUP")?;
    let (config, instances) = app::assemble(&super::read(path)?)?;
    telemetry::init(&config.log);
    let served = runtime.block_on(async {
        let stop = shutdown::on_signal().context("cannot listen for signals")?;
        let application = Application::build(&config, instances, Clock::default()).await?;
        application.reloading(source).run(stop).await
    });
    served.map(|()| ExitCode::SUCCESS).map_err(Failure::of_daemon)
}

pub(super) fn check(text: &str) -> Result<ExitCode, Failure> {
    let (config, instances) = app::assemble(text)?;
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
