//! Configuration: layers, then one reading that reports every fault at once.
//!
//! It holds values and builds no parts. The environment is an argument.

pub mod credentials;
mod edge;
mod faults;
mod instance;
mod operator;
mod page;
mod restart;
mod section;
mod token;
mod weak;

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

pub use self::{
    edge::{Edge, ProxyHeader},
    faults::{Fault, Faults},
    instance::{InstanceConfig, Limits},
    operator::{Access, Operator, Password, UNNAMED},
    page::{Color, Logo, PageConfig},
    restart::files,
    section::{Section, not_one_of},
    token::{ApiToken, is_id, read as read_tokens},
    weak::weakness,
};

/// Every key with its default and meaning: layer 0, and the only reference.
pub const REFERENCE: &str = include_str!("default.toml");

/// What the daemon is told.
#[derive(Clone, Debug)]
pub struct Config {
    pub public_url: Url,
    pub listen: SocketAddr,
    pub operator_listen: SocketAddr,
    pub access: Access,
    pub keys: Masters,
    /// A higher one than before asks for another key of look-ups.
    pub look_up_key_number: u32,
    pub edge: Edge,
    /// A `MaxMind` database with places of addresses.
    pub geoip_file: Option<PathBuf>,
    pub store: StoreConfig,
    pub log: LogConfig,
    /// Where the audit stream is appended to.
    pub audit: Option<PathBuf>,
    pub otlp: Option<OtlpConfig>,
    pub shutdown: ShutdownConfig,
    pub instances: Vec<InstanceConfig>,
}

/// The master keys, newest first.
#[derive(Clone)]
pub struct Masters(pub Vec<[u8; 32]>);

impl fmt::Debug for Masters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

#[derive(Clone, Debug)]
pub enum StoreConfig {
    Embedded { directory: PathBuf },
    Redis { url: SecretString, durability: Durability },
}

/// How much must have happened before a write counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    Standard,
    /// One replica has it.
    Durable,
    /// Every replica has it.
    Everywhere,
}

#[derive(Clone, Debug)]
pub struct LogConfig {
    pub json: bool,
    pub level: String,
}

/// Where spans go.
#[derive(Clone, Debug)]
pub struct OtlpConfig {
    pub url: Url,
    /// The whole header.
    pub authorization: Option<SecretString>,
    /// Of the traces that begin here; those of known callers are recorded when their header asks for it.
    pub sample_percent: u8,
}

#[derive(Clone, Copy, Debug)]
pub struct ShutdownConfig {
    pub drain_delay: Duration,
    pub grace: Duration,
}

/// Reads a file's text over the defaults and under the environment and `overrides` (dotted key, value).
pub fn load(
    file: Option<&str>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &[(&str, String)],
    faults: &mut Faults,
) -> Option<Config> {
    if let Some(Err(error)) = file.map(str::parse::<toml::Table>) {
        faults.add("configuration", place(file.unwrap_or_default(), &error));
        return None;
    }
    match layers(file, environment, overrides) {
        Ok(Value::Object(table)) => read(Section::new("", table), faults),
        Ok(_) => None,
        Err(error) => {
            faults.add("configuration", error.to_string());
            None
        }
    }
}

/// Where TOML is broken. Its own report quotes the line, which may hold a secret.
fn place(text: &str, error: &toml::de::Error) -> String {
    let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("not TOML at line {line}: {}", error.message())
}

/// All layers as one table.
fn layers(
    file: Option<&str>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &[(&str, String)],
) -> Result<Value, config::ConfigError> {
    let mut builder = config::Config::builder().add_source(text(REFERENCE));
    if let Some(file) = file {
        builder = builder.add_source(text(file));
    }
    let environment = config::Environment::with_prefix("COUNTERSIGN")
        .prefix_separator("__")
        .separator("__")
        .source(Some(environment.into_iter().collect()));
    builder = builder.add_source(environment);
    for (key, value) in overrides {
        builder = builder.set_override(*key, value.clone()).expect("our own keys are well-formed");
    }
    builder.build().and_then(config::Config::try_deserialize::<Value>)
}

/// The process's environment, for [`load`].
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn text(toml: &str) -> impl config::Source + Send + Sync + use<> + 'static {
    config::File::from_str(toml, config::FileFormat::Toml)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn read(mut section: Section, faults: &mut Faults) -> Option<Config> {
    let s = &mut section;
    let public_url = s.url("public_url", faults);
    if public_url.is_none() && !s.has("public_url") {
        faults.add("public_url", "is missing: where people and gateways reach this daemon");
    }
    if public_url.as_ref().is_some_and(|url| url.scheme() == "http" && !is_loopback(url)) {
        let why = "is not encrypted: whoever is on the way reads codes, and browsers keep no login there; use https://, or \
            a loopback host such as http://127.0.0.1:8080 to try things";
        faults.add("public_url", why);
    }
    let listen = s.address("listen", faults);
    let operator_listen = s.address("operator_listen", faults);
    let access = Access::read(s, faults);
    let keys = keys(s, faults);
    let look_up_key_number = s.number("look_up_key_number", 1..=u32::MAX, faults);
    let edge = Edge::read(s, faults);
    let geoip_file = s.text("geoip_file", faults).map(PathBuf::from);
    if geoip_file.as_ref().is_some_and(|file| !file.is_file()) {
        faults.add("geoip_file", "is no file that can be read: a MaxMind DB (.mmdb) with places of addresses");
    }
    let store = store(s, faults);
    let log = log(s, faults);
    let mut audit_section = s.section("audit", faults);
    let audit = audit_section.text("path", faults).map(PathBuf::from);
    audit_section.finish(faults);
    let otlp = otlp(s, faults);
    let mut shutdown = s.section("shutdown", faults);
    let shutdown_config = ShutdownConfig {
        drain_delay: shutdown.duration("drain_delay", faults),
        grace: shutdown.duration("grace", faults),
    };
    shutdown.finish(faults);
    let defaults = s.section("instance_default", faults);
    let instances: Vec<InstanceConfig> = s
        .sections("instance", faults)
        .into_iter()
        .filter_map(|section| InstanceConfig::read(section.over(&defaults), faults))
        .collect();
    if instances.is_empty() && !s.has("instance") {
        faults.add("instance", "is missing: write [[instance]]; `countersign new-instance` makes one");
    }
    for (index, instance) in instances.iter().enumerate() {
        if instances[..index].iter().any(|other| other.id == instance.id) {
            faults.add(format!("instance.{index}.id"), format!("{} occurs twice", instance.id));
        }
    }
    section.finish(faults);
    Some(Config {
        public_url: public_url?,
        listen: listen?,
        operator_listen: operator_listen?,
        access,
        keys: Masters(keys),
        look_up_key_number,
        edge,
        geoip_file,
        store: store?,
        log,
        audit,
        otlp,
        shutdown: shutdown_config,
        instances,
    })
}

fn keys(s: &mut Section, faults: &mut Faults) -> Vec<[u8; 32]> {
    let mut keys = Vec::new();
    for (index, secret) in s.secrets("key", faults).iter().enumerate() {
        match STANDARD.decode(secret.expose_secret()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            Some(key) => {
                if let Some(why) = weak::weak_bytes(&key) {
                    faults.add("key", format!("line {}: {why}; make one with `openssl rand -base64 32`", index + 1));
                }
                keys.push(key);
            }
            None => faults.add("key", format!("line {}: expected 32 bytes in base64", index + 1)),
        }
    }
    if keys.is_empty() && faults.iter().all(|fault| !fault.key.starts_with("key")) {
        faults.add("key_file", "is missing: a file with 32 bytes in base64; make one with `openssl rand -base64 32`");
    }
    keys
}

fn store(s: &mut Section, faults: &mut Faults) -> Option<StoreConfig> {
    const DURABILITIES: &[(&str, Option<Durability>)] =
        &[("auto", None), ("standard", Some(Durability::Standard)), ("durable", Some(Durability::Durable))];
    let mut section = s.section("store", faults);
    section.file_over_default("url", "embedded:/var/lib/countersign");
    let url = section.secret("url", faults);
    let durability = section.choice("durability", DURABILITIES, faults).flatten();
    let confirm = section.choice("confirm", &[("auto", false), ("one", false), ("all", true)], faults);
    // One of one is all; with several replicas somebody has to choose that the loss of one is a pause.
    let all = confirm.unwrap_or_default();
    section.finish(faults);
    let url = url?;
    let text = url.expose_secret();
    let redis = |otherwise| {
        let durability = match durability.unwrap_or(otherwise) {
            Durability::Durable if all => Durability::Everywhere,
            other => other,
        };
        Some(StoreConfig::Redis { url: url.clone(), durability })
    };
    match text.split_once(':') {
        Some(("embedded", directory)) if !directory.is_empty() => {
            Some(StoreConfig::Embedded { directory: PathBuf::from(directory) })
        }
        Some(("redis" | "rediss", _)) => redis(Durability::Standard),
        // Where there is a fail-over there are replicas.
        Some(("redis+sentinel" | "rediss+sentinel", rest)) if names_a_master(rest) => redis(Durability::Durable),
        Some(("redis-cluster" | "rediss-cluster", rest)) if names_hosts(rest) => redis(Durability::Durable),
        _ => {
            let expected = "expected embedded:DIR, redis://HOST:PORT/DB, redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB or \
                redis-cluster://HOST:PORT,HOST:PORT without a database (rediss… for TLS)";
            faults.add(section.key("url"), expected);
            None
        }
    }
}

fn names_a_master(rest: &str) -> bool {
    let parts = rest.strip_prefix("//").and_then(|rest| rest.split_once('/'));
    parts.is_some_and(|(hosts, master)| !hosts.is_empty() && !master.is_empty())
}

fn names_hosts(rest: &str) -> bool {
    let hosts = rest.strip_prefix("//").unwrap_or_default();
    let (hosts, database) = hosts.split_once('/').unwrap_or((hosts, ""));
    !hosts.is_empty() && matches!(database, "" | "0")
}

fn log(s: &mut Section, faults: &mut Faults) -> LogConfig {
    let mut section = s.section("log", faults);
    let log = LogConfig {
        json: section.choice("format", &[("json", true), ("text", false)], faults).unwrap_or(true),
        level: section.text("level", faults).unwrap_or_else(|| "info".to_owned()),
    };
    section.finish(faults);
    log
}

fn otlp(s: &mut Section, faults: &mut Faults) -> Option<OtlpConfig> {
    let mut section = s.section("otlp", faults);
    let url = section.url("url", faults);
    let authorization = section.secret("authorization", faults);
    let sample_percent = u8::try_from(section.number("sample_percent", 0..=100, faults)).unwrap_or(100);
    if url.is_some() && cfg!(not(feature = "otlp")) {
        faults.add(section.key("url"), "needs a build with the feature otlp");
    }
    section.finish(faults);
    Some(OtlpConfig { url: url?, authorization, sample_percent })
}

/// The key bytes of a Standard Webhooks secret `whsec_<base64>`.
pub fn decode_whsec(secret: &str) -> Option<Vec<u8>> {
    STANDARD.decode(secret.strip_prefix("whsec_")?).ok()
}

#[cfg(test)]
mod tests;
