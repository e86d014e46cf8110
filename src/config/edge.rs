//! Settings for unauthenticated clients: trusted proxies, and limits for each address.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;

use crate::{domain::quota::Quota, reader::Reader};

/// The header in which a trusted proxy reports the client's address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyHeader {
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// Settings for clients before they authenticate. The quotas apply to each address; `None` turns one off.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    pub trusted_proxies: Vec<IpNet>,
    pub proxy_header: ProxyHeader,
    /// Requests to public pages.
    pub pages: Option<Quota>,
    /// Requests to public pages with a method other than GET.
    pub taps: Option<Quota>,
    pub wrong_tokens: Option<Quota>,
    /// Memory for all unauthenticated clients together, in bytes. `None`: a share of what the process may use.
    pub unauthenticated: Option<usize>,
}

impl EdgeConfig {
    pub(super) fn read(s: &mut Reader<'_>) -> Self {
        const HEADERS: &[(&str, ProxyHeader)] =
            &[("x-forwarded-for", ProxyHeader::XForwardedFor), ("forwarded", ProxyHeader::Forwarded)];
        let trusted_proxies = s.list("trusted_proxies", network);
        let proxy_header = s.choice("proxy_header", HEADERS).unwrap_or(ProxyHeader::XForwardedFor);
        s.nested("limits", |s| {
            let mut per_minute = |name| {
                let count = s.setting(name, 0..=1_000_000);
                (count > 0).then(|| Quota::per(count, Duration::from_mins(1)))
            };
            let (pages, taps) = (per_minute("pages_per_minute"), per_minute("taps_per_minute"));
            let wrong_tokens = per_minute("wrong_tokens_per_minute");
            let mib = s.setting("unauthenticated_mib", 0..=1_000_000);
            let unauthenticated = usize::try_from(mib).ok().filter(|mib| *mib > 0).map(|mib| mib * 1024 * 1024);
            Self { trusted_proxies, proxy_header, pages, taps, wrong_tokens, unauthenticated }
        })
    }
}

/// Parses an entry of a list of networks. An address is the network of that address alone.
pub(super) fn network(text: &str) -> Result<IpNet, &'static str> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| "expected a network such as 10.0.0.0/8, or an address")
}
