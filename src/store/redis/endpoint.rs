//! Where to find the master: at one address, or at the one that Sentinels name.

use std::{collections::HashMap, io, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisError, RedisResult, TlsCertificates, TlsMode,
    aio::MultiplexedConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use secrecy::ExposeSecret as _;
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use crate::{config::TlsConfig, store::StoreError};

/// For connecting to a Sentinel, and again for connecting to the master.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
const SENTINEL_PORT: u16 = 26_379;

/// Host and port of a server.
pub(super) type HostPort = (String, u16);

/// `None` for a Unix socket.
pub(super) fn host_port(address: &ConnectionAddr) -> Option<HostPort> {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some((host.trim_matches(['[', ']']).to_owned(), *port))
        }
        _ => None,
    }
}

/// Parsed from `store.url`.
pub(super) enum Endpoint {
    Address(Client),
    Sentinels {
        sentinels: Vec<ConnectionInfo>,
        master: String,
        /// User, password, database and TLS mode of the master. The address is not used.
        node: Box<ConnectionInfo>,
        certificates: Option<TlsCertificates>,
    },
}

impl Endpoint {
    /// Errors do not quote `text`, which may hold a password.
    pub(super) fn parse(text: &str, tls: &TlsConfig) -> Result<Self, StoreError> {
        let unfit = |why: &str| StoreError::Misconfigured(format!("store.url: {why}"));
        match text.split_once("+sentinel://") {
            Some((scheme @ ("redis" | "rediss"), rest)) => {
                let endpoint = parse_sentinel_url(scheme, rest).ok_or_else(|| {
                    unfit("expected redis+sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/MASTER[/DB][?sentinel_password=…]")
                })?;
                endpoint.with_certificates(tls).map_err(|error| unfit(error.category()))
            }
            _ => open(text, tls).map(Self::Address).map_err(|error| unfit(error.category())),
        }
    }

    fn with_certificates(mut self, tls: &TlsConfig) -> RedisResult<Self> {
        if let Self::Sentinels { sentinels, certificates, .. } = &mut self {
            *certificates = self::certificates(tls);
            for sentinel in sentinels {
                *sentinel = open(sentinel.clone(), tls)?.get_connection_info().clone();
            }
        }
        Ok(self)
    }

    /// The client of the only address; `None` with Sentinels.
    pub(super) fn address(&self) -> Option<&Client> {
        match self {
            Self::Address(client) => Some(client),
            Self::Sentinels { .. } => None,
        }
    }

    /// Hosts and ports known without asking a Sentinel.
    pub(super) fn addresses(&self) -> Vec<HostPort> {
        let infos: Vec<&ConnectionInfo> = match self {
            Self::Address(client) => vec![client.get_connection_info()],
            Self::Sentinels { sentinels, .. } => sentinels.iter().collect(),
        };
        infos.into_iter().filter_map(|info| host_port(info.addr())).collect()
    }

    /// A client of the current master: of the first one named by a Sentinel that itself claims to be a master. During a
    /// split this may be the old master, which then cannot confirm durable writes.
    /// `avoided` is a master that was abandoned because no replica confirms its writes. It is used only if no Sentinel
    /// names another one, since some still name it during a fail-over.
    pub(super) async fn client(&self, avoided: Option<&HostPort>) -> RedisResult<Client> {
        match self {
            Self::Address(client) => Ok(client.clone()),
            Self::Sentinels { sentinels, master, node, certificates } => {
                let mut asked: FuturesUnordered<_> = sentinels
                    .iter()
                    .map(|sentinel| async move {
                        let mut sentinel = sentinel_client(sentinel, master, node, certificates.as_ref())?;
                        with_connect_timeout(sentinel.async_get_client()).await
                    })
                    .collect();
                let mut other = None;
                while let Some(answer) = asked.next().await {
                    match answer {
                        Ok(client)
                            if avoided.is_none()
                                || avoided != host_port(client.get_connection_info().addr()).as_ref() =>
                        {
                            return Ok(client);
                        }
                        Ok(client) => other = Some(Ok(client)),
                        // A Sentinel that knows no master explains more than one that does not answer.
                        Err(error) if other.is_none() || !matches!(other, Some(Ok(_))) && has_no_master(&error) => {
                            other = Some(Err(error));
                        }
                        Err(_) => {}
                    }
                }
                other.unwrap_or_else(|| Err(io::Error::from(io::ErrorKind::NotFound).into()))
            }
        }
    }

    /// Servers that one of the Sentinels knows of, beside itself and the master: the other Sentinels, and the replicas,
    /// also those that are away. `None`: none of them answers.
    pub(super) async fn peers(&self) -> Option<Vec<HostPort>> {
        let Self::Sentinels { sentinels, master, .. } = self else { return Some(Vec::new()) };
        let mut asked: FuturesUnordered<_> =
            sentinels.iter().map(|sentinel| with_connect_timeout(peers(sentinel.clone(), master))).collect();
        while let Some(replies) = asked.next().await {
            match replies {
                Ok(peers) => return Some(peers),
                Err(error) => tracing::debug!(
                    error = error.category(),
                    "a Sentinel does not list the other Sentinels; using those that are configured"
                ),
            }
        }
        None
    }

    /// Connects to the current master, and returns its address.
    pub(super) async fn dial(
        &self,
        avoided: Option<&HostPort>,
    ) -> RedisResult<(MultiplexedConnection, Option<HostPort>)> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let client = self.client(avoided).await?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok((connection, host_port(client.get_connection_info().addr())))
    }
}

/// A client with the certificates of `tls`.
pub(super) fn open(info: impl IntoConnectionInfo, tls: &TlsConfig) -> RedisResult<Client> {
    match certificates(tls) {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    }
}

fn certificates(tls: &TlsConfig) -> Option<TlsCertificates> {
    let client_tls = tls.client.as_ref().map(|client| ClientTlsConfig {
        client_cert: client.chain.clone(),
        client_key: client.key.expose_secret().to_vec(),
    });
    (!tls.is_default()).then(|| TlsCertificates { client_tls, root_cert: tls.roots.clone() })
}

/// A client of one Sentinel that connects to its master as `node` says.
fn sentinel_client(
    sentinel: &ConnectionInfo,
    master: &str,
    node: &ConnectionInfo,
    certificates: Option<&TlsCertificates>,
) -> RedisResult<SentinelClient> {
    let settings = node.redis_settings();
    let mut builder = SentinelClientBuilder::new([sentinel.addr().clone()], master, SentinelServerType::Master)?
        .set_client_to_redis_db(settings.db());
    if let Some(user) = settings.username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = settings.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let ConnectionAddr::TcpTls { .. } = node.addr() {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(certificates) = certificates {
        builder = builder.set_client_to_redis_certificates(certificates.clone());
    }
    let own = sentinel.redis_settings();
    if let Some(user) = own.username() {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = own.password() {
        builder = builder.set_client_to_sentinel_password(password);
    }
    builder.build()
}

async fn peers(sentinel: ConnectionInfo, master: &str) -> RedisResult<Vec<HostPort>> {
    let mut connection = Client::open(sentinel)?.get_multiplexed_async_connection().await?;
    let mut pipeline = redis::pipe();
    for about in ["SENTINELS", "REPLICAS"] {
        pipeline.cmd("SENTINEL").arg(about).arg(master);
    }
    let replies: Vec<Vec<HashMap<String, String>>> = pipeline.query_async(&mut connection).await?;
    let address = |one: HashMap<String, String>| Some((one.get("ip")?.clone(), one.get("port")?.parse().ok()?));
    Ok(replies.into_iter().flatten().filter_map(address).collect())
}

/// Bounds an attempt, so that a host that drops packets does not delay the others.
pub(super) async fn with_connect_timeout<T>(work: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    timeout(CONNECT_TIMEOUT, work)
        .await
        .unwrap_or_else(|_| Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))))
}

/// Whether no Sentinel can name a live master: during an election, or because none knows the name in the URL.
pub(super) fn has_no_master(error: &RedisError) -> bool {
    error.kind() == ErrorKind::MasterNameNotFoundBySentinel
}

/// `[USER:PASSWORD@]HOST:PORT,HOST:PORT/MASTER[/DB][?sentinel_user=…&sentinel_password=…]`
fn parse_sentinel_url(scheme: &str, rest: &str) -> Option<Endpoint> {
    let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = location.split_once('/')?;
    let (credentials, hosts) = authority.rsplit_once('@').map_or(("", authority), |(before, hosts)| (before, hosts));
    let (master, database) = path.split_once('/').unwrap_or((path, "0"));
    let database: u32 = database.trim_end_matches('/').parse().ok()?;
    if master.is_empty() {
        return None;
    }
    let at = if credentials.is_empty() { "" } else { "@" };
    let node: ConnectionInfo = format!("{scheme}://{credentials}{at}master/{database}").into_connection_info().ok()?;
    let mut url = Url::parse(&format!("{scheme}://sentinel")).ok()?;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "sentinel_user" => url.set_username(&value).ok()?,
            "sentinel_password" => url.set_password(Some(&value)).ok()?,
            _ => return None,
        }
    }
    let sentinels = parse_hosts(hosts, SENTINEL_PORT).map(|host| {
        let (name, port) = host?;
        url.set_host(Some(name)).ok()?;
        url.set_port(Some(port)).ok()?;
        url.as_str().into_connection_info().ok()
    });
    let sentinels = sentinels.collect::<Option<_>>()?;
    Some(Endpoint::Sentinels { sentinels, master: master.to_owned(), node: Box::new(node), certificates: None })
}

/// Parses `HOST[:PORT],HOST[:PORT]`, with IPv6 addresses in brackets. `None` for an entry without a host or with an
/// invalid port.
pub(super) fn parse_hosts(list: &str, port: u16) -> impl Iterator<Item = Option<(&str, u16)>> {
    list.split(',').map(move |host| {
        let given = host.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        let (name, port) = match given {
            Some((name, port)) => (name, port.parse().ok()?),
            None => (host, port),
        };
        (!name.is_empty()).then_some((name, port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        match Endpoint::parse(text, &TlsConfig::default()).ok()? {
            Endpoint::Address(client) => Some(client.get_connection_info().addr().to_string()),
            Endpoint::Sentinels { sentinels, master, node, .. } => {
                let sentinels = sentinels.iter().map(|sentinel| {
                    let settings = sentinel.redis_settings();
                    format!("{}:{:?}:{:?}", sentinel.addr(), settings.username(), settings.password().is_some())
                });
                Some(format!("{} {master} {node:?}", sentinels.collect::<Vec<_>>().join(" ")))
            }
        }
    }

    #[test]
    fn sentinels_are_read_with_what_belongs_to_them_and_to_the_master() {
        assert_eq!(parsed("redis://a:7/0").unwrap(), "a:7");
        let full =
            parsed("redis+sentinel://me:p%40ss@a,b:7,[::1]:8/otp/3?sentinel_user=s&sentinel_password=t").unwrap();
        assert!(full.starts_with("a:26379:Some(\"s\"):true b:7:"), "{full}");
        assert!(full.contains("::1") && full.contains(" otp "), "{full}");
        assert!(full.contains("db: 3") && full.contains("\"me\"") && full.contains("redacted"), "{full}");
        let least = parsed("redis+sentinel://a/otp").unwrap();
        assert!(least.starts_with("a:26379:None:false otp ") && least.contains("db: 0"), "{least}");
        assert!(!least.contains("Tls"), "{least}");
        assert!(parsed("rediss+sentinel://a/otp").unwrap().contains("TcpTls"));
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_being_quoted() {
        for bad in [
            "redis+sentinel://secret@a",
            "redis+sentinel://secret@a/",
            "redis+sentinel:///otp",
            "redis+sentinel://secret@a,/otp",
            "redis+sentinel://secret@a:x/otp",
            "redis+sentinel://secret@a:70000/otp",
            "redis+sentinel://secret@a/otp/x",
            "redis+sentinel://secret@a/otp?password=secret",
            "http+sentinel://secret@a/otp",
            "redis-sentinel://secret@a/otp",
        ] {
            let Err(StoreError::Misconfigured(why)) = Endpoint::parse(bad, &TlsConfig::default()) else {
                panic!("{bad} was taken")
            };
            assert!(why.starts_with("store.url: ") && !why.contains("secret"), "{bad}: {why}");
        }
    }
}
