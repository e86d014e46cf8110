//! Applies a changed configuration to the running process.
//!
//! A configuration with a fault is refused as a whole. Of a valid one, everything is applied except the keys that need
//! a restart, which are logged and exposed as a metric.
//!
//! A reload is triggered by SIGHUP or by a change of the files. These are read every two seconds, which works on every
//! file system and with the symlinks that Kubernetes swaps.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
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
    instances, open,
};
use crate::{
    config::{self, Config, ConfigFiles, EdgeConfig, FileFingerprint, FileWatch, OperatorAccess, StoreConfig},
    domain::KeyRing,
    gateway::Purpose,
    metrics::label::{ByConfigKey, ByReloadResult},
    reader::Faults,
    service::{GeoIp, InstanceChanges, Instances, Services},
    store::StoreError,
    telemetry,
    worker::Worker,
};

/// Time between two readings of the files.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How long the store may take to record new keys.
const KEY_UPDATE_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the configuration at a path, and builds its instances.
type Load = dyn Fn(&Path) -> Result<(Config, Instances), Faults> + Send + Sync;

/// The file of a configuration, how it is read, and the triggers of a reload.
pub struct ConfigSource {
    path: PathBuf,
    load: Arc<Load>,
    purpose: Purpose,
    hangup: Signal,
    files: Arc<Mutex<FileWatch>>,
    /// When the process started.
    fingerprint: FileFingerprint,
}

impl ConfigSource {
    /// From now on, SIGHUP no longer ends the process. Needs a runtime.
    ///
    /// # Errors
    /// If the signal handler cannot be installed.
    pub fn new(path: &Path) -> std::io::Result<Self> {
        let mut files = FileWatch::new(path, config::environment());
        Ok(Self {
            path: path.to_owned(),
            load: Arc::new(|path| instances::load(&ConfigFiles::read(path, config::environment())?)),
            purpose: Purpose::Serve,
            hangup: signal(SignalKind::hangup())?,
            fingerprint: files.fingerprint(),
            files: Arc::new(Mutex::new(files)),
        })
    }

    /// Reads the file with `load`, and allows the gateways of `purpose`.
    #[must_use]
    pub fn read_with(
        self,
        purpose: Purpose,
        load: impl Fn(&Path) -> Result<(Config, Instances), Faults> + Send + Sync + 'static,
    ) -> Self {
        Self { load: Arc::new(load), purpose, ..self }
    }
}

/// Everything that a reload changes.
pub(super) struct ReloadTargets {
    /// The configuration in use.
    pub(super) config: Config,
    pub(super) services: Arc<Services>,
    pub(super) worker: Arc<Worker>,
    pub(super) edge: Arc<ArcSwap<EdgeConfig>>,
    pub(super) access: Arc<ArcSwap<OperatorAccess>>,
    /// New keys are not recorded in the store yet, and are tried again at the next reading.
    pub(super) keys_pending: bool,
}

/// Watches the files and applies changes until `stop`.
pub(super) async fn watch(mut source: ConfigSource, mut targets: ReloadTargets, stop: CancellationToken) {
    let mut applied = source.fingerprint;
    let mut tried = applied;
    let mut last_seen = applied;
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let requested = tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = source.hangup.recv() => true,
            _ = ticks.tick() => false,
        };
        let files = Arc::clone(&source.files);
        let read = move || files.lock().unwrap_or_else(PoisonError::into_inner).fingerprint();
        let Ok(current) = tokio::task::spawn_blocking(read).await else { continue };
        // Two equal readings in a row: a file that is still being written changes again.
        let settled = current == std::mem::replace(&mut last_seen, current);
        if !requested && !targets.keys_pending && (current == tried || !settled) {
            continue;
        }
        tried = current;
        let result = if current == applied && requested && targets.is_current() {
            tracing::info!("reload requested: the configuration has not changed");
            "unchanged"
        } else {
            match targets.reload(&source).await {
                Ok(restart_keys) => {
                    applied = current;
                    targets.report_restart_keys(&restart_keys)
                }
                Err(faults) => {
                    tracing::error!(faults, "the new configuration is refused; the old one stays in use");
                    "refused"
                }
            }
        };
        targets.record_result(result);
    }
}

impl ReloadTargets {
    fn is_current(&self) -> bool {
        self.services.env.metrics.config_current.get() == 1
    }

    fn record_result(&self, result: &'static str) {
        let metrics = &self.services.env.metrics;
        metrics.config_reloads.get_or_create(&ByReloadResult { result }).inc();
        metrics.config_current.set(i64::from(matches!(result, "applied" | "unchanged")));
        if matches!(result, "applied" | "needs_restart") {
            metrics.config_read_timestamp_seconds.set(seconds(self.services.env.clock.wall()));
        }
    }

    /// Logs and exposes the keys that wait for a restart. Returns the result for `config_reloads`.
    fn report_restart_keys(&self, keys: &[&'static str]) -> &'static str {
        let gauge = &self.services.env.metrics.config_waiting;
        gauge.clear();
        for key in keys {
            gauge.get_or_create(&ByConfigKey { key }).set(1);
        }
        self.services.env.health.restart_required.store(Arc::new(keys.to_vec()));
        if keys.is_empty() {
            return "applied";
        }
        tracing::error!(
            keys = keys.join(", "),
            "these keys need a restart; the rest of the new configuration is in use"
        );
        "needs_restart"
    }

    async fn update_keys(&self, next: &Config) -> Result<(), StoreError> {
        let Some(ring) = KeyRing::new(&next.keys.0) else { return Ok(()) };
        let recorded = timeout(KEY_UPDATE_TIMEOUT, self.services.shared.key_state.switch(&ring)).await;
        recorded.unwrap_or_else(|_| Err(StoreError::Unavailable("it does not answer".to_owned())))
    }

    /// Applies the file. Returns the keys that need a restart, or a text that says why it was refused.
    async fn reload(&mut self, source: &ConfigSource) -> Result<Vec<&'static str>, String> {
        let running = self.config.clone();
        let (path, load, purpose) = (source.path.clone(), Arc::clone(&source.load), source.purpose);
        let Candidate { mut next, instances, geoip, mut restart_keys } =
            tokio::task::spawn_blocking(move || load_candidate(&path, &*load, purpose, &running))
                .await
                .unwrap_or_else(|_| Err("reading it panicked".to_owned()))?;
        if let StoreConfig::Redis { url, tls, .. } = &next.store {
            self.services.env.store.reload_credentials(url.expose_secret(), tls).map_err(|error| error.to_string())?;
        }
        self.services.oidc_keys.check_subject_key(next.oidc.as_ref()).map_err(|error| error.to_string())?;
        self.keys_pending = false;
        if next.keys.0 != self.config.keys.0
            && let Err(error) = self.update_keys(&next).await
        {
            tracing::error!(%error, "the new keys decrypt but do not encrypt until the store has recorded them; trying again");
            (self.keys_pending, next.keys) = (true, self.config.keys.clone());
            restart_keys.push("key");
        }
        self.services.shared.key_state.request_look_up_key(next.look_up_key_number);
        self.services.oidc_keys.replace(next.oidc.as_ref());
        let metrics = &self.services.env.metrics;
        let InstanceChanges { added, removed } = self.services.env.instances.replace(&instances);
        for instance in &removed {
            metrics.remove_instance_series(instance.config.id, instance.gateway.kind());
        }
        instance_metrics::register_instances(metrics, &self.services.env.instances, self.services.env.clock.wall());
        instances::warn(&self.services.env.instances);
        self.worker.reset_holds().await;
        self.services.shared.login_facts.replace_geoip(geoip);
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
        Ok(restart_keys)
    }
}

/// A configuration without faults, as far as it can be applied to a running process.
struct Candidate {
    next: Config,
    instances: Instances,
    geoip: Option<Arc<GeoIp>>,
    restart_keys: Vec<&'static str>,
}

fn load_candidate(path: &Path, load: &Load, purpose: Purpose, running: &Config) -> Result<Candidate, String> {
    let to_text = |faults: Faults| faults.to_string().trim_end().to_owned();
    let (file, mut instances) = load(path).map_err(to_text)?;
    let (next, restart_keys) = (running.with_reloadable_keys_of(&file), running.needs_restart(&file));
    if !restart_keys.is_empty() {
        // Gateways and callback policies depend on this daemon's addresses: use those that stay.
        instances = instances::build_instances(&next, purpose).into_result().map_err(to_text)?;
    }
    let geoip = open::geoip(&next).map_err(to_text)?;
    Ok(Candidate { next, instances, geoip, restart_keys })
}
