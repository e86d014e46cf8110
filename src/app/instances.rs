//! Builds the instances and their gateways from a configuration.

use secrecy::ExposeSecret as _;

use super::open;
use crate::{
    config::{self, Config, ConfigFiles, DEV_KEY_ID, StoreConfig},
    domain::{Channel, InstanceId},
    egress::{Egress, Policy},
    gateway::{self, Purpose},
    ops::posture::{InstanceWarning, warnings},
    reader::{Checked, Faults},
    service::{Instance, Instances, Services},
    store::redis,
};

/// Reads the configuration, builds the instances and opens the `GeoIP` database. Returns all faults at once, with the
/// file and line of each.
pub fn load(files: &ConfigFiles) -> Result<(Config, Instances), Faults> {
    let loaded = config::load(files, &[])
        .and(|config| build_instances(config, Purpose::Serve))
        .and(|(config, _)| Checked::new(Some(()), open::geoip(config).err().unwrap_or_default()));
    loaded.into_result().map(|(loaded, ())| loaded).map_err(|faults| files.locate(faults))
}

/// Builds every instance with its gateway. Faults name the key of the configuration.
pub fn build_instances(config: &Config, purpose: Purpose) -> Checked<Instances> {
    let mut faults = Faults::default();
    let keys = config.oidc.iter().flat_map(|oidc| &oidc.signing_keys);
    if purpose == Purpose::Serve && keys.into_iter().any(|key| key.id() == DEV_KEY_ID) {
        faults.add(
            "oidc.signing_key_files",
            "holds the key of `countersign dev`, which everybody has: make one of your own",
        );
    }
    let (denied_hosts, denied_ports) = denied_targets(config);
    let built = config.instances.iter().filter_map(|instance| {
        let url = webhook_url(&config.public_url, instance.id);
        let gateway = gateway::build(&instance.gateway, purpose, &url).map_err(|more| faults.append(more)).ok()?;
        let callbacks = Policy {
            any_address: false,
            allow_http: instance.allow_http_callbacks,
            allowed_networks: instance.callback_allow_networks.clone(),
            denied_hosts: denied_hosts.clone(),
            denied_private_ports: denied_ports.clone(),
        };
        let callbacks = Egress::with_tls(callbacks, &instance.callback_tls);
        let sending = Egress::with_tls(Policy { any_address: true, ..Policy::default() }, &instance.gateway_tls);
        Some(Instance { config: instance.clone(), gateway, callback_egress: callbacks, gateway_egress: sending })
    });
    let built: Vec<Instance> = built.collect();
    if faults.is_empty() {
        check_channels(&built, &mut faults);
    }
    Checked::new(Some(Instances::new(built)), faults)
}

/// Checks that every channel of an instance has a gateway that sends over it.
fn check_channels(instances: &[Instance], faults: &mut Faults) {
    for instance in instances {
        let id = instance.config.id;
        if instance.gateway.channel() == Channel::Sms && !instance.config.clients.is_empty() {
            let problem = "needs a gateway for WhatsApp: the sender of an SMS can be forged";
            faults.add(format!("instance {id}: client"), problem);
        }
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
            let served = instance.gateway.channel() == channel || (channel == Channel::Sms && sms.is_some());
            if !served {
                let channel = channel.as_str();
                faults.add(
                    format!("instance {id}: channels"),
                    format!("no gateway sends over {channel}: the gateway of this instance sends over another channel, and sms_instance is for sms"),
                );
            }
        }
    }
}

/// The URL at which an instance's webhooks arrive.
pub fn webhook_url(public_url: &url::Url, instance: InstanceId) -> String {
    format!("{}/webhooks/{instance}", public_url.as_str().trim_end_matches('/'))
}

/// Targets that callbacks must not reach: this daemon, the store, and the ports of both on private addresses, which
/// other replicas, store nodes and Sentinels use too. Hosts with ports, and ports.
fn denied_targets(config: &Config) -> (Vec<(String, u16)>, Vec<u16>) {
    let mut hosts: Vec<(String, u16)> =
        [config.listen, config.operator_listen].iter().map(|own| (own.ip().to_string(), own.port())).collect();
    let mut ports = vec![config.operator_listen.port()];
    if let StoreConfig::Redis { url, .. } = &config.store {
        let store = redis::addresses(url.expose_secret());
        ports.extend(store.iter().map(|(_, port)| *port));
        hosts.extend(store);
    }
    (hosts, ports)
}

/// Logs [`warnings`] of every instance.
pub(super) fn warn(instances: &Instances) {
    for instance in instances.all() {
        for InstanceWarning { problem, about, .. } in warnings(&instance) {
            tracing::warn!(instance = %instance.config.id, about, "{problem}");
        }
    }
}

/// Logs each instance with the authentication of its webhooks, and its [`warnings`].
pub(super) fn log_instances(services: &Services) {
    for instance in services.env.instances.all() {
        tracing::debug!(
            instance = %instance.config.id,
            gateway = instance.gateway.kind(),
            authenticity = instance.gateway.webhook_auth().describe(),
            completion = instance.config.completion.as_str(),
            "instance"
        );
    }
    warn(&services.env.instances);
    if services.env.public_url.as_url().path() != "/" {
        tracing::warn!(
            public_url = %services.env.public_url.as_url(),
            "public_url has a path: pages of other programs on this host are of the same origin and could act for the \
             person; use a host name of its own if they are not trusted"
        );
    }
}
