//! The nodes at which a cluster is first contacted: `redis-cluster://` in `store.url`.

use std::fmt;

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use url::Url;

use super::endpoint::{Endpoint, open, parse_hosts};
use crate::{config::TlsConfig, store::StoreError};

const DEFAULT_PORT: u16 = 6379;

/// The address of a node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct NodeAddress {
    /// An IPv6 address is stored without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl NodeAddress {
    /// Parses an address as nodes report it in `MOVED` and `ASK`. A node that does not know its own name leaves the
    /// host out; it is then the host of `reporter`.
    pub(super) fn parse_reported(text: &str, reporter: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self::reported(reporter, host, port.parse().ok()?))
    }

    pub(super) fn reported(reporter: &Self, host: &str, port: u16) -> Self {
        let host = if matches!(host, "" | "?") { &reporter.host } else { host };
        Self { host: host.to_owned(), port }
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Parsed from `store.url`.
pub(super) struct SeedNodes {
    pub(super) addresses: Vec<NodeAddress>,
    /// User, password and TLS mode, the same for all nodes.
    settings: ConnectionInfo,
}

impl SeedNodes {
    /// `None` for any other kind of URL. Errors do not quote `text`, which may hold a password.
    pub(super) fn parse(text: &str, tls: &TlsConfig) -> Result<Option<Self>, StoreError> {
        let Some((scheme @ ("redis" | "rediss"), rest)) = text.split_once("-cluster://") else { return Ok(None) };
        let unfit = |why: &str| StoreError::Misconfigured(format!("store.url: {why}"));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !matches!(path, "" | "0") {
            return Err(unfit("a Redis Cluster has no database but 0: end the URL with the last host"));
        }
        let seeds = parse_cluster_url(scheme, authority);
        let mut seeds =
            seeds.ok_or_else(|| unfit("expected redis-cluster://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]"))?;
        let client = open(seeds.settings, tls).map_err(|error| unfit(error.category()))?;
        seeds.settings = client.get_connection_info().clone();
        Ok(Some(seeds))
    }

    /// The endpoint of one node.
    pub(super) fn endpoint(&self, address: &NodeAddress) -> redis::RedisResult<Endpoint> {
        let NodeAddress { host, port } = address.clone();
        let address = match self.settings.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Client::open(self.settings.clone().set_addr(address)).map(Endpoint::Address)
    }
}

fn parse_cluster_url(scheme: &str, authority: &str) -> Option<SeedNodes> {
    if authority.contains(['?', '#']) {
        return None;
    }
    let (credentials, hosts) = authority.rsplit_once('@').map_or(("", authority), |(before, hosts)| (before, hosts));
    let at = if credentials.is_empty() { "" } else { "@" };
    let settings = format!("{scheme}://{credentials}{at}node/0").into_connection_info().ok()?;
    let addresses = parse_hosts(hosts, DEFAULT_PORT).map(|host| {
        let (name, port) = host?;
        // Accepts only what is a valid host in a URL.
        let mut url = Url::parse("redis://host").ok()?;
        url.set_host(Some(name)).ok()?;
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        Some(NodeAddress { host, port })
    });
    Some(SeedNodes { addresses: addresses.collect::<Option<_>>()?, settings })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> SeedNodes {
        SeedNodes::parse(text, &TlsConfig::default()).unwrap().unwrap()
    }

    #[test]
    fn seeds_are_read_with_what_belongs_to_all_nodes() {
        let seeds = parsed("redis-cluster://me:p%40ss@a,b:7,[::1]:8");
        let addresses: Vec<String> = seeds.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["a:6379", "b:7", "[::1]:8"]);
        assert_eq!(seeds.settings.redis_settings().username(), Some("me"));
        assert_eq!(seeds.settings.redis_settings().password(), Some("p@ss"));
        let reached = |text: &str| {
            let seeds = parsed(text);
            let source = seeds.endpoint(&seeds.addresses[0]).unwrap();
            source.address().unwrap().get_connection_info().addr().clone()
        };
        assert!(matches!(reached("redis-cluster://a:7/"), ConnectionAddr::Tcp(host, 7) if host == "a"));
        let tls = reached("rediss-cluster://a:7,b/0");
        assert!(matches!(tls, ConnectionAddr::TcpTls { host, port: 7, insecure: false, .. } if host == "a"));
        assert!(SeedNodes::parse("redis://a:7/0", &TlsConfig::default()).unwrap().is_none());
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_being_quoted() {
        for bad in [
            "redis-cluster://",
            "redis-cluster://secret@",
            "redis-cluster://secret@a,",
            "redis-cluster://secret@a:x",
            "redis-cluster://secret@a:70000",
            "redis-cluster://secret@a b",
            "redis-cluster://secret@a/1",
            "redis-cluster://secret@a/otp",
            "redis-cluster://secret@a?password=secret",
            "redis-cluster://secret@a/0?password=secret",
            "rediss-cluster://secret@a#insecure",
        ] {
            let Err(StoreError::Misconfigured(why)) = SeedNodes::parse(bad, &TlsConfig::default()) else {
                panic!("{bad} was taken")
            };
            assert!(why.starts_with("store.url: ") && !why.contains("secret"), "{bad}: {why}");
        }
        let Err(StoreError::Misconfigured(why)) = SeedNodes::parse("redis-cluster://a/3", &TlsConfig::default()) else {
            panic!("another database")
        };
        assert!(why.contains("no database but 0"), "{why}");
    }

    #[test]
    fn a_node_without_a_name_is_where_its_teller_is() {
        let reporter = NodeAddress { host: "10.0.0.1".to_owned(), port: 6379 };
        let parse = |text: &str| NodeAddress::parse_reported(text, &reporter).map(|address| address.to_string());
        assert_eq!(parse("10.0.0.2:7").unwrap(), "10.0.0.2:7");
        assert_eq!(parse(":7").unwrap(), "10.0.0.1:7");
        assert_eq!(parse("?:7").unwrap(), "10.0.0.1:7");
        assert_eq!(parse("::1:7").unwrap(), "[::1]:7");
        assert_eq!(parse("nonsense"), None);
    }
}
