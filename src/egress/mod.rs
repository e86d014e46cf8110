//! Outgoing HTTP requests, under a [`Policy`] that says which addresses they may reach. Nothing else in the crate opens
//! an outgoing connection, except the store to its Redis.
//!
//! A request passes through [`Egress::send`]: the URL is checked, the client resolves the name through
//! `resolve::PolicyResolver`, which checks every address it returns, and the response is read up to a maximum size. The
//! timeout covers everything from name resolution to the last byte. Redirects are not followed, proxy variables of
//! the environment are ignored, and responses are not decompressed.

mod error;
mod policy;
mod resolve;
mod tracked_body;

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock, atomic::AtomicBool},
    time::Duration,
};

use http::{Request, Response};
use reqwest::redirect;
use rustls::{ClientConfig, RootCertStore, client::Resumption};
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
use crate::config::TlsConfig;

/// For name resolution, the TCP connection and the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// From name resolution to the last byte read, unless [`Egress::with_timeout`] sets another.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a response body that are read; the connection is dropped after them.
const MAX_RESPONSE_LEN: usize = 64 * 1024;
/// Chunks in which a body may arrive, so that a server cannot send one byte at a time.
const MAX_CHUNKS: usize = 4096;
/// A pooled connection skips name resolution and its check, so it must not live long.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// TLS sessions that a client can resume: 8 of each of 4 servers. The space for all is taken at once, by each of the two
/// clients of an instance, and the default of 256 takes 20 kB.
const RESUMABLE_SESSIONS: usize = 32;

/// Sends requests within one [`Policy`].
#[derive(Clone)]
pub struct Egress {
    client: reqwest::Client,
    resolver: PolicyResolver,
    max_response_len: usize,
    timeout: Duration,
}

impl Egress {
    /// With the Mozilla root certificates compiled into the binary, since a minimal container image has none.
    pub fn new(policy: Policy) -> Self {
        Self::with_client_config(policy, Arc::new(SystemResolver), PUBLIC_TLS.clone())
    }

    /// With these certificates, which are valid because [`TlsConfig`] checks them.
    pub fn with_tls(policy: Policy, tls: &TlsConfig) -> Self {
        if tls.is_default() {
            return Self::new(policy);
        }
        Self::with_client_config(policy, Arc::new(SystemResolver), client_config(tls, public_roots()))
    }

    /// With another resolver and other root certificates.
    pub fn with_resolver(policy: Policy, resolver: Arc<dyn Resolver>, roots: RootCertStore) -> Self {
        Self::with_client_config(policy, resolver, client_config(&TlsConfig::default(), roots))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    fn with_client_config(policy: Policy, resolver: Arc<dyn Resolver>, mut tls: ClientConfig) -> Self {
        // Each client resumes only its own sessions.
        tls.resumption = Resumption::in_memory_sessions(RESUMABLE_SESSIONS);
        let resolver = PolicyResolver { policy: Arc::new(policy), denied_at_runtime: Arc::default(), resolver };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(resolver.clone()))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("a client of constants builds");
        Self { client, resolver, max_response_len: MAX_RESPONSE_LEN, timeout: REQUEST_TIMEOUT }
    }

    /// Replaces the targets that are denied in addition to the policy's.
    pub fn deny(&self, targets: &Arc<DeniedTargets>) {
        self.resolver.denied_at_runtime.store(Arc::clone(targets));
    }

    /// Reads up to `max_response_len` bytes of a response, for responses of this daemon's own listeners.
    #[must_use]
    pub fn with_max_response_len(self, max_response_len: usize) -> Self {
        Self { max_response_len, ..self }
    }

    /// Replaces [`REQUEST_TIMEOUT`].
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sends a request and reads the response. A body longer than the maximum (64 KiB by default) is cut off there.
    ///
    /// # Errors
    /// Any failure before the whole response was read, with whether the request may have arrived.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, EgressError> {
        let url = Url::parse(&request.uri().to_string()).map_err(|_| Cause::Forbidden)?;
        let port = url.port_or_known_default().unwrap_or_default();
        let begun = Arc::new(AtomicBool::new(false));
        let exchange = async {
            self.check_url(&url, port).await?;
            let request = request.map(|body| TrackedBody::wrap(body, &begun));
            let request = request.try_into().map_err(|_| Cause::Forbidden)?;
            REQUEST_PORT.scope(port, self.exchange(request)).await
        };
        let outcome = tokio::time::timeout(self.timeout, exchange).await;
        let begun = || tracked_body::is_begun(&begun);
        outcome
            .unwrap_or_else(|_| Err(if begun() { Cause::Timeout } else { Cause::ConnectTimeout }))
            .map_err(|cause| EgressError { cause, may_have_arrived: begun() && !cause.is_connect_error() })
    }

    /// Checks the scheme, and the address if the host is a literal one: the client does not resolve those.
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
        let mut received = self.client.execute(request).await.map_err(|error| classify(&error))?;
        // A final response was expected: this client never asks to switch protocols.
        if received.status().is_informational() {
            return Err(Cause::Incomplete);
        }
        let mut body = Vec::new();
        for _ in 0..MAX_CHUNKS {
            let Some(chunk) = received.chunk().await.map_err(|error| classify(&error))? else { break };
            let room = self.max_response_len - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == self.max_response_len {
                break;
            }
        }
        let mut response = Response::new(body);
        *response.status_mut() = received.status();
        *response.headers_mut() = std::mem::take(received.headers_mut());
        Ok(response)
    }
}

/// With the public roots; shared, because there are two clients for each instance.
static PUBLIC_TLS: LazyLock<ClientConfig> = LazyLock::new(|| client_config(&TlsConfig::default(), public_roots()));

fn public_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

fn client_config(tls: &TlsConfig, public: RootCertStore) -> ClientConfig {
    tls.client_config(public)
        .unwrap_or_else(|(key, problem)| panic!("{key} {problem}, which is checked when it is read"))
}
