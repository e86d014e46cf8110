//! The only place that opens outgoing connections.
//!
//! Addresses are judged when the connection is made; deadline and size cover the last byte; redirects are
//! not followed; proxies of the environment are ignored.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::{Request, Response};
use ipnet::IpNet;
use reqwest::{
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use url::Host;

use crate::address::permits;

const CONNECT: Duration = Duration::from_secs(3);
/// From the first byte sent to the last byte read.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// What is read of an answer; the rest is not even received.
const LARGEST_ANSWER: usize = 64 * 1024;
/// A pooled connection skips name resolution, so it must not live long.
const IDLE: Duration = Duration::from_secs(30);

/// Where a client may connect to.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Any address: the operator wrote the URL himself.
    pub anywhere: bool,
    /// Plain http, beside https.
    pub http: bool,
    /// Private networks that are open.
    pub networks: Vec<IpNet>,
    /// Host and port of our own listeners and of the store.
    pub closed: Vec<(String, u16)>,
}

/// Why there is no answer. The word is stored with the attempt and shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[error("{}", self.word())]
pub enum EgressError {
    Forbidden,
    Dns,
    Connect,
    Tls,
    Timeout,
    Broken,
}

impl EgressError {
    pub const fn word(self) -> &'static str {
        match self {
            // One word for every forbidden target, so that answers map nobody's network.
            Self::Forbidden => "forbidden_target",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
        }
    }
}

/// Sends requests within one [`Policy`].
#[derive(Clone)]
pub struct Egress {
    client: reqwest::Client,
    policy: Arc<Policy>,
    largest: usize,
    deadline: Duration,
}

impl Egress {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn new(policy: Policy) -> Self {
        let policy = Arc::new(policy);
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls())
            .dns_resolver(Arc::new(Judge(Arc::clone(&policy))))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("a client of constants builds");
        Self { client, policy, largest: LARGEST_ANSWER, deadline: DEADLINE }
    }

    /// For answers of our own listeners, such as metrics of many instances: reads up to `largest` bytes.
    #[must_use]
    pub fn reading(self, largest: usize) -> Self {
        Self { largest, ..self }
    }

    /// For whoever has longer than [`DEADLINE`].
    #[must_use]
    pub fn waiting(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Sends, and reads at most 64 KiB of the answer, unless told otherwise.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, EgressError> {
        let url = url::Url::parse(&request.uri().to_string()).map_err(|_| EgressError::Forbidden)?;
        self.judge(&url).await?;
        let request = request.try_into().map_err(|_| EgressError::Forbidden)?;
        match tokio::time::timeout(self.deadline, self.exchange(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(EgressError::Timeout),
        }
    }

    /// A literal address never reaches the resolver, so it is judged here; so is the port.
    async fn judge(&self, url: &url::Url) -> Result<(), EgressError> {
        if self.policy.anywhere {
            return Ok(());
        }
        if url.scheme() != "https" && !(self.policy.http && url.scheme() == "http") {
            return Err(EgressError::Forbidden);
        }
        let literal: Option<IpAddr> = match url.host() {
            Some(Host::Ipv4(v4)) => Some(v4.into()),
            Some(Host::Ipv6(v6)) => Some(v6.into()),
            Some(Host::Domain(_)) => None,
            None => return Err(EgressError::Forbidden),
        };
        if literal.is_some_and(|ip| !permits(ip, &self.policy.networks)) {
            return Err(EgressError::Forbidden);
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        for (closed, _) in self.policy.closed.iter().filter(|(_, closed)| *closed == port) {
            let ours = resolve(closed, port).await?;
            let theirs = resolve(host, port).await?;
            if theirs.iter().any(|ip| ours.contains(ip) || (ours.iter().any(IpAddr::is_unspecified) && is_local(*ip))) {
                return Err(EgressError::Forbidden);
            }
        }
        Ok(())
    }

    async fn exchange(&self, request: reqwest::Request) -> Result<Response<Vec<u8>>, EgressError> {
        let mut answer = self.client.execute(request).await.map_err(|error| classify(&error))?;
        let mut body = Vec::new();
        while body.len() < self.largest
            && let Some(chunk) = answer.chunk().await.map_err(|error| classify(&error))?
        {
            let room = self.largest - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        let mut response = Response::new(body);
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<IpAddr>, EgressError> {
    let addresses = tokio::net::lookup_host((host, port)).await.map_err(|_| EgressError::Dns)?;
    Ok(addresses.map(|address| address.ip().to_canonical()).collect())
}

/// Only an address of this host can be bound.
fn is_local(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

/// Roots are in the binary: an empty container has none.
fn tls() -> rustls::ClientConfig {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Resolves a name and refuses all of its addresses when one of them is closed.
struct Judge(Arc<Policy>);

impl Resolve for Judge {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if !policy.anywhere && !addresses.iter().all(|address| permits(address.ip(), &policy.networks)) {
                return Err(EgressError::Forbidden.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// By the types in the chain of causes, never by their text.
fn classify(error: &reqwest::Error) -> EgressError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(ours) = current.downcast_ref::<EgressError>() {
            return *ours;
        }
        if current.is::<rustls::Error>() {
            return EgressError::Tls;
        }
        let inner = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) {
            return EgressError::Tls;
        }
        cause = current.source();
    }
    match error {
        _ if error.is_timeout() => EgressError::Timeout,
        _ if error.is_connect() => EgressError::Connect,
        _ => EgressError::Broken,
    }
}
