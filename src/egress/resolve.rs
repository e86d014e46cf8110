//! Name resolution for outgoing connections, with the check of every resolved address against the policy.

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

/// Resolves a host name to its addresses.
pub trait Resolver: Send + Sync {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver.
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

tokio::task_local! {
    /// The port of the request that is being sent. The client passes only the name to its resolver.
    pub(super) static REQUEST_PORT: u16;
}

/// The HTTP client's resolver. The client connects to exactly the addresses that were checked here, so a name whose
/// records change between the check and the connection (DNS rebinding) gains nothing.
#[derive(Clone)]
pub(super) struct PolicyResolver {
    pub(super) policy: Arc<Policy>,
    pub(super) denied_at_runtime: Arc<ArcSwap<DeniedTargets>>,
    pub(super) resolver: Arc<dyn Resolver>,
}

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        // The future may run in another task, which lacks the task-local port.
        let (this, port) = (self.clone(), REQUEST_PORT.try_with(|port| *port));
        Box::pin(async move {
            let port = port.map_err(|_| Cause::Forbidden)?;
            let addresses = this.lookup(name.as_str()).await?;
            this.check_addresses(&addresses, port).await?;
            Ok(Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

impl PolicyResolver {
    /// Refuses all addresses of a name if one of them is denied.
    pub(super) async fn check_addresses(&self, addresses: &[IpAddr], port: u16) -> Result<(), Cause> {
        if self.policy.any_address {
            return Ok(());
        }
        if !addresses.iter().all(|ip| is_permitted(*ip, &self.policy.allowed_networks)) {
            return Err(Cause::Forbidden);
        }
        let at_runtime = self.denied_at_runtime.load_full();
        if self.policy.denied_private_ports.iter().chain(&at_runtime.private_ports).any(|denied| *denied == port)
            && !addresses.iter().all(|ip| is_public(*ip))
        {
            return Err(Cause::Forbidden);
        }
        for (host, _) in self.policy.denied_hosts.iter().chain(&at_runtime.hosts).filter(|(_, denied)| *denied == port)
        {
            let denied = self.lookup(host).await?;
            let any_local = denied.iter().any(IpAddr::is_unspecified);
            if addresses.iter().any(|ip| denied.contains(ip) || (any_local && is_local(*ip))) {
                return Err(Cause::Forbidden);
            }
        }
        Ok(())
    }

    async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, Cause> {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return Ok(vec![literal.to_canonical()]);
        }
        // Resolvers disagree about `localhost.` and `x.localhost`; RFC 6761 makes them loopback.
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let is_localhost = name == "localhost" || name.ends_with(".localhost");
        let found =
            self.resolver.resolve(if is_localhost { "localhost" } else { host }).await.map_err(|_| Cause::Dns)?;
        if found.is_empty() {
            return Err(Cause::Dns);
        }
        Ok(found.iter().map(IpAddr::to_canonical).collect())
    }
}

/// Whether `ip` belongs to this host: only then can it be bound.
fn is_local(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}
