//! Builds the parts from a configuration, binds, runs, and ends in order.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_web::{App as Actix, HttpServer, dev::Server, web::Data};
use anyhow::Context as _;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::{Config, Durability, Faults, ShutdownConfig, StoreConfig},
    domain::{InstanceId, KeyRing},
    egress::{Egress, Policy},
    gateway::{self, Purpose},
    http::{
        self, App,
        operator::{self, Operator, Readiness},
    },
    metrics::{
        Metrics,
        label::{ByGateway, Known, Of},
    },
    outbox::Outbox,
    service::{Instance, Instances, Phones, Service},
    slots::{Handoff, Slot, Slots},
    store::{Leased, Store, StoreError, embedded::EmbeddedStore, measured::Measured, redis, redis::RedisStore},
};

/// An ingress that reuses idle connections must not find them closed: longer than its own idle time.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Readiness: one probe a second, three failures to fall, one success to rise.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_FAILURES: u32 = 3;

/// The daemon, bound and not yet running.
pub struct Application {
    pub service: Arc<Service>,
    pub outbox: Arc<Outbox>,
    pub readiness: Readiness,
    committed: mpsc::Receiver<(Leased, Slot)>,
    public: TcpListener,
    operator: TcpListener,
    shutdown: ShutdownConfig,
    trusted_proxies: Vec<ipnet::IpNet>,
}

/// Builds every instance's gateway; faults carry their keys.
pub fn instances(config: &Config, purpose: Purpose, faults: &mut Faults) -> Instances {
    let closed = closed(config);
    let built = config.instances.iter().filter_map(|instance| {
        let url = webhook_url(&config.public_url, instance.id);
        let gateway = gateway::build(instance.gateway.clone(), purpose, &url, faults)?;
        let callbacks = Egress::new(Policy {
            anywhere: false,
            http: instance.allow_http_callbacks,
            networks: instance.callback_allow_networks.clone(),
            closed: closed.clone(),
        });
        let sending = Egress::new(Policy { anywhere: true, ..Policy::default() });
        Some(Instance { config: instance.clone(), gateway, callbacks, sending })
    });
    Instances::new(built.collect::<Vec<_>>())
}

/// Where an instance's webhooks arrive.
pub fn webhook_url(public_url: &url::Url, instance: InstanceId) -> String {
    format!("{}/webhooks/{instance}", public_url.as_str().trim_end_matches('/'))
}

/// Where no callback may go: to ourselves, and to the store.
fn closed(config: &Config) -> Vec<(String, u16)> {
    let mut closed: Vec<(String, u16)> =
        [config.listen, config.operator_listen].iter().map(|own| (own.ip().to_string(), own.port())).collect();
    if let StoreConfig::Redis { url, .. } = &config.store
        && let Ok(url) = url::Url::parse(url.expose_secret())
        && let Some(host) = url.host_str()
    {
        closed.push((host.trim_matches(['[', ']']).to_owned(), url.port().unwrap_or(6379)));
    }
    closed
}

impl Application {
    /// Opens the store and binds both listeners. A Redis that is away does not stop the start; one that must
    /// not be used does.
    pub async fn build(config: &Config, instances: Instances, clock: Clock) -> anyhow::Result<Self> {
        let keys = KeyRing::new(&config.keys.0).context("no key is configured")?;
        let metrics = Metrics::new();
        let (kind, store) = open_store(config, &clock)?;
        let store = Arc::new(Measured::new(store, Arc::clone(&metrics)));
        metrics.begin(env!("CARGO_PKG_VERSION"), kind, seconds(clock.wall()));
        metrics.config_current.set(1);
        metrics.config_read_timestamp_seconds.set(seconds(clock.wall()));
        introduce(&metrics, &instances, clock.wall());
        let (handoff, committed) = Handoff::new(Slots::new());
        let service = Arc::new(Service {
            store,
            keys: Arc::new(keys),
            instances: Arc::new(instances),
            metrics,
            clock,
            public_url: config.public_url.clone(),
            handoff,
            phones: Phones::default(),
        });
        let bind =
            |address: SocketAddr| TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"));
        let this = Self {
            outbox: Outbox::new(Arc::clone(&service)),
            service,
            readiness: Readiness::default(),
            committed,
            public: bind(config.listen)?,
            operator: bind(config.operator_listen)?,
            shutdown: config.shutdown,
            trusted_proxies: config.trusted_proxies.clone(),
        };
        match prepare(&this.service).await {
            Ok(()) => this.readiness.set(true),
            Err(error @ StoreError::Unfit(_)) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "the store is not there yet; not ready"),
        }
        Ok(this)
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
        let Self { service, outbox, readiness, committed, public, operator, shutdown, trusted_proxies } = self;
        banner(&service);
        let app = Data::new(App { service: Arc::clone(&service), trusted_proxies });
        let public = serve(public, shutdown.grace, move |config| {
            config.app_data(app.clone()).configure(http::routes);
        })?;
        let state = Data::new(Operator { readiness: readiness.clone(), metrics: Arc::clone(&service.metrics) });
        let operator = serve(operator, Duration::from_secs(1), move |config| {
            config.app_data(state.clone()).configure(operator::routes);
        })?;
        let (public_handle, operator_handle) = (public.handle(), operator.handle());
        let public = tokio::spawn(public);
        let operator = tokio::spawn(operator);
        let stop_outbox = CancellationToken::new();
        let worker = tokio::spawn(Arc::clone(&outbox).run(committed, stop_outbox.clone()));
        let draining = CancellationToken::new();
        let probe = tokio::spawn(keep_ready(Arc::clone(&service), readiness.clone(), draining.clone(), stop.clone()));

        stop.cancelled().await;
        tracing::info!("stopping: not ready, requests are still taken");
        draining.cancel();
        let unfit = probe.await.context("the probe crashed")?;
        readiness.set(false);
        tokio::time::sleep(shutdown.drain_delay).await;
        service.store.changes().close();
        public_handle.stop(true).await;
        public.await.context("the public listener crashed")??;
        stop_outbox.cancel();
        let drained = tokio::time::timeout(shutdown.grace, worker).await;
        operator_handle.stop(false).await;
        operator.await.context("the operator listener crashed")??;
        match drained {
            Ok(joined) => joined.context("the outbox crashed")?,
            Err(_) => tracing::warn!("attempts are still in flight; their jobs go on after their lease"),
        }
        tracing::info!("stopped");
        unfit.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Lets the series of all instances begin.
fn introduce(metrics: &Metrics, instances: &Instances, now: Timestamp) {
    for instance in instances.all() {
        let (id, gateway) = (instance.config.id, instance.gateway.kind());
        metrics.know(id, gateway);
        let from = ByGateway { instance: Of(id), gateway };
        metrics.gateway_last_inbound_timestamp_seconds.get_or_create(&from).set(seconds(now));
        let state = if instance.config.disabled { "disabled" } else { "enabled" };
        let known = Known { instance: Of(id), name: instance.config.name.clone(), gateway, state };
        metrics.instance_info.get_or_create(&known).set(1);
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

/// The store, and the word for its kind.
fn open_store(config: &Config, clock: &Clock) -> anyhow::Result<(&'static str, Arc<dyn Store>)> {
    Ok(match &config.store {
        StoreConfig::Embedded { directory } => {
            tracing::info!(store = "embedded", directory = %directory.display(), "every answer waits for the disk");
            ("embedded", Arc::new(EmbeddedStore::open(directory, clock.clone())?))
        }
        StoreConfig::Redis { url, durability } => {
            let promise = match durability {
                Durability::Standard => "a write counts when Redis has it",
                Durability::Durable => "a write counts when a replica has it",
                Durability::Strict => "a write counts when it is on a replica's disk",
            };
            tracing::info!(store = "redis", ?durability, promise);
            let durability = match durability {
                Durability::Standard => redis::Durability::Standard,
                Durability::Durable => redis::Durability::Durable,
                Durability::Strict => redis::Durability::Strict,
            };
            ("redis", Arc::new(RedisStore::new(url.expose_secret(), durability, clock.clone())?))
        }
    })
}

async fn prepare(service: &Service) -> Result<(), StoreError> {
    for warning in service.store.posture().await? {
        tracing::warn!("{warning}");
    }
    service.store.claim(&service.keys.fingerprints()).await?;
    service.store.probe().await
}

/// Keeps readiness true to the store. Returns an error when the store turns out to be one we must not use.
async fn keep_ready(
    service: Arc<Service>,
    readiness: Readiness,
    draining: CancellationToken,
    stop: CancellationToken,
) -> Option<StoreError> {
    let mut prepared = readiness.is_ready();
    let mut failures = 0;
    loop {
        tokio::select! {
            () = draining.cancelled() => return None,
            () = tokio::time::sleep(PROBE_EVERY) => {}
        }
        let outcome = if prepared { service.store.probe().await } else { prepare(&service).await };
        #[expect(clippy::cast_precision_loss, reason = "an offset that loses digits is alarming anyway")]
        service.metrics.clock_offset_seconds.set(service.store.skew_millis() as f64 / 1000.0);
        match outcome {
            Ok(()) => {
                failures = 0;
                prepared = true;
                readiness.set(true);
            }
            Err(error @ StoreError::Unfit(_)) => {
                tracing::error!(%error, "this store must not be used");
                readiness.set(false);
                stop.cancel();
                return Some(error);
            }
            Err(error) => {
                failures += 1;
                if failures == PROBE_FAILURES {
                    tracing::error!(%error, "the store is away; not ready");
                    readiness.set(false);
                }
            }
        }
    }
}

fn serve<F>(listener: TcpListener, grace: Duration, configure: F) -> anyhow::Result<Server>
where
    F: Fn(&mut actix_web::web::ServiceConfig) + Send + Clone + 'static,
{
    let server = HttpServer::new(move || Actix::new().configure(configure.clone()))
        .disable_signals()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_DEADLINE)
        .shutdown_timeout(grace.as_secs().max(1))
        .listen(listener)?;
    Ok(server.run())
}

/// What proves a webhook, said once per instance.
fn banner(service: &Service) {
    for instance in service.instances.all() {
        tracing::info!(
            instance = %instance.config.id,
            gateway = instance.gateway.kind(),
            authenticity = instance.gateway.proof().describe(),
            completion = instance.config.completion.as_str(),
            "instance"
        );
        if instance.gateway.proof().is_weak() {
            let authenticity = instance.gateway.proof().describe();
            tracing::warn!(instance = %instance.config.id, authenticity, "whoever learns this secret can verify any number");
        }
    }
}
