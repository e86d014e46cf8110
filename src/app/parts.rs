//! The parts that a configuration names: instances with their gateways, the store.

use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;

use crate::{
    audit::Audit,
    clock::Clock,
    config::{self, Config, Durability, StoreConfig},
    domain::{InstanceId, sending::Channel},
    egress::{Egress, Policy},
    gateway::{self, Purpose},
    metrics::{
        Metrics,
        label::{ByGateway, Known, Of},
    },
    reader::{Checked, Faults},
    service::{Instance, Instances, Places, Service},
    store::{Store, embedded::EmbeddedStore, redis, redis::RedisStore},
};

/// Everything a configuration file says, or everything that is wrong with it.
pub fn assemble(text: &str) -> Result<(Config, Instances), Faults> {
    let config = config::load(Some(text), config::environment(), &[]);
    config.and(|config| instances(config, Purpose::Serve)).into_result()
}

/// Builds every instance's gateway; faults carry their keys.
pub fn instances(config: &Config, purpose: Purpose) -> Checked<Instances> {
    let mut faults = Faults::default();
    let (closed, ports) = closed(config);
    let built = config.instances.iter().filter_map(|instance| {
        let url = webhook_url(&config.public_url, instance.id);
        let gateway = gateway::build(&instance.gateway, purpose, &url).map_err(|more| faults.append(more)).ok()?;
        let callbacks = Egress::new(Policy {
            anywhere: false,
            http: instance.allow_http_callbacks,
            networks: instance.callback_allow_networks.clone(),
            closed: closed.clone(),
            closed_ports: ports.clone(),
        });
        let sending = Egress::new(Policy { anywhere: true, ..Policy::default() });
        Some(Instance { config: instance.clone(), gateway, callbacks, sending })
    });
    let built: Vec<Instance> = built.collect();
    if faults.is_empty() {
        channels(&built, &mut faults);
    }
    Checked::new(Some(Instances::new(built)), faults)
}

/// Every channel needs a gateway that carries it.
fn channels(instances: &[Instance], faults: &mut Faults) {
    for instance in instances {
        let id = instance.config.id;
        let sms = instance.config.codes.sms_instance.map(|wanted| {
            let other = instances.iter().find(|other| other.config.id == wanted);
            other.is_some_and(|other| other.gateway.channel() == Channel::Sms)
        });
        if sms == Some(false) {
            faults.add(
                format!("instance {id}: sms_instance"),
                "names no [[instance]] whose gateway sends SMS: kind twilio or vonage with channel = \"sms\", or generic",
            );
        }
        for channel in instance.channels() {
            let carried = instance.gateway.channel() == channel || (channel == Channel::Sms && sms.is_some());
            if !carried {
                let channel = channel.as_str();
                faults.add(
                    format!("instance {id}: channels"),
                    format!("{channel} is carried by no gateway: its own carries another channel, and sms_instance is for sms"),
                );
            }
        }
    }
}

/// Where an instance's webhooks arrive.
pub fn webhook_url(public_url: &url::Url, instance: InstanceId) -> String {
    format!("{}/webhooks/{instance}", public_url.as_str().trim_end_matches('/'))
}

/// Where no callback may go: to ourselves, to the store, and on private addresses to the ports of both, which other
/// replicas, other nodes and other Sentinels have, too.
fn closed(config: &Config) -> (Vec<(String, u16)>, Vec<u16>) {
    let mut closed: Vec<(String, u16)> =
        [config.listen, config.operator_listen].iter().map(|own| (own.ip().to_string(), own.port())).collect();
    let mut ports = vec![config.operator_listen.port()];
    if let StoreConfig::Redis { url, .. } = &config.store {
        let store = redis::addresses(url.expose_secret());
        ports.extend(store.iter().map(|(_, port)| *port));
        closed.extend(store);
    }
    (closed, ports)
}

/// Lets the series of all instances begin.
pub(super) fn introduce(metrics: &Metrics, instances: &Instances, now: Timestamp) {
    metrics.instance_info.clear();
    let all = instances.all();
    for instance in &all {
        let (id, gateway) = (instance.config.id, instance.gateway.kind());
        metrics.know(id, gateway, all.len());
        let from = ByGateway { instance: Of(id), gateway };
        if metrics.gateway_last_inbound_timestamp_seconds.get(&from).is_none() {
            metrics.gateway_last_inbound_timestamp_seconds.get_or_create(&from).set(seconds(now));
        }
        let state = if instance.config.disabled { "disabled" } else { "enabled" };
        let known = Known { instance: Of(id), name: instance.config.name.clone(), gateway, state };
        metrics.instance_info.get_or_create(&known).set(1);
    }
}

pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

/// The store, and the word for its kind.
pub(super) fn open_places(config: &Config) -> anyhow::Result<Option<Places>> {
    let Some(file) = &config.geoip_file else { return Ok(None) };
    let places = Places::open(file).with_context(|| format!("geoip_file {}", file.display()))?;
    Ok(Some(places))
}

pub(super) fn open_audit(config: &Config) -> anyhow::Result<Audit> {
    let Some(path) = &config.audit else { return Ok(Audit::default()) };
    Audit::open(path).with_context(|| format!("audit.path {}", path.display()))
}

pub(super) fn open_store(config: &Config, clock: &Clock) -> anyhow::Result<(&'static str, Arc<dyn Store>)> {
    Ok(match &config.store {
        StoreConfig::Embedded { directory } => {
            tracing::info!(store = "embedded", directory = %directory.display(), "every answer waits for the disk");
            ("embedded", Arc::new(EmbeddedStore::open(directory, clock.clone())?))
        }
        StoreConfig::Redis { url, durability } => {
            let promise = match durability {
                Durability::Standard => "a write counts when Redis has it",
                Durability::Durable => "a write counts when a replica has it: where there is one, all have it",
                Durability::Everywhere => "a write counts when every replica has it",
            };
            tracing::info!(store = "redis", ?durability, promise);
            let durability = match durability {
                Durability::Standard => redis::Durability::Standard,
                Durability::Durable => redis::Durability::Durable,
                Durability::Everywhere => redis::Durability::Everywhere,
            };
            ("redis", Arc::new(RedisStore::new(url.expose_secret(), durability, clock.clone())?))
        }
    })
}

/// What proves a webhook, said once per instance.
pub(super) fn banner(service: &Service) {
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
        if let Some(weak) = instance.gateway.believes() {
            tracing::warn!(instance = %instance.config.id, weak, "senders are believed that anybody could make up");
        }
    }
}

/// Tells this process from the others: the host, and a port that only one process there can have.
pub(super) fn replica_name(port: u16) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
    format!("{}:{port}", host.unwrap_or_else(|| "host".to_owned()))
}
