//! Builds the parts from a configuration, binds, runs, and ends in order.

mod duties;
pub mod exit;
mod instance_metrics;
mod instances;
mod listener;
mod memory;
mod open;
mod ready;
mod reload;
pub mod signals;
mod socket;
mod supervise;

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use actix_web::web::Data;
use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{instance_metrics::seconds, reload::Live, supervise::Tasks};
pub use self::{
    instances::{assemble, build_instances, webhook_url},
    reload::Source,
};
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
    service::{Instances, Phones, Service, Traces, Vitals},
    store::{StoreError, metered::MeteredStore},
    worker::Worker,
};

/// What is left of the grace period when it is over: the store has to hear of jobs that are given back.
const HAND_BACK: Duration = Duration::from_secs(2);

// Tasks that the shutdown waits for.
const PUBLIC: &str = "public listener";
const OPERATOR: &str = "operator listener";
const WORKER: &str = "worker";
const PROBE: &str = "readiness probe";
const HEARTBEAT: &str = "heartbeat";

/// The daemon, bound and not yet running.
pub struct Application {
    pub service: Arc<Service>,
    pub worker: Arc<Worker>,
    pub readiness: Readiness,
    tasks: Tasks,
    committed: mpsc::UnboundedReceiver<StartableJob>,
    public: TcpListener,
    operator: TcpListener,
    config: Config,
    source: Option<Source>,
}

impl Application {
    /// Opens the store and binds both listeners. A Redis that is away does not stop the start; one that must
    /// not be used does.
    pub async fn build(config: &Config, instances: Instances, clock: Clock) -> anyhow::Result<Self> {
        let keys = KeyRing::new(&config.keys.0).context("no key is configured")?;
        let metrics = Metrics::new();
        let (kind, store) = open::store(config, &clock)?;
        let store = Arc::new(MeteredStore::new(store, Arc::clone(&metrics)));
        metrics.begin(env!("CARGO_PKG_VERSION"), kind, seconds(clock.wall()));
        metrics.config_current.set(1);
        metrics.config_read_timestamp_seconds.set(seconds(clock.wall()));
        instance_metrics::introduce(&metrics, &instances, clock.wall());
        let (handoff, committed) = LocalDispatch::new(Permits::new());
        let public = listener::bind(config.listen)?;
        let operator = listener::bind(config.operator_listen)?;
        let (replica, started) = (replica_name(operator.local_addr()?.port()), clock.wall());
        let audit = open::audit(config)?;
        let (traces, written) = Traces::new(Arc::<MeteredStore>::clone(&store));
        let mut tasks = Tasks::default();
        tasks.spawn("message log", written.map(Ok));
        let service = Arc::new(Service {
            traces,
            audit,
            store,
            keys: Arc::new(keys),
            instances: Arc::new(instances),
            metrics,
            clock,
            public_url: config.public_url.clone(),
            handoff,
            phones: Phones::default(),
            places: open::geoip(config)?,
            sending: AtomicUsize::new(0),
            vitals: Vitals::new(replica, started),
        });
        let this = Self {
            worker: Worker::new(Arc::clone(&service)),
            service,
            readiness: Readiness::default(),
            tasks,
            committed,
            public,
            operator,
            config: config.clone(),
            source: None,
        };
        match ready::prepare(&this.service).await {
            Ok(()) => {
                this.readiness.set_ready();
            }
            Err(error @ StoreError::Misconfigured(_)) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "the store is not there yet; not ready"),
        }
        Ok(this)
    }

    /// Takes up changes of the configuration's files while it runs.
    #[must_use]
    pub fn reloading(mut self, source: Source) -> Self {
        self.source = Some(source);
        self
    }

    pub fn public_address(&self) -> std::io::Result<SocketAddr> {
        self.public.local_addr()
    }

    pub fn operator_address(&self) -> std::io::Result<SocketAddr> {
        self.operator.local_addr()
    }

    /// Serves until `stop` or until one of its tasks ends, then drains: not ready, still listening while the news
    /// spreads, finish requests, finish attempts.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { service, worker, readiness, mut tasks, committed, public, operator, config, source } = self;
        let shutdown = config.shutdown;
        instances::banner(&service);
        #[cfg(feature = "otlp")]
        if let Some(exporter) = config.otlp.as_ref().and_then(crate::telemetry::exporter) {
            tasks.spawn("span exporter", exporter.map(Ok));
        }
        let edge = Arc::new(ArcSwap::from_pointee(config.edge.clone()));
        let streams = TaskTracker::new();
        let app = Data::new(PublicState::new(Arc::clone(&service), Arc::clone(&edge), streams.clone()));
        let bytes = config.edge.unauthenticated.unwrap_or_else(|| memory::limit() / 8 * 5);
        let budget = listener::budget(bytes, Arc::clone(&service.metrics));
        let public = listener::public(public, shutdown.grace, budget, move |config| {
            config.app_data(app.clone()).configure(http::routes);
        })?;
        let access = Arc::new(ArcSwap::from_pointee(config.access.clone()));
        let state = Data::new(OperatorState {
            readiness: readiness.clone(),
            service: Arc::clone(&service),
            access: Arc::clone(&access),
            edge: Arc::clone(&edge),
            password_check: Arc::default(),
        });
        let operator = listener::operator(operator, move |config| {
            config.app_data(state.clone()).configure(operator::routes);
        })?;
        let (public_handle, operator_handle) = (public.handle(), operator.handle());
        tasks.spawn(PUBLIC, async { Ok(public.await?) });
        tasks.spawn(OPERATOR, async { Ok(operator.await?) });
        let (stop_worker, draining) = (CancellationToken::new(), CancellationToken::new());
        let working = Arc::clone(&worker).run(committed, stop.clone(), stop_worker.clone());
        tasks.spawn(WORKER, working.map(Ok));
        let probe = ready::keep(Arc::clone(&service), Arc::clone(&worker), readiness.clone(), draining.clone());
        tasks.spawn(PROBE, probe.map(|unfit| Ok(unfit?)));
        tasks.spawn(HEARTBEAT, duties::heartbeat(Arc::clone(&service), readiness.clone(), stop.clone()).map(Ok));
        tasks.spawn("observer", duties::observe(Arc::clone(&service), readiness.clone(), stop.clone()).map(Ok));
        tasks.spawn("store's watch", duties::watch_store(Arc::clone(&service), stop.clone()).map(Ok));
        let store = Arc::clone(&service.store);
        tasks.spawn("store", async move { Err(anyhow!(store.background().failed().await)) });
        if let Some(source) = source {
            let (service, worker) = (Arc::clone(&service), Arc::clone(&worker));
            let live = Live { config, service, worker, edge, access, keys_wait: false };
            tasks.spawn("reload", reload::watch(source, live, stop.clone()).map(Ok));
        }

        tasks.watch(&stop).await;
        stop.cancel();
        tracing::info!("stopping: not ready, requests are still taken");
        draining.cancel();
        tasks.ended(PROBE).await;
        readiness.set_not_ready("stopping");
        tokio::time::sleep(shutdown.drain_delay).await;
        let deadline = Instant::now() + shutdown.grace;
        service.store.changes().close();
        streams.close();
        if timeout_at(deadline, streams.wait()).await.is_err() {
            tracing::debug!("some event streams did not end in time");
        }
        public_handle.stop(true).await;
        tasks.ended(PUBLIC).await;
        stop_worker.cancel();
        if !tasks.ended_by(deadline, WORKER).await {
            tracing::warn!("attempts are still in flight: their jobs are given back");
            worker.release_jobs();
            if !tasks.ended_by(Instant::now() + HAND_BACK, WORKER).await {
                tracing::warn!("not all jobs could be given back; they go on after their lease");
            }
        }
        operator_handle.stop(false).await;
        tasks.ended(OPERATOR).await;
        tasks.ended(HEARTBEAT).await;
        service.say_goodbye().await;
        service.audit.flush();
        tracing::info!("stopped");
        tasks.finish()
    }
}

/// Tells this process from the others: the host, and a port that only one process there can have.
fn replica_name(port: u16) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
    format!("{}:{port}", host.unwrap_or_else(|| "host".to_owned()))
}
