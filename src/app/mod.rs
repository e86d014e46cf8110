//! Builds the parts from a configuration, binds, runs, and ends in order.

mod listener;
mod parts;
mod ready;
mod reload;
mod socket;

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use actix_web::web::Data;
use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::{parts::seconds, reload::Live};
pub use self::{
    parts::{assemble, instances, webhook_url},
    reload::Source,
};
use crate::{
    clock::Clock,
    config::Config,
    domain::KeyRing,
    entropy,
    http::{
        self, App,
        operator::{self, Operator, Readiness},
    },
    jobs::permits::{Handoff, Permit, Permits},
    metrics::Metrics,
    service::{Instances, Phones, Service, Traces, Vitals, vitals},
    store::{Leased, StoreError, measured::Measured},
    worker::Worker,
};

/// What is left of the grace period when it is over: the store has to hear of jobs that are given back.
const HAND_BACK: Duration = Duration::from_secs(2);

/// The daemon, bound and not yet running.
pub struct Application {
    pub service: Arc<Service>,
    pub worker: Arc<Worker>,
    pub readiness: Readiness,
    committed: mpsc::UnboundedReceiver<(Leased, Permit)>,
    public: TcpListener,
    operator: TcpListener,
    config: Config,
    places: Option<http::Places>,
    source: Option<Source>,
}

impl Application {
    /// Opens the store and binds both listeners. A Redis that is away does not stop the start; one that must
    /// not be used does.
    pub async fn build(config: &Config, instances: Instances, clock: Clock) -> anyhow::Result<Self> {
        let keys = KeyRing::new(&config.keys.0).context("no key is configured")?;
        let metrics = Metrics::new();
        let (kind, store) = parts::open_store(config, &clock)?;
        let store = Arc::new(Measured::new(store, Arc::clone(&metrics)));
        metrics.begin(env!("CARGO_PKG_VERSION"), kind, seconds(clock.wall()));
        metrics.config_current.set(1);
        metrics.config_read_timestamp_seconds.set(seconds(clock.wall()));
        parts::introduce(&metrics, &instances, clock.wall());
        let (handoff, committed) = Handoff::new(Permits::new());
        let public = listener::bind(config.listen)?;
        let operator = listener::bind(config.operator_listen)?;
        let (replica, started) = (parts::replica_name(operator.local_addr()?.port()), clock.wall());
        let service = Arc::new(Service {
            traces: Traces::new(Arc::<Measured>::clone(&store)),
            store,
            keys: Arc::new(keys),
            instances: Arc::new(instances),
            metrics,
            clock,
            public_url: config.public_url.clone(),
            handoff,
            phones: Phones::default(),
            sending: AtomicUsize::new(0),
            vitals: Vitals::new(replica, started),
        });
        let this = Self {
            worker: Worker::new(Arc::clone(&service)),
            service,
            readiness: Readiness::default(),
            committed,
            public,
            operator,
            config: config.clone(),
            places: parts::open_places(config)?,
            source: None,
        };
        match ready::prepare(&this.service).await {
            Ok(()) => this.readiness.set(true),
            Err(error @ StoreError::Unfit(_)) => return Err(error.into()),
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

    /// Serves until `stop`, then drains: not ready, still listening while the news spreads, finish requests,
    /// finish attempts.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { service, worker, readiness, committed, public, operator, config, places, source } = self;
        let shutdown = config.shutdown;
        parts::banner(&service);
        #[cfg(feature = "otlp")]
        if let Some(otlp) = &config.otlp {
            crate::telemetry::export(otlp);
        }
        let edge = Arc::new(ArcSwap::from_pointee(config.edge.clone()));
        let app = Data::new(App::new(Arc::clone(&service), Arc::clone(&edge), places));
        let public = listener::public(public, shutdown.grace, move |config| {
            config.app_data(app.clone()).configure(http::routes);
        })?;
        let password = Arc::new(ArcSwapOption::from_pointee(config.operator_password.clone()));
        let state = Data::new(Operator {
            readiness: readiness.clone(),
            service: Arc::clone(&service),
            password: Arc::clone(&password),
            edge: Arc::clone(&edge),
            comparing: Arc::default(),
        });
        let operator = listener::operator(operator, move |config| {
            config.app_data(state.clone()).configure(operator::routes);
        })?;
        let (public_handle, operator_handle) = (public.handle(), operator.handle());
        let public = tokio::spawn(public);
        let operator = tokio::spawn(operator);
        let stop_worker = CancellationToken::new();
        let working = tokio::spawn(Arc::clone(&worker).run(committed, stop.clone(), stop_worker.clone()));
        let draining = CancellationToken::new();
        let probe = tokio::spawn(ready::keep(Arc::clone(&service), readiness.clone(), draining.clone(), stop.clone()));
        let observer = tokio::spawn(observe(Arc::clone(&service), readiness.clone(), stop.clone()));
        if let Some(source) = source {
            let (service, worker) = (Arc::clone(&service), Arc::clone(&worker));
            let live = Live { config, service, worker, edge, password };
            tokio::spawn(reload::watch(source, live, stop.clone()));
        }

        stop.cancelled().await;
        tracing::info!("stopping: not ready, requests are still taken");
        draining.cancel();
        let unfit = probe.await.context("the probe crashed")?;
        readiness.set(false);
        tokio::time::sleep(shutdown.drain_delay).await;
        let deadline = tokio::time::Instant::now() + shutdown.grace;
        service.store.changes().close();
        public_handle.stop(true).await;
        public.await.context("the public listener crashed")??;
        stop_worker.cancel();
        let mut working = working;
        let joined = match tokio::time::timeout_at(deadline, &mut working).await {
            Ok(joined) => joined,
            Err(_) => {
                tracing::warn!("attempts are still in flight: their jobs are given back");
                worker.hand_back();
                tokio::time::timeout(HAND_BACK, working).await.unwrap_or_else(|_| {
                    tracing::warn!("not all jobs could be given back; they go on after their lease");
                    Ok(())
                })
            }
        };
        joined.context("the worker crashed")?;
        operator_handle.stop(false).await;
        operator.await.context("the operator listener crashed")??;
        observer.await.context("the observer crashed")?;
        service.say_goodbye().await;
        tracing::info!("stopped");
        unfit.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Keeps what operators see fresh. However large the store, looking takes a small part of the time.
async fn observe(service: Arc<Service>, readiness: Readiness, stop: CancellationToken) {
    loop {
        let start = Instant::now();
        if let Err(error) = service.observe(readiness.is_ready()).await {
            tracing::debug!(%error, "what operators see is not fresh");
        }
        let pause = vitals::EVERY.max(start.elapsed() * 50);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause.mul_f64(0.9 + 0.2 * entropy::fraction())) => {}
        }
    }
}
