//! Configuration reload: which changes a running process can apply, and which need a restart.

use secrecy::ExposeSecret as _;

use super::{Config, EdgeConfig, LogConfig, StoreConfig};

impl Config {
    /// The keys that differ in `next` and can only be applied by a restart.
    pub fn needs_restart(&self, next: &Self) -> Vec<&'static str> {
        let (log, shutdown) = (&self.log, &self.shutdown);
        let changed = [
            ("public_url", self.public_url != next.public_url),
            ("listen", self.listen != next.listen),
            ("operator_listen", self.operator_listen != next.operator_listen),
            ("store", !self.store.is_same_place(&next.store)),
            ("limits.unauthenticated_mib", self.edge.unauthenticated != next.edge.unauthenticated),
            ("log.format", log.json != next.log.json),
            ("audit", self.audit != next.audit),
            ("otlp", !self.exports_as(next)),
            ("shutdown", (shutdown.drain_delay, shutdown.grace) != (next.shutdown.drain_delay, next.shutdown.grace)),
        ];
        changed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
    }
}

impl Config {
    /// Returns `next`, with the values that need a restart taken from the running configuration.
    #[must_use]
    pub fn with_reloadable_keys_of(&self, next: &Self) -> Self {
        let store = if self.store.is_same_place(&next.store) { &next.store } else { &self.store };
        Self {
            public_url: self.public_url.clone(),
            listen: self.listen,
            operator_listen: self.operator_listen,
            store: store.clone(),
            edge: EdgeConfig { unauthenticated: self.edge.unauthenticated, ..next.edge.clone() },
            log: LogConfig { json: self.log.json, level: next.log.level.clone() },
            audit: self.audit.clone(),
            otlp: self.otlp.clone(),
            shutdown: self.shutdown,
            ..next.clone()
        }
    }

    fn exports_as(&self, next: &Self) -> bool {
        let whole = |config: &Self| {
            config.otlp.as_ref().map(|otlp| {
                let authorization = otlp.authorization.as_ref().map(|header| header.expose_secret().to_owned());
                (otlp.url.clone(), authorization, otlp.sample_percent)
            })
        };
        whole(self) == whole(next)
    }
}

impl StoreConfig {
    /// Whether both are equal apart from credentials and certificates, which take effect with the next connection.
    fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Embedded { directory }, Self::Embedded { directory: other }) => directory == other,
            (Self::Redis { url, durability, .. }, Self::Redis { url: other, durability: others, .. }) => {
                place(url.expose_secret()) == place(other.expose_secret()) && durability == others
            }
            _ => false,
        }
    }
}

/// The URL of a store without its credentials.
fn place(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let is_credential = |pair: &&str| pair.starts_with("sentinel_user=") || pair.starts_with("sentinel_password=");
    let query: Vec<&str> = query.split('&').filter(|pair| !is_credential(pair)).collect();
    format!("{scheme}://{hosts}/{path}?{}", query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_stays_where_it_is_when_its_credentials_change() {
        let known = place("redis+sentinel://app:old@a:26379,b/main/0?sentinel_password=x");
        assert_eq!(known, place("redis+sentinel://other:n%40w@a:26379,b/main/0?sentinel_user=u&sentinel_password=y"));
        assert_eq!(known, place("redis+sentinel://a:26379,b/main/0"));
        assert_ne!(known, place("redis+sentinel://app:old@a:26379,c/main/0"));
        assert_ne!(place("redis://h/0"), place("redis://h/1"));
        assert_ne!(place("redis://h/0"), place("rediss://h/0"));
        assert_ne!(place("redis://h/0"), place("redis://h/0?protocol=resp3"));
    }
}
