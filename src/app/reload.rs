//! Takes up a changed configuration while requests go on: whole, or not at all.
//!
//! Asked for by SIGHUP, or noticed: the contents of the configuration file and of every secret file are compared
//! every other second, which sees through symlinks that Kubernetes swaps and works on every file system.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::parts::{self, seconds};
use crate::{
    config::{self, Config, Edge, Password},
    domain::keys::sha256,
    metrics::label::Reloaded,
    service::{Instances, Replaced, Service},
    telemetry,
    worker::Worker,
};

const LOOK: Duration = Duration::from_secs(2);

/// What the files hold, in short.
type Print = [u8; 32];

/// Where a configuration comes from, to be read again.
pub struct Source {
    path: PathBuf,
    hangup: Signal,
    /// As it was when the process started.
    print: Print,
}

impl Source {
    /// From now on SIGHUP reloads instead of ending the process. Needs a runtime.
    pub fn new(path: &Path) -> std::io::Result<Self> {
        Ok(Self { path: path.to_owned(), hangup: signal(SignalKind::hangup())?, print: look(path) })
    }
}

/// What a reload changes.
pub(super) struct Live {
    /// The one in use.
    pub(super) config: Config,
    pub(super) service: Arc<Service>,
    pub(super) worker: Arc<Worker>,
    pub(super) edge: Arc<ArcSwap<Edge>>,
    pub(super) password: Arc<ArcSwapOption<Password>>,
}

/// Why the old configuration stays. Both texts are for people.
enum Refused {
    Faulty(String),
    NeedsRestart(String),
}

/// Until `stop`.
pub(super) async fn watch(mut source: Source, mut live: Live, stop: CancellationToken) {
    let mut applied = source.print;
    let mut tried = applied;
    let mut last_seen = applied;
    let mut turn = interval(LOOK);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = source.hangup.recv() => true,
            _ = turn.tick() => false,
        };
        let path = source.path.clone();
        let Ok(print) = tokio::task::spawn_blocking(move || look(&path)).await else { continue };
        // Half-written files change again until the next look.
        let settled = print == std::mem::replace(&mut last_seen, print);
        if !asked && (print == tried || !settled) {
            continue;
        }
        tried = print;
        let result = if print == applied && asked && live.is_current() {
            tracing::info!("asked to reload: the configuration has not changed");
            "unchanged"
        } else {
            match live.reload(source.path.clone()).await {
                Ok(()) => {
                    applied = print;
                    "applied"
                }
                Err(Refused::Faulty(faults)) => {
                    tracing::error!(faults, "the new configuration is refused, the old one stays");
                    "refused"
                }
                Err(Refused::NeedsRestart(keys)) => {
                    tracing::error!(keys, "the new configuration needs a restart, the old one stays as a whole");
                    "needs_restart"
                }
            }
        };
        live.note(result);
    }
}

impl Live {
    fn is_current(&self) -> bool {
        self.service.metrics.config_current.get() == 1
    }

    fn note(&self, result: &'static str) {
        let metrics = &self.service.metrics;
        metrics.config_reloads.get_or_create(&Reloaded { result }).inc();
        metrics.config_current.set(i64::from(matches!(result, "applied" | "unchanged")));
        if result == "applied" {
            metrics.config_read_timestamp_seconds.set(seconds(self.service.clock.wall()));
        }
    }

    async fn reload(&mut self, path: PathBuf) -> Result<(), Refused> {
        let (next, instances) = tokio::task::spawn_blocking(move || read(&path))
            .await
            .unwrap_or_else(|_| Err(Refused::Faulty("reading it crashed".to_owned())))?;
        let fixed = self.config.needs_restart(&next);
        if !fixed.is_empty() {
            return Err(Refused::NeedsRestart(fixed.join(", ")));
        }
        let metrics = &self.service.metrics;
        let Replaced { added, removed } = self.service.instances.replace(&instances);
        for instance in &removed {
            metrics.forget(instance.config.id, instance.gateway.kind());
        }
        parts::introduce(metrics, &self.service.instances, self.service.clock.wall());
        self.worker.forgive().await;
        self.edge.store(Arc::new(next.edge.clone()));
        self.password.store(next.operator_password.clone().map(Arc::new));
        telemetry::set_level(&next.log);
        let disabled = next.instances.iter().filter(|instance| instance.disabled).count();
        tracing::info!(
            instances = next.instances.len(),
            added = added.len(),
            removed = removed.len(),
            disabled,
            "the new configuration is in use"
        );
        self.config = next;
        Ok(())
    }
}

fn read(path: &Path) -> Result<(Config, Instances), Refused> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Refused::Faulty(format!("cannot read {}: {error}", path.display())))?;
    parts::assemble(&text).map_err(|faults| Refused::Faulty(faults.to_string().trim_end().to_owned()))
}

/// The contents of all files. One that cannot be read differs from one that is empty.
fn look(path: &Path) -> Print {
    let text = std::fs::read(path).ok();
    let own = text.as_deref().and_then(|text| std::str::from_utf8(text).ok());
    let mut contents = vec![text.clone()];
    contents.extend(config::files(own, config::environment()).iter().map(|path| std::fs::read(path).ok()));
    let digests = contents.iter().map(|content| content.as_deref().map_or([0; 32], sha256));
    sha256(&digests.collect::<Vec<_>>().concat())
}
