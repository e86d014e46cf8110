//! Builds the instances and their gateways from a configuration.

use secrecy::ExposeSecret as _;

use super::open;
use crate::{
    config::{self, Config, ConfigFiles, DEV_KEY_ID, InstanceConfig, StoreConfig},
    domain::{Channel, InstanceId, template, time::rfc3339},
    egress::{Egress, Policy},
    gateway::{self, Purpose},
    reader::{Checked, Faults},
    service::{Instance, Instances, Service},
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

/// What works but is unwise in an instance: the message, and what it is about.
pub fn warnings(instance: &Instance) -> Vec<(&'static str, String)> {
    let mut warnings = Vec::new();
    if instance.gateway.webhook_auth().is_weak() {
        let authenticity = instance.gateway.webhook_auth().describe().to_owned();
        warnings.push(("anyone who learns this secret can verify any number", authenticity));
    }
    if let Some(weak) = instance.gateway.sender_warning() {
        warnings.push(("the sender of a message is taken from unauthenticated data", weak.to_owned()));
    }
    if let Some(outdated) = instance.gateway.api_warning() {
        warnings.push(("an old version of the gateway's API is configured, which its vendor will end", outdated));
    }
    let unencrypted = instance.config.unencrypted_redirects();
    warnings.extend(unencrypted.map(|url| {
        (
            "redirect_urls holds an http:// address: anyone on the network path reads redeem tokens; use https://",
            url.to_string(),
        )
    }));
    warnings.extend(instance.config.codes.test_numbers.iter().map(|number| {
        let about = format!("{} until {}", number.phone.e164(), rfc3339(number.until));
        ("a test number: whoever names it in your app and knows its code logs in", about)
    }));
    warnings.extend(client_warnings(&instance.config));
    warnings
}

/// What is unwise in an instance that is an OpenID provider.
fn client_warnings(config: &InstanceConfig) -> Vec<(&'static str, String)> {
    let mut warnings = Vec::new();
    if !config.clients.is_empty() {
        let lacks_link = |text: &String| !template::mentions(text, "link");
        let texts = config.texts.by_language().filter(|(_, texts)| texts.success.as_ref().is_some_and(lacks_link));
        warnings.extend(texts.map(|(language, _)| {
            (
                "the success text has no <link>: a person who logs in at an OpenID client with WhatsApp on the same \
                 device cannot finish",
                format!("texts.success in the language {}", language.tag()),
            )
        }));
    }
    let hidden = config.clients.iter().filter(|client| client.allow_hidden && client.scopes.phone);
    warnings.extend(hidden.map(|client| {
        (
            "an OpenID client has allow_hidden and the scope phone: people whose number is hidden have no phone_number",
            client.id.clone(),
        )
    }));
    warnings
}

/// Logs [`warnings`] of every instance.
pub(super) fn warn(instances: &Instances) {
    for instance in instances.all() {
        for (message, about) in warnings(&instance) {
            tracing::warn!(instance = %instance.config.id, about, "{message}");
        }
    }
}

/// Logs each instance with the authentication of its webhooks, and its [`warnings`].
pub(super) fn log_instances(service: &Service) {
    for instance in service.instances.all() {
        tracing::debug!(
            instance = %instance.config.id,
            gateway = instance.gateway.kind(),
            authenticity = instance.gateway.webhook_auth().describe(),
            completion = instance.config.completion.as_str(),
            "instance"
        );
    }
    warn(&service.instances);
    if service.public_url.path() != "/" {
        tracing::warn!(
            public_url = %service.public_url,
            "public_url has a path: pages of other programs on this host are of the same origin and could act for the \
             person; use a host name of its own if they are not trusted"
        );
    }
}
