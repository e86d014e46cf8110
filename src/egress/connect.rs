//! Opens one connection: resolves, judges every address together with the port, connects to those addresses and to
//! no others. What was judged is what is connected to, so a name that changes its mind in between changes nothing.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use http::Uri;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    CONNECT, EgressError, Policy,
    metered::{Metered, Stream},
};
use crate::address::permits;

/// Finds the addresses of a name.
pub trait Resolver: Send + Sync {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// As the operating system does it.
pub struct System;

impl Resolver for System {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// Opens connections within one [`Policy`].
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) policy: Arc<Policy>,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) tls: TlsConnector,
    /// What one answer may take on the wire.
    pub(super) most: usize,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Metered;
    type Error = EgressError;
    type Future = Pin<Box<dyn Future<Output = Result<Metered, EgressError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EgressError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { timeout(CONNECT, this.connect(&uri)).await.unwrap_or(Err(EgressError::Timeout)) })
    }
}

impl Connector {
    async fn connect(&self, uri: &Uri) -> Result<Metered, EgressError> {
        let tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let addresses = self.addresses(host, port).await?;
        let stream = TcpStream::connect(&addresses[..]).await.map_err(|_| EgressError::Connect)?;
        let _ = stream.set_nodelay(true);
        if !tls {
            return Ok(Metered::new(Stream::Plain(stream), self.most));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| EgressError::Tls)?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| match super::classify(&error) {
            EgressError::Tls => EgressError::Tls,
            _ => EgressError::Connect,
        })?;
        Ok(Metered::new(Stream::Tls(Box::new(stream)), self.most))
    }

    /// Where `host` is; refused as a whole when one of its addresses is closed.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, EgressError> {
        let found = self.resolve(host).await?;
        if !self.policy.anywhere {
            if !found.iter().all(|ip| permits(*ip, &self.policy.networks)) {
                return Err(EgressError::Forbidden);
            }
            for (closed, _) in self.policy.closed.iter().filter(|(_, closed)| *closed == port) {
                let ours = self.resolve(closed).await?;
                let everywhere = ours.iter().any(IpAddr::is_unspecified);
                if found.iter().any(|ip| ours.contains(ip) || (everywhere && is_local(*ip))) {
                    return Err(EgressError::Forbidden);
                }
            }
        }
        Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, EgressError> {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return Ok(vec![literal.to_canonical()]);
        }
        // Resolvers disagree about `localhost.` and `x.localhost`; browsers do not (RFC 6761).
        let name = host.trim_end_matches('.');
        let here = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
        let found = self.resolver.resolve(if here { "localhost" } else { host }).await.map_err(|_| EgressError::Dns)?;
        if found.is_empty() {
            return Err(EgressError::Dns);
        }
        Ok(found.iter().map(IpAddr::to_canonical).collect())
    }
}

/// Only an address of this host can be bound.
fn is_local(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

pub(super) fn tls(roots: RootCertStore) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
