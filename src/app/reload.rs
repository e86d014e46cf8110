//! Takes up a changed configuration while requests go on. A faulty one is refused as a whole; of a good one everything
//! is used but the keys that need a new process, and those are named.
//!
//! Asked for by SIGHUP, or noticed: the contents of the configuration file and of every secret file are compared
//! every other second, which sees through symlinks that Kubernetes swaps and works on every file system.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use secrecy::ExposeSecret as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    instance_metrics::{self, seconds},
    instances,
};
use crate::{
    config::{self, Access, Config, Edge, StoreConfig},
    domain::{KeyRing, keys::sha256},
    gateway::Purpose,
    metrics::label::{ByConfigKey, ByReloadResult},
    reader::Faults,
    service::{Instances, Replaced, Service},
    store::StoreError,
    telemetry,
    worker::Worker,
};

const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// For the store, when keys change.
const KEY_UPDATE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the files hold, in short.
type FileFingerprint = [u8; 32];

/// Where a configuration comes from, to be read again.
pub struct ConfigSource {
    path: PathBuf,
    hangup: Signal,
    /// As it was when the process started.
    fingerprint: FileFingerprint,
}

impl ConfigSource {
    /// From now on SIGHUP reloads instead of ending the process. Needs a runtime.
    pub fn new(path: &Path) -> std::io::Result<Self> {
        Ok(Self { path: path.to_owned(), hangup: signal(SignalKind::hangup())?, fingerprint: fingerprint(path) })
    }
}

/// What a reload changes.
pub(super) struct ReloadTargets {
    /// The one in use.
    pub(super) config: Config,
    pub(super) service: Arc<Service>,
    pub(super) worker: Arc<Worker>,
    pub(super) edge: Arc<ArcSwap<Edge>>,
    pub(super) access: Arc<ArcSwap<Access>>,
    /// New keys are tried again, until the store knows of them.
    pub(super) keys_pending: bool,
}

/// Until `stop`.
pub(super) async fn watch(mut source: ConfigSource, mut live: ReloadTargets, stop: CancellationToken) {
    let mut applied = source.fingerprint;
    let mut tried = applied;
    let mut last_seen = applied;
    let mut turn = interval(POLL_INTERVAL);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = source.hangup.recv() => true,
            _ = turn.tick() => false,
        };
        let path = source.path.clone();
        let Ok(print) = tokio::task::spawn_blocking(move || fingerprint(&path)).await else { continue };
        // Half-written files change again until the next look.
        let settled = print == std::mem::replace(&mut last_seen, print);
        if !asked && !live.keys_pending && (print == tried || !settled) {
            continue;
        }
        tried = print;
        let result = if print == applied && asked && live.is_current() {
            tracing::info!("asked to reload: the configuration has not changed");
            "unchanged"
        } else {
            match live.reload(source.path.clone()).await {
                Ok(waiting) => {
                    applied = print;
                    live.report_restart_keys(&waiting)
                }
                Err(faults) => {
                    tracing::error!(faults, "the new configuration is refused, the old one stays");
                    "refused"
                }
            }
        };
        live.record_result(result);
    }
}

impl ReloadTargets {
    fn is_current(&self) -> bool {
        self.service.metrics.config_current.get() == 1
    }

    fn record_result(&self, result: &'static str) {
        let metrics = &self.service.metrics;
        metrics.config_reloads.get_or_create(&ByReloadResult { result }).inc();
        metrics.config_current.set(i64::from(matches!(result, "applied" | "unchanged")));
        if matches!(result, "applied" | "needs_restart") {
            metrics.config_read_timestamp_seconds.set(seconds(self.service.clock.wall()));
        }
    }

    /// Names what is not in use yet. The word for what became of the rest.
    fn report_restart_keys(&self, waiting: &[&'static str]) -> &'static str {
        let gauge = &self.service.metrics.config_waiting;
        gauge.clear();
        for key in waiting {
            gauge.get_or_create(&ByConfigKey { key }).set(1);
        }
        self.service.vitals.waiting.store(Arc::new(waiting.to_vec()));
        if waiting.is_empty() {
            return "applied";
        }
        tracing::error!(
            keys = waiting.join(", "),
            "these keys need a restart; the rest of the new configuration is in use"
        );
        "needs_restart"
    }

    async fn update_keys(&self, next: &Config) -> Result<(), StoreError> {
        let Some(ring) = KeyRing::new(&next.keys.0) else { return Ok(()) };
        let taken = timeout(KEY_UPDATE_TIMEOUT, self.service.take_up_keys(&ring)).await;
        taken.unwrap_or_else(|_| Err(StoreError::Unavailable("it hangs".to_owned())))
    }

    /// The keys that need a restart; or what is wrong, for people.
    async fn reload(&mut self, path: PathBuf) -> Result<Vec<&'static str>, String> {
        let running = self.config.clone();
        let Candidate { mut next, instances, restart_keys: mut waiting } =
            tokio::task::spawn_blocking(move || load_candidate(&path, &running))
                .await
                .unwrap_or_else(|_| Err("reading it crashed".to_owned()))?;
        if let StoreConfig::Redis { url, .. } = &next.store {
            self.service.store.reload_credentials(url.expose_secret()).map_err(|error| error.to_string())?;
        }
        self.keys_pending = false;
        if next.keys.0 != self.config.keys.0
            && let Err(error) = self.update_keys(&next).await
        {
            tracing::error!(%error, "the new keys only read; they make nothing until the store knows of them");
            (self.keys_pending, next.keys) = (true, self.config.keys.clone());
            waiting.push("key");
        }
        let metrics = &self.service.metrics;
        let Replaced { added, removed } = self.service.instances.replace(&instances);
        for instance in &removed {
            metrics.remove_instance_series(instance.config.id, instance.gateway.kind());
        }
        instance_metrics::register_instances(metrics, &self.service.instances, self.service.clock.wall());
        self.worker.reset_holds().await;
        self.edge.store(Arc::new(next.edge.clone()));
        self.access.store(Arc::new(next.access.clone()));
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
        Ok(waiting)
    }
}

/// A configuration without faults, as far as a running process can take it up.
struct Candidate {
    next: Config,
    instances: Instances,
    restart_keys: Vec<&'static str>,
}

fn load_candidate(path: &Path, running: &Config) -> Result<Candidate, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let words = |faults: Faults| faults.to_string().trim_end().to_owned();
    let (file, mut instances) = instances::load(&text).map_err(words)?;
    let (next, waiting) = (running.taking_up(&file), running.needs_restart(&file));
    if !waiting.is_empty() {
        // Gateways and callbacks know our own addresses: those that stay.
        instances = instances::build_instances(&next, Purpose::Serve).into_result().map_err(words)?;
    }
    Ok(Candidate { next, instances, restart_keys: waiting })
}

/// The contents of all files. One that cannot be read differs from one that is empty.
fn fingerprint(path: &Path) -> FileFingerprint {
    let text = std::fs::read(path).ok();
    let own = text.as_deref().and_then(|text| std::str::from_utf8(text).ok());
    let mut contents = vec![text.clone()];
    contents.extend(config::files(own, config::environment()).iter().map(|path| std::fs::read(path).ok()));
    let digests = contents.iter().map(|content| content.as_deref().map_or([0; 32], sha256));
    sha256(&digests.collect::<Vec<_>>().concat())
}
