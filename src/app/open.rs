//! Opens the external resources of a configuration: the store, the audit stream and the `GeoIP` database.

use std::sync::Arc;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;

use crate::{
    audit::Audit,
    clock::Clock,
    config::{Config, Durability, StoreConfig},
    metrics::Metrics,
    reader::Faults,
    service::GeoIp,
    store::{Store, embedded::EmbeddedStore, redis::RedisStore},
};

/// The audit stream, which discards everything if none is configured.
pub(super) fn audit(config: &Config, metrics: &Metrics) -> anyhow::Result<Audit> {
    let Some(path) = &config.audit else { return Ok(Audit::default()) };
    Audit::open(path, metrics.audit_lines_lost.clone()).with_context(|| format!("audit.path {}", path.display()))
}

/// The store, and its kind for the metric `build_info`.
pub(super) fn store(config: &Config, clock: &Clock) -> anyhow::Result<(&'static str, Arc<dyn Store>)> {
    Ok(match &config.store {
        StoreConfig::Embedded { directory } => ("embedded", Arc::new(EmbeddedStore::open(directory, clock.clone())?)),
        StoreConfig::Redis { url, tls, durability } => {
            ("redis", Arc::new(RedisStore::with_tls(url.expose_secret(), tls, *durability, clock.clone())?))
        }
    })
}

/// What the store is and when a write counts, without its credentials.
pub(super) fn describe(store: &StoreConfig) -> String {
    let promise = match store {
        StoreConfig::Embedded { directory } => {
            return format!("embedded in {}, a write counts when it is on the disk", directory.display());
        }
        StoreConfig::Redis { durability: Durability::Standard, .. } => "Redis has it",
        StoreConfig::Redis { durability: Durability::Durable, .. } => {
            "a replica has it; with one replica, when all have it"
        }
        StoreConfig::Redis { durability: Durability::AllReplicas, .. } => "every replica has it",
    };
    format!("redis, a write counts when {promise}")
}

/// The `GeoIP` database of `geoip_file`.
pub(super) fn geoip(config: &Config) -> Result<Option<Arc<GeoIp>>, Faults> {
    let Some(file) = &config.geoip_file else { return Ok(None) };
    match GeoIp::open(file) {
        Ok(database) => Ok(Some(Arc::new(database))),
        Err(error) => Err(Faults::of("geoip_file", format!("{} is no MaxMind DB: {error}", file.display()))),
    }
}
