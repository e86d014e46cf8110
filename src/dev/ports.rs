//! The ports of `dev`. They are bound before anything starts, because links, callback URLs and the fake phone's URL
//! contain them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use anyhow::{Context as _, bail};

use super::Mode;

const PUBLIC: u16 = 8080;
const OPERATOR: u16 = 9090;

pub(super) struct Ports {
    pub(super) public: SocketAddr,
    pub(super) operator: SocketAddr,
    /// Keep the ports reserved until the daemon starts.
    held: [TcpListener; 2],
}

impl Ports {
    pub(super) fn reserve(listen: Option<SocketAddr>, mode: Mode) -> anyhow::Result<Self> {
        let fixed = mode == Mode::Person;
        let default = if fixed { local(PUBLIC) } else { local(0) };
        let public = listen.unwrap_or(default);
        let held = match TcpListener::bind(public) {
            Ok(held) => held,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let other = SocketAddr::new(public.ip(), 0);
                bail!("{public} is in use; choose another with --listen, such as --listen {other} for any free port");
            }
            Err(error) => return Err(error).with_context(|| format!("cannot listen on {public} (--listen)")),
        };
        let operator = any_of(&[if fixed { local(OPERATOR) } else { local(0) }, local(0)])?;
        Ok(Self { public: held.local_addr()?, operator: operator.local_addr()?, held: [held, operator] })
    }

    /// Binds the fake phone's port: the one of the last run, the one after the daemon's, or any.
    pub(super) fn phone(&self, before: Option<u16>, mode: Mode) -> anyhow::Result<TcpListener> {
        let beside = (mode == Mode::Person).then(|| self.public.port().checked_add(1)).flatten();
        let wanted: Vec<SocketAddr> = [before, beside, Some(0)].into_iter().flatten().map(local).collect();
        any_of(&wanted)
    }

    /// Frees the ports for the daemon.
    pub(super) fn release(self) {
        drop(self.held);
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn any_of(addresses: &[SocketAddr]) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addresses).context("there is no free port on 127.0.0.1")
}
