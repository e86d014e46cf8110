//! The ports of `dev`. They are bound before anything starts, because links, callback URLs and the fake phone's URL
//! contain them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use anyhow::{Context as _, bail};

use super::RunMode;
use crate::app::Listeners;

const DEFAULT_PORT: u16 = 8080;
const DEFAULT_OPERATOR_PORT: u16 = 9090;

pub(super) struct Ports {
    pub(super) public: SocketAddr,
    pub(super) operator: SocketAddr,
    /// Both, bound, so that no other process gets a port before the daemon serves it.
    pub(super) listeners: Listeners,
}

impl Ports {
    pub(super) fn reserve(listen: Option<SocketAddr>, mode: RunMode) -> anyhow::Result<Self> {
        let fixed = mode == RunMode::Interactive;
        let default = if fixed { local(DEFAULT_PORT) } else { local(0) };
        let public = listen.unwrap_or(default);
        let public = match TcpListener::bind(public) {
            Ok(bound) => bound,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let other = SocketAddr::new(public.ip(), 0);
                bail!("{public} is in use; choose another with --listen, such as --listen {other} for any free port");
            }
            Err(error) => return Err(error).with_context(|| format!("cannot listen on {public} (--listen)")),
        };
        let operator = bind_first(&[if fixed { local(DEFAULT_OPERATOR_PORT) } else { local(0) }, local(0)])?;
        Ok(Self {
            public: public.local_addr()?,
            operator: operator.local_addr()?,
            listeners: Listeners { public, operator },
        })
    }

    /// Binds the fake phone's port: the one of the last run, the one after the daemon's, or any.
    pub(super) fn bind_phone(&self, before: Option<u16>, mode: RunMode) -> anyhow::Result<TcpListener> {
        let beside = (mode == RunMode::Interactive).then(|| self.public.port().checked_add(1)).flatten();
        let wanted: Vec<SocketAddr> = [before, beside, Some(0)].into_iter().flatten().map(local).collect();
        bind_first(&wanted)
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn bind_first(addresses: &[SocketAddr]) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addresses).context("there is no free port on 127.0.0.1")
}
