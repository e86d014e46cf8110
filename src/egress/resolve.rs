//! Finds the addresses of a name, and judges them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

use super::{
    Cause, DeniedTargets, Policy,
    policy::{is_permitted, is_public},
};

/// Finds the addresses of a name.
pub trait Resolver: Send + Sync {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// As the operating system does it.
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

tokio::task_local! {
    /// Of the request that is being sent: whoever resolves its name is told the name alone.
    pub(super) static REQUEST_PORT: u16;
}

/// What the client asks while it connects: what was judged is what is connected to, so that a name that changes its
/// mind in between changes nothing.
#[derive(Clone)]
pub(super) struct PolicyResolver {
    pub(super) policy: Arc<Policy>,
    pub(super) denied_at_runtime: Arc<ArcSwap<DeniedTargets>>,
    pub(super) resolver: Arc<dyn Resolver>,
}

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        // The future may go on in another task, where the port is not known.
        let (this, port) = (self.clone(), REQUEST_PORT.try_with(|port| *port));
        Box::pin(async move {
            let port = port.map_err(|_| Cause::Forbidden)?;
            let found = this.lookup(name.as_str()).await?;
            this.check_addresses(&found, port).await?;
            Ok(Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

impl PolicyResolver {
    /// Refuses all addresses of a name when one of them is closed.
    pub(super) async fn check_addresses(&self, addresses: &[IpAddr], port: u16) -> Result<(), Cause> {
        if self.policy.any_address {
            return Ok(());
        }
        if !addresses.iter().all(|ip| is_permitted(*ip, &self.policy.allowed_networks)) {
            return Err(Cause::Forbidden);
        }
        let found = self.denied_at_runtime.load_full();
        if self.policy.denied_private_ports.iter().chain(&found.private_ports).any(|closed| *closed == port)
            && !addresses.iter().all(|ip| is_public(*ip))
        {
            return Err(Cause::Forbidden);
        }
        for (closed, _) in self.policy.denied_hosts.iter().chain(&found.hosts).filter(|(_, closed)| *closed == port) {
            let ours = self.lookup(closed).await?;
            let everywhere = ours.iter().any(IpAddr::is_unspecified);
            if addresses.iter().any(|ip| ours.contains(ip) || (everywhere && is_local(*ip))) {
                return Err(Cause::Forbidden);
            }
        }
        Ok(())
    }

    async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, Cause> {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return Ok(vec![literal.to_canonical()]);
        }
        // Resolvers disagree about `localhost.` and `x.localhost`; browsers do not (RFC 6761).
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let here = name == "localhost" || name.ends_with(".localhost");
        let found = self.resolver.resolve(if here { "localhost" } else { host }).await.map_err(|_| Cause::Dns)?;
        if found.is_empty() {
            return Err(Cause::Dns);
        }
        Ok(found.iter().map(IpAddr::to_canonical).collect())
    }
}

/// Only an address of this host can be bound.
fn is_local(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}
