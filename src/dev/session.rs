//! Starts the daemon and the fake phone, and stops both.

use std::{net::TcpListener, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use super::{
    RunMode,
    client::DaemonClient,
    data_dir::DataDir,
    once,
    phone::{self, FakePhone},
    ports::Ports,
    ready,
    settings::DevSetup,
};
use crate::{
    app::{Application, signals},
    clock::Clock,
};

/// The maximum time until the daemon is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum time to shut down, which browsers prolong by keeping connections open. Unfinished work continues at the
/// next start.
const STOP_TIMEOUT: Duration = Duration::from_millis(600);

pub(super) async fn run(mode: RunMode, data_dir: &DataDir, ports: Ports, setup: DevSetup) -> anyhow::Result<ExitCode> {
    let DevSetup { config, instances, phone, listener, token, reload } = setup;
    let stop = signals::shutdown_token().context("cannot listen for signals")?;
    let clock = Clock::default();
    let (base, operator) = (format!("http://{}", ports.public), format!("http://{}", ports.operator));
    let source = reload.watch().context("cannot listen for SIGHUP")?;
    let application = Application::build(&config, ports.listeners, instances, clock.clone()).await?.with_reload(source);
    let daemon = DaemonClient::new(base, phone.instance, token.clone());
    let phone = FakePhone::new(phone, daemon, clock);
    let info = ready::ReadyInfo { data_dir, phone: &phone, operator: &operator, token: &token };
    let task = async {
        wait_until_ready(&phone, &operator).await?;
        match mode {
            RunMode::Interactive => ready::print_text(&info),
            RunMode::Json => ready::print_json(&info),
            RunMode::Once => return Ok(once::run(&phone).await),
        }
        stop.cancelled().await;
        Ok(ExitCode::SUCCESS)
    };
    supervise(application, &phone, listener, &stop, task).await
}

/// Runs the daemon and the fake phone until `task` ends, or one of them does.
async fn supervise(
    application: Application,
    phone: &Arc<FakePhone>,
    listener: TcpListener,
    stop: &CancellationToken,
    task: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let server = phone::serve(phone, listener)?;
    let handle = server.handle();
    let mut phone_task = tokio::spawn(server);
    let mut daemon_task = tokio::spawn(application.run(stop.clone()));
    let outcome = tokio::select! {
        outcome = task => outcome,
        () = stop.cancelled() => Ok(ExitCode::SUCCESS),
        ended = &mut daemon_task => {
            ended.context("the daemon crashed")??;
            bail!("the daemon stopped unexpectedly");
        }
        ended = &mut phone_task => {
            ended.context("the fake phone crashed")??;
            bail!("the fake phone stopped unexpectedly");
        }
    };
    stop.cancel();
    if let Ok(ended) = tokio::time::timeout(STOP_TIMEOUT, daemon_task).await {
        ended.context("the daemon crashed")??;
    }
    handle.stop(false).await;
    outcome
}

async fn wait_until_ready(phone: &FakePhone, operator: &str) -> anyhow::Result<()> {
    let url = format!("{operator}/readyz");
    let ask = async {
        while !phone.daemon.get_page(&url).await.is_ok_and(|response| response.status == 200) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(READY_TIMEOUT, ask).await.context("the daemon did not become ready within 5 seconds")
}
