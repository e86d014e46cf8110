//! The daemon: builds everything from a configuration, binds, runs, and shuts down gracefully.
//!
//! [`load`] reads a configuration and builds its gateways, [`Listeners::bind`] binds both addresses,
//! [`Application::build`] opens the store, and [`Application::run`] serves until it is asked to stop or a task fails.

mod background;
pub mod exit;
mod instance_metrics;
mod instances;
mod listener;
mod memory;
mod open;
mod readiness;
mod reload;
pub mod signals;
mod socket;
mod supervise;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix_web::web::Data;
use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{instance_metrics::seconds, reload::ReloadTargets, supervise::Tasks};
pub use self::{
    instances::{build_instances, load, webhook_url},
    listener::Listeners,
    reload::ConfigSource,
};
pub use crate::ops::posture::warnings;
use crate::{
    clock::Clock,
    config::Config,
    domain::KeyRing,
    http::{
        self, PublicState,
        operator::{self, OperatorState, Readiness},
    },
    jobs::permits::{LocalDispatch, Permits, StartableJob},
    metrics::Metrics,
    ops::{Ops, posture::Deployment},
    service::{Environment, Instances, PublicUrl, ReplicaHealth, Services},
    store::{KeyGate, StoreError, metered::MeteredStore},
    worker::Worker,
};

/// How long the worker has, after the grace period, to release the leases of unfinished jobs in the store.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

// Names of the tasks that the shutdown waits for.
const PUBLIC_LISTENER: &str = "public listener";
const OPERATOR_LISTENER: &str = "operator listener";
const WORKER: &str = "worker";
const READINESS_PROBE: &str = "readiness probe";
const HEARTBEAT: &str = "heartbeat";
const COUNTERS: &str = "counters";

/// The daemon, bound but not running yet.
pub struct Application {
    pub services: Arc<Services>,
    pub worker: Arc<Worker>,
    pub readiness: Readiness,
    tasks: Tasks,
    startable_jobs: mpsc::UnboundedReceiver<StartableJob>,
    listeners: Listeners,
    config: Config,
    source: Option<ConfigSource>,
}

impl Application {
    /// Opens the store. Clients can connect to `listeners` from now on and are served by [`Self::run`].
    ///
    /// # Errors
    /// If the store's directory, the audit stream or the `GeoIP` database cannot be opened, or if the store is
    /// misconfigured. An unreachable Redis is not an error: the daemon starts and is not ready.
    pub async fn build(
        config: &Config,
        listeners: Listeners,
        instances: Instances,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let keys = KeyRing::new(&config.keys.0).context("no master key is configured: set key or key_file")?;
        let metrics = Metrics::new();
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(version, instances = config.instances.len(), store = open::describe(&config.store), "starting");
        let (kind, store) = open::store(config, &clock)?;
        let key_gate = KeyGate::default();
        let store = Arc::new(MeteredStore::new(store, Arc::clone(&metrics), key_gate.clone()));
        metrics.init_process_series(version, kind, seconds(clock.wall()));
        metrics.config_current.set(1);
        metrics.config_read_timestamp_seconds.set(seconds(clock.wall()));
        instance_metrics::register_instances(&metrics, &instances, clock.wall());
        let (local_dispatch, startable_jobs) = LocalDispatch::new(Permits::new());
        let replica = replica_name(listeners.operator.local_addr()?.port());
        let env = Environment {
            store,
            keys: Arc::new(keys),
            instances: Arc::new(instances),
            health: Arc::new(ReplicaHealth::new(replica, clock.clone(), Arc::clone(&metrics))),
            audit: open::audit(config, &metrics)?,
            metrics,
            clock,
            public_url: PublicUrl::new(config.public_url.clone()),
            local_dispatch,
        };
        let (services, write_log) = Services::new(env, key_gate, open::geoip(config)?, config.oidc.as_ref());
        services.shared.key_state.request_look_up_key(config.look_up_key_number);
        let mut tasks = Tasks::default();
        tasks.spawn("message log", write_log.map(Ok));
        let services = Arc::new(services);
        let application = Self {
            worker: Worker::new(Arc::clone(&services)),
            services,
            readiness: Readiness::default(),
            tasks,
            startable_jobs,
            listeners,
            config: config.clone(),
            source: None,
        };
        match readiness::prepare(&application.services).await {
            Ok(()) => {
                application.readiness.set_ready();
            }
            Err(error @ StoreError::Misconfigured(_)) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "the store is not reachable; starting as not ready and trying again"),
        }
        Ok(application)
    }

    /// Applies changes of the configuration's files while the daemon runs.
    #[must_use]
    pub fn with_reload(mut self, source: ConfigSource) -> Self {
        self.source = Some(source);
        self
    }

    pub fn public_address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.public.local_addr()
    }

    pub fn operator_address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.operator.local_addr()
    }

    /// Serves until `stop` or until a task ends, then shuts down in this order:
    ///
    /// 1. Reports not ready, and keeps accepting requests for `shutdown.drain_delay`, in which load balancers notice.
    /// 2. Closes event streams, and finishes the requests that were accepted.
    /// 3. Stops leasing jobs and finishes attempts, after the requests, because they may commit jobs. At the end of
    ///    `shutdown.grace` it releases the leases of unfinished jobs, so that another replica continues at once.
    /// 4. Closes the operator listener, which serves probes and metrics until then, and publishes its last heartbeat and its last counts.
    ///
    /// # Errors
    /// If a task failed.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { services, worker, readiness, mut tasks, startable_jobs, listeners, config, source } = self;
        let shutdown = config.shutdown;
        instances::log_instances(&services);
        #[cfg(feature = "otlp")]
        if let Some(exporter) = config.otlp.as_ref().and_then(crate::telemetry::exporter) {
            tasks.spawn("span exporter", exporter.map(Ok));
        }
        let edge = Arc::new(ArcSwap::from_pointee(config.edge.clone()));
        let streams = TaskTracker::new();
        let app = Data::new(PublicState::new(Arc::clone(&services), Arc::clone(&edge), streams.clone()));
        let unauthenticated_memory = config.edge.unauthenticated.unwrap_or_else(|| memory::limit() / 8 * 5);
        let budget = listener::budget(unauthenticated_memory, Arc::clone(&services.env.metrics));
        let addresses = (listeners.public.local_addr()?, listeners.operator.local_addr()?);
        let public = listener::serve_public(listeners.public, shutdown.grace, budget, move |config| {
            config.app_data(app.clone()).configure(http::routes);
        })?;
        let access = Arc::new(ArcSwap::from_pointee(config.access.clone()));
        let ops = Arc::new(Ops::new(&services));
        let state = Data::new(OperatorState {
            readiness: readiness.clone(),
            services: Arc::clone(&services),
            ops: Arc::clone(&ops),
            access: Arc::clone(&access),
            edge: Arc::clone(&edge),
            deployment: Deployment::from(&config),
            password_check: Arc::default(),
        });
        let operator = listener::serve_operator(listeners.operator, move |config| {
            config.app_data(state.clone()).configure(operator::routes);
        })?;
        // With port 0, only this line reports the port that the kernel chose.
        let public_url = services.env.public_url.absolute("");
        tracing::info!(listen = %addresses.0, operator_listen = %addresses.1, public_url, "listening");
        if readiness.is_ready() {
            readiness::log_ready(&services);
        }
        let (public_handle, operator_handle) = (public.handle(), operator.handle());
        tasks.spawn(PUBLIC_LISTENER, async { Ok(public.await?) });
        tasks.spawn(OPERATOR_LISTENER, async { Ok(operator.await?) });
        let (stop_worker, draining) = (CancellationToken::new(), CancellationToken::new());
        let run_worker = Arc::clone(&worker).run(startable_jobs, stop.clone(), stop_worker.clone());
        tasks.spawn(WORKER, run_worker.map(Ok));
        let probe =
            readiness::run_probe(Arc::clone(&services), Arc::clone(&worker), readiness.clone(), draining.clone());
        tasks.spawn(READINESS_PROBE, probe.map(|result| Ok(result?)));
        tasks.spawn(HEARTBEAT, background::heartbeat(Arc::clone(&ops), readiness.clone(), stop.clone()).map(Ok));
        tasks.spawn("observer", background::observe(Arc::clone(&ops), readiness.clone(), stop.clone()).map(Ok));
        let counting = background::flush_counts(Arc::clone(&services), stop_worker.clone());
        tasks.spawn(COUNTERS, counting.map(Ok));
        tasks.spawn("store's watch", background::watch_store(Arc::clone(&ops), stop.clone()).map(Ok));
        let store = Arc::clone(&services.env.store);
        tasks.spawn("store", async move { Err(anyhow!(store.background().failed().await)) });
        if let Some(source) = source {
            let (services, worker) = (Arc::clone(&services), Arc::clone(&worker));
            let targets = ReloadTargets { config, services, worker, edge, access, keys_pending: false };
            tasks.spawn("reload", reload::watch(source, targets, stop.clone()).map(Ok));
        }

        tasks.watch(&stop).await;
        stop.cancel();
        tracing::info!(
            "shutting down: reporting not ready; requests are accepted until shutdown.drain_delay has passed"
        );
        draining.cancel();
        tasks.wait_for(READINESS_PROBE).await;
        readiness.set_not_ready("stopping");
        tokio::time::sleep(shutdown.drain_delay).await;
        let deadline = Instant::now() + shutdown.grace;
        services.env.store.changes().close();
        streams.close();
        if timeout_at(deadline, streams.wait()).await.is_err() {
            tracing::debug!("event streams are still open at the end of the grace period; closing them");
        }
        public_handle.stop(true).await;
        tasks.wait_for(PUBLIC_LISTENER).await;
        stop_worker.cancel();
        if !tasks.wait_for_until(deadline, WORKER).await {
            tracing::warn!("the grace period has ended with attempts in flight; releasing their leases");
            worker.release_jobs();
            if !tasks.wait_for_until(Instant::now() + RELEASE_TIMEOUT, WORKER).await {
                tracing::warn!("some leases could not be released; their jobs are retried when the leases expire");
            }
        }
        operator_handle.stop(false).await;
        tasks.wait_for(OPERATOR_LISTENER).await;
        tasks.wait_for(HEARTBEAT).await;
        tasks.wait_for(COUNTERS).await;
        if let Err(error) = services.shared.funnel.flush().await {
            tracing::debug!(%error, "the counts of the last seconds could not be stored and are lost");
        }
        ops.publish_shutdown().await;
        services.env.audit.flush();
        tracing::info!("stopped");
        tasks.finish()
    }
}

/// A name that no other replica has: the host name, and a port that only one process there can use.
fn replica_name(port: u16) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
    format!("{}:{port}", host.unwrap_or_else(|| "host".to_owned()))
}
