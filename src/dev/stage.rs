//! Starts the daemon and the fake phone, and ends both.

use std::{net::TcpListener, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use super::{
    Mode, announce,
    daemon::Daemon,
    home::Home,
    once,
    phone::{self, Phone},
    ports::Ports,
    settings::Prepared,
};
use crate::{
    app::{Application, signals},
    clock::Clock,
};

/// The daemon prepares its store before it is ready.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// An orderly end takes some milliseconds, unless a browser keeps a connection open. What is left unfinished
/// goes on at the next start.
const STOP_WITHIN: Duration = Duration::from_millis(600);

pub(super) async fn run(mode: Mode, home: &Home, ports: Ports, prepared: Prepared) -> anyhow::Result<ExitCode> {
    let Prepared { config, instances, phone, listener, token, new_token, first_run } = prepared;
    let stop = signals::shutdown_token().context("cannot listen for signals")?;
    let clock = Clock::default();
    let (base, operator) = (format!("http://{}", ports.public), format!("http://{}", ports.operator));
    ports.release();
    let application = Application::build(&config, instances, clock.clone()).await?;
    let daemon = Daemon::new(base, phone.instance, token.clone());
    let phone = Phone::new(phone, daemon, clock);
    let shown = announce::Shown { home, phone: &phone, operator: &operator, token: &token, new_token, first_run };
    let perform = async {
        ready(&phone, &operator).await?;
        match mode {
            Mode::Person => announce::to_a_person(&shown),
            Mode::Program => announce::to_a_program(&shown),
            Mode::Rehearsal => return Ok(once::play(&phone).await),
        }
        stop.cancelled().await;
        Ok(ExitCode::SUCCESS)
    };
    together(application, &phone, listener, &stop, perform).await
}

/// Runs daemon and phone for as long as `perform` does, or until one of them ends.
async fn together(
    application: Application,
    phone: &Arc<Phone>,
    listener: TcpListener,
    stop: &CancellationToken,
    perform: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let server = phone::serve(phone, listener)?;
    let handle = server.handle();
    let mut phone_task = tokio::spawn(server);
    let mut daemon_task = tokio::spawn(application.run(stop.clone()));
    let outcome = tokio::select! {
        outcome = perform => outcome,
        () = stop.cancelled() => Ok(ExitCode::SUCCESS),
        ended = &mut daemon_task => {
            ended.context("the daemon crashed")??;
            bail!("the daemon ended by itself");
        }
        ended = &mut phone_task => {
            ended.context("the fake phone crashed")??;
            bail!("the fake phone ended by itself");
        }
    };
    stop.cancel();
    if let Ok(ended) = tokio::time::timeout(STOP_WITHIN, daemon_task).await {
        ended.context("the daemon crashed")??;
    }
    handle.stop(false).await;
    outcome
}

async fn ready(phone: &Phone, operator: &str) -> anyhow::Result<()> {
    let url = format!("{operator}/readyz");
    let ask = async {
        while !phone.daemon.look(&url).await.is_ok_and(|answer| answer.status == 200) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(READY_WITHIN, ask).await.context("the daemon did not become ready within 5 seconds")
}
