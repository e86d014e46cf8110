//! The only place that opens outgoing connections.
//!
//! Addresses are judged when the connection is made; deadline and size cover everything from the name's resolution to
//! the last byte; redirects are not followed; proxies of the environment are ignored; nothing is decompressed.

mod error;
mod policy;
mod resolve;
mod tracked_body;

use std::{
    net::IpAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use http::{Request, Response};
use reqwest::redirect;
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use self::{
    error::classify,
    resolve::{PolicyResolver, REQUEST_PORT},
    tracked_body::TrackedBody,
};
pub use self::{
    error::{Cause, EgressError},
    policy::{DeniedTargets, Policy},
    resolve::{Resolver, SystemResolver},
};

/// For the name, the connection and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// From the name's resolution to the last byte read.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of an answer; the rest is not even received.
const MAX_RESPONSE_LEN: usize = 64 * 1024;
/// In so many pieces at most.
const MAX_CHUNKS: usize = 4096;
/// A pooled connection skips name resolution, so it must not live long.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends requests within one [`Policy`].
#[derive(Clone)]
pub struct Egress {
    client: reqwest::Client,
    resolver: PolicyResolver,
    max_response_len: usize,
    timeout: Duration,
}

impl Egress {
    /// Roots are in the binary: an empty container has none.
    pub fn new(policy: Policy) -> Self {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self::with_resolver(policy, Arc::new(SystemResolver), roots)
    }

    /// With names and authorities other than the world's.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn with_resolver(policy: Policy, resolver: Arc<dyn Resolver>, roots: RootCertStore) -> Self {
        let judge = PolicyResolver { policy: Arc::new(policy), denied_at_runtime: Arc::default(), resolver };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(roots))
            .dns_resolver(Arc::new(judge.clone()))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("a client of constants builds");
        Self { client, resolver: judge, max_response_len: MAX_RESPONSE_LEN, timeout: REQUEST_TIMEOUT }
    }

    /// From now on this is closed as well, and what was closed so before no more.
    pub fn deny(&self, closed: &Arc<DeniedTargets>) {
        self.resolver.denied_at_runtime.store(Arc::clone(closed));
    }

    /// For answers of our own listeners, such as metrics of many instances: reads up to `max_response_len` bytes.
    #[must_use]
    pub fn with_max_response_len(self, largest: usize) -> Self {
        Self { max_response_len: largest, ..self }
    }

    /// For whoever has longer than [`REQUEST_TIMEOUT`].
    #[must_use]
    pub fn with_timeout(self, deadline: Duration) -> Self {
        Self { timeout: deadline, ..self }
    }

    /// Sends, and reads at most 64 KiB of the answer, unless told otherwise.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, EgressError> {
        let url = Url::parse(&request.uri().to_string()).map_err(|_| Cause::Forbidden)?;
        let port = url.port_or_known_default().unwrap_or_default();
        let written = Arc::new(AtomicBool::new(false));
        let exchange = async {
            self.check_url(&url, port).await?;
            let request = request.map(|body| TrackedBody::wrap(body, &written));
            let request = request.try_into().map_err(|_| Cause::Forbidden)?;
            REQUEST_PORT.scope(port, self.exchange(request)).await
        };
        let outcome = tokio::time::timeout(self.timeout, exchange).await;
        let written = || tracked_body::is_begun(&written);
        outcome
            .unwrap_or_else(|_| Err(if written() { Cause::Timeout } else { Cause::ConnectTimeout }))
            .map_err(|cause| EgressError { cause, may_have_arrived: written() && !cause.is_connect_error() })
    }

    /// A literal address is never resolved, so it is judged here.
    async fn check_url(&self, url: &Url, port: u16) -> Result<(), Cause> {
        let policy = &self.resolver.policy;
        if url.scheme() != "https" && !(url.scheme() == "http" && (policy.allow_http || policy.any_address)) {
            return Err(Cause::Forbidden);
        }
        let literal: IpAddr = match url.host() {
            Some(Host::Ipv4(v4)) => v4.into(),
            Some(Host::Ipv6(v6)) => v6.into(),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(Cause::Forbidden),
        };
        self.resolver.check_addresses(&[literal.to_canonical()], port).await
    }

    async fn exchange(&self, request: reqwest::Request) -> Result<Response<Vec<u8>>, Cause> {
        let mut answer = self.client.execute(request).await.map_err(|error| classify(&error))?;
        // Nobody asked for another protocol.
        if answer.status().is_informational() {
            return Err(Cause::Incomplete);
        }
        let mut body = Vec::new();
        for _ in 0..MAX_CHUNKS {
            let Some(chunk) = answer.chunk().await.map_err(|error| classify(&error))? else { break };
            let room = self.max_response_len - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == self.max_response_len {
                break;
            }
        }
        let mut response = Response::new(body);
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

fn tls(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
