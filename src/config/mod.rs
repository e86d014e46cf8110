//! Configuration: merges the layers (defaults, file, environment, overrides), then reads them once and reports all
//! faults together.
//!
//! This module only holds values; it does not construct other components. The environment is passed in as an argument.

mod callback_headers;
mod codes;
pub mod credentials;
mod edge;
mod file_watch;
mod files;
mod instance;
mod limits;
mod misplaced;
mod oidc;
mod operator;
mod page;
pub mod password;
mod restart;
mod secrets;
mod store;
mod test_number;
mod texts;
mod tls;
mod token;
mod warnings;
mod weak;

use std::{collections::HashSet, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

pub use self::{
    edge::{EdgeConfig, ProxyHeader},
    file_watch::{FileFingerprint, FileWatch},
    files::ConfigFiles,
    instance::{InstanceConfig, LinkStyle},
    limits::LimitsConfig,
    misplaced::explain_misplaced,
    oidc::{DEV_KEY_ID, OidcConfig},
    operator::{Operator, OperatorAccess, Password, UNNAMED},
    page::{Color, Logo, PageConfig},
    store::{Durability, StoreConfig},
    texts::OwnTexts,
    tls::{ClientCertificate, TlsConfig, handshake_failure},
    token::{ApiToken, is_id, read as read_tokens},
    warnings::warnings,
    weak::weakness,
};
use crate::{
    domain::redirect,
    reader::{Checked, Faults, Reader, Table, not_one_of},
};

/// All keys with their defaults and documentation. It is the lowest layer and the only reference.
pub const REFERENCE: &str = include_str!("default.toml");

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

const LISTEN: &str = "an address and a port such as 127.0.0.1:8080";

/// The configuration of the daemon.
#[derive(Clone, Debug)]
pub struct Config {
    pub public_url: Url,
    pub listen: SocketAddr,
    pub operator_listen: SocketAddr,
    pub access: OperatorAccess,
    pub keys: MasterKeys,
    /// A higher number than before requests a new look-up key.
    pub look_up_key_number: u32,
    pub edge: EdgeConfig,
    /// A `MaxMind` database that maps addresses to places.
    pub geoip_file: Option<PathBuf>,
    pub store: StoreConfig,
    pub log: LogConfig,
    /// The file that the audit stream is appended to.
    pub audit: Option<PathBuf>,
    pub otlp: Option<OtlpConfig>,
    pub shutdown: ShutdownConfig,
    /// The keys of the OpenID provider; `None` if no instance is one.
    pub oidc: Option<OidcConfig>,
    pub instances: Vec<InstanceConfig>,
}

/// The master keys, in the order of the configuration. The first one is used for new records.
#[derive(Clone)]
pub struct MasterKeys(pub Vec<[u8; 32]>);

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

/// The table `[log]`.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// One JSON object per line; otherwise text for people.
    pub json: bool,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

/// Where spans are exported to.
#[derive(Clone, Debug)]
pub struct OtlpConfig {
    pub url: Url,
    /// The value of the `Authorization` header.
    pub authorization: Option<SecretString>,
    pub tls: TlsConfig,
    /// Percentage of the traces starting here that is recorded. Traces of known callers are recorded if their header
    /// requests it.
    pub sample_percent: u8,
}

/// The table `[shutdown]`.
#[derive(Clone, Copy, Debug)]
pub struct ShutdownConfig {
    /// How long requests are still accepted after the process reports that it is not ready.
    pub drain_delay: Duration,
    /// How long requests and attempts in flight may take to finish after that.
    pub grace: Duration,
}

/// Merges the layers, then reads the result. `overrides` (dotted key, value) take precedence over the environment.
pub fn load(files: &ConfigFiles, overrides: &[(&str, String)]) -> Checked<Config> {
    match files.merged(overrides) {
        Ok(Value::Object(values)) => {
            let table = Table::new("", values);
            let mut reader = table.reader();
            let config = read(&mut reader);
            reader.check(Some(config))
        }
        Ok(_) => Checked::new(None, Faults::of("configuration", "expected a table")),
        Err(faults) => Checked::new(None, faults),
    }
}

/// As [`load`], from a text and these variables.
pub fn load_text(
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &[(&str, String)],
) -> Checked<Config> {
    match ConfigFiles::from_text(text, environment) {
        Ok(files) => load(&files, overrides),
        Err(faults) => Checked::new(None, faults),
    }
}

/// The environment of the process, for [`ConfigFiles`]. Variables that are not UTF-8 are skipped.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Whether the URL names this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Where people and gateways reach the daemon. Other URLs are this one and a path.
pub fn parse_public_url(text: &str) -> Result<Url, &'static str> {
    let url = redirect::parse(text).ok_or("expected an http:// or https:// URL without credentials")?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(
            "has a query or a fragment; links are made of it by adding a path, so give scheme, host and path only",
        );
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(
            "is not encrypted: anyone on the network path can read codes, and browsers keep no login there; use \
                    https://, or a loopback host such as http://127.0.0.1:8080 to try things",
        );
    }
    Ok(url)
}

fn read(s: &mut Reader<'_>) -> Config {
    // Already read: the files are part of the merged table.
    let _ = s.texts("include");
    let public_url = s.required("public_url", "where people and gateways reach this daemon", |s| {
        s.read("public_url", parse_public_url)
    });
    let listen = s.required("listen", LISTEN, |s| s.address("listen"));
    let operator_listen = s.required("operator_listen", LISTEN, |s| s.address("operator_listen"));
    if listen.is_some() && listen == operator_listen && listen.is_some_and(|address| address.port() != 0) {
        s.fault("operator_listen", "is the address of listen; people must not reach the operator listener");
    }
    let access = OperatorAccess::read(s);
    let keys = keys(s);
    let look_up_key_number = s.setting("look_up_key_number", 1..=u32::MAX);
    let edge = EdgeConfig::read(s);
    let geoip_file = s.text("geoip_file").map(PathBuf::from);
    if geoip_file.as_ref().is_some_and(|file| !file.is_file()) {
        s.fault("geoip_file", "is no file that can be read: a MaxMind DB (.mmdb) with places of addresses");
    }
    let store = s.nested("store", StoreConfig::read);
    let log = s.nested("log", LogConfig::read);
    let audit = s.nested("audit", |s| s.text("path")).map(PathBuf::from);
    let otlp = s.nested("otlp", OtlpConfig::read);
    let shutdown =
        s.nested("shutdown", |s| ShutdownConfig { drain_delay: s.duration("drain_delay"), grace: s.duration("grace") });
    let oidc = s.nested("oidc", OidcConfig::read);
    let instances = instances(s, oidc.as_ref());
    // Placeholders for values with a fault, so that the gateways are still checked.
    let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        public_url: public_url.unwrap_or_else(|| "https://localhost/".parse().expect("a constant URL is valid")),
        listen: listen.unwrap_or(unknown),
        operator_listen: operator_listen.unwrap_or(unknown),
        access,
        keys: MasterKeys(keys),
        look_up_key_number,
        edge,
        geoip_file,
        store: store.unwrap_or_else(|| StoreConfig::Embedded { directory: PathBuf::new() }),
        log,
        audit,
        otlp,
        shutdown,
        oidc,
        instances,
    }
}

fn instances(s: &mut Reader<'_>, oidc: Option<&OidcConfig>) -> Vec<InstanceConfig> {
    let defaults = s.table("instance_default");
    if !s.has("instance") {
        s.fault("instance", "is missing: write [[instance]]; `countersign new-instance` makes one");
    }
    let read = s.tables("instance", |s| s.read_with_defaults(defaults.values(), InstanceConfig::read));
    let mut ids = HashSet::new();
    let mut aliases = HashSet::new();
    for (index, instance) in read.iter().enumerate() {
        let Some(instance) = instance else { continue };
        if !ids.insert(instance.id) {
            s.fault(&format!("instance.{index}.id"), format!("{} occurs twice", instance.id));
        }
        for alias in &instance.aliases {
            if !aliases.insert(alias) {
                s.fault(&format!("instance.{index}.aliases"), format!("{alias:?} occurs twice"));
            }
        }
        oidc::check_clients(s, &format!("instance.{index}"), &instance.clients, oidc);
    }
    read.into_iter().flatten().collect()
}

fn keys(s: &mut Reader<'_>) -> Vec<[u8; 32]> {
    let secrets = s.secrets("key");
    if secrets.is_empty() && !s.is_faulty("key_file") && !s.is_faulty("key") {
        s.fault("key_file", "is missing: a file with 32 bytes in base64; make one with `openssl rand -base64 32`");
    }
    let mut keys = Vec::new();
    for (index, secret) in secrets.iter().enumerate() {
        match STANDARD.decode(secret.expose_secret()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            Some(key) => {
                if let Some(why) = weak::weak_bytes(&key) {
                    s.fault("key", format!("line {}: {why}; make one with `openssl rand -base64 32`", index + 1));
                }
                keys.push(key);
            }
            None => s.fault("key", format!("line {}: expected 32 bytes in base64", index + 1)),
        }
    }
    keys
}

impl LogConfig {
    fn read(s: &mut Reader<'_>) -> Self {
        Self {
            json: s.choice("format", &[("json", true), ("text", false)]).unwrap_or(true),
            level: s.read("level", level).unwrap_or_else(|| "info".to_owned()),
        }
    }
}

/// A level, or directives such as `countersign=debug,hyper=warn`.
fn level(text: &str) -> Result<String, String> {
    for directive in text.split(',') {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
        if !LEVELS.contains(&level) {
            return Err(not_one_of(level, LEVELS));
        }
    }
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl OtlpConfig {
    fn read(s: &mut Reader<'_>) -> Option<Self> {
        let url = s.url("url");
        let authorization = s.secret("authorization");
        let tls = s.nested("tls", TlsConfig::read);
        let sample_percent = u8::try_from(s.setting("sample_percent", 0..=100)).unwrap_or(100);
        if url.is_some() && cfg!(not(feature = "otlp")) {
            s.fault("url", "needs a build with the feature otlp");
        }
        Some(Self { url: url?, authorization, tls, sample_percent })
    }
}

#[cfg(test)]
mod tests;
