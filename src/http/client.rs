//! The client's IP address, behind trusted proxies.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use actix_web::{HttpRequest, http::header::HeaderValue};

use crate::config::{EdgeConfig, ProxyHeader};

/// The client's address: the rightmost one in the proxy header that is not a trusted proxy. The header is ignored
/// unless the peer is a trusted proxy, and so is everything to the left of an entry that is not an address.
pub(super) fn ip_address(request: &HttpRequest, edge: &EdgeConfig) -> IpAddr {
    let is_trusted = |ip: IpAddr| edge.trusted_proxies.iter().any(|network| network.contains(&ip));
    let peer = request.peer_addr().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
    if !is_trusted(peer) {
        return peer;
    }
    let (name, read): (_, fn(&str) -> Option<IpAddr>) = match edge.proxy_header {
        ProxyHeader::XForwardedFor => ("x-forwarded-for", parse_address),
        ProxyHeader::Forwarded => ("forwarded", parse_forwarded),
    };
    let lines: Vec<&[u8]> = request.headers().get_all(name).map(HeaderValue::as_bytes).collect();
    let mut client = peer;
    for text in lines.into_iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        let Some(ip) = std::str::from_utf8(text).ok().and_then(|text| read(text.trim())) else { break };
        client = ip;
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// Parses an address as proxies write it: bare, with a port, or in brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let ip = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    ip.ok().or_else(bare).map(|ip| ip.to_canonical())
}

/// The address in the `for` parameter of one RFC 7239 element; `None` when the parameter occurs twice, or when the
/// element was split inside a quoted string.
fn parse_forwarded(element: &str) -> Option<IpAddr> {
    let mut found = element.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    });
    let (value, None) = (found.next()?, found.next()) else { return None };
    parse_address(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn client_of(proxy_header: ProxyHeader, peer: &str, headers: &[(&'static str, &[u8])]) -> String {
        let peer: IpAddr = peer.parse().unwrap();
        let mut request = TestRequest::default().peer_addr(SocketAddr::new(peer, 1));
        for (name, value) in headers {
            request = request.append_header((*name, HeaderValue::from_bytes(value).unwrap()));
        }
        let trusted_proxies = ["10.0.0.0/8", "2001:db8:ff::/48"].map(|network| network.parse().unwrap()).to_vec();
        let edge = EdgeConfig {
            trusted_proxies,
            proxy_header,
            pages: None,
            taps: None,
            wrong_tokens: None,
            unauthenticated: None,
        };
        ip_address(&request.to_http_request(), &edge).to_string()
    }

    #[test]
    fn the_rightmost_untrusted_address_counts() {
        let long = format!("{}2.2.2.2", "1.1.1.1, ".repeat(2_000));
        let table: &[(&str, &[&[u8]], &str)] = &[
            ("203.0.113.9", &[b"1.1.1.1"], "203.0.113.9"),
            (PROXY, &[], PROXY),
            (PROXY, &[b"1.1.1.1"], "1.1.1.1"),
            (PROXY, &[b"1.1.1.1, 2.2.2.2"], "2.2.2.2"),
            (PROXY, &[b"1.1.1.1,2.2.2.2 ,\t10.0.0.7 "], "2.2.2.2"),
            (PROXY, &[b"10.0.0.8, 10.0.0.7"], "10.0.0.8"),
            (PROXY, &[long.as_bytes()], "2.2.2.2"),
            // Several header lines form one list.
            (PROXY, &[b"1.1.1.1", b"2.2.2.2", b"10.0.0.7"], "2.2.2.2"),
            (PROXY, &[b"2.2.2.2", b"10.0.0.9, 10.0.0.7", b"10.0.0.6"], "2.2.2.2"),
            // Ports and brackets.
            (PROXY, &[b"2.2.2.2:4711"], "2.2.2.2"),
            (PROXY, &[b"[2606:4700::1]:443"], "2606:4700::1"),
            (PROXY, &[b"[2606:4700::1]"], "2606:4700::1"),
            (PROXY, &[b"2606:4700::1"], "2606:4700::1"),
            (PROXY, &[b"1.1.1.1, 2001:db8:ff::2"], "1.1.1.1"),
            ("2001:db8:ff::1", &[b"1.1.1.1"], "1.1.1.1"),
            ("2001:db8:fe::1", &[b"1.1.1.1"], "2001:db8:fe::1"),
            // The same address in another spelling.
            ("::ffff:10.0.0.1", &[b"::ffff:2.2.2.2"], "2.2.2.2"),
            (PROXY, &[b"2.2.2.2, ::ffff:10.0.0.7"], "2.2.2.2"),
            // An entry that is no address ends the search.
            (PROXY, &[b"rubbish"], PROXY),
            (PROXY, &[b""], PROXY),
            (PROXY, &[b"1.1.1.1, unknown"], PROXY),
            (PROXY, &[b"1.1.1.1, unknown, 10.0.0.7"], "10.0.0.7"),
            (PROXY, &[b"1.1.1.1, "], PROXY),
            (PROXY, &[b"1.1.1.1, 2.2.2.2.2"], PROXY),
            (PROXY, &[b"1.1.1.1, [2606:4700::1"], PROXY),
            (PROXY, &[b"1.1.1.1, 2.2.2.2:99999"], PROXY),
            (PROXY, &[b"6.6.6.6", b"\xff, 2.2.2.2"], "2.2.2.2"),
            (PROXY, &[b"6.6.6.6", b"\xff"], PROXY),
        ];
        for (peer, lines, client) in table {
            let headers: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            let shown: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
            assert_eq!(client_of(ProxyHeader::XForwardedFor, peer, &headers), *client, "{peer}: {shown:?}");
        }
    }

    #[test]
    fn the_forwarded_header_is_read_where_it_is_configured() {
        let table: &[(&str, &[&[u8]], &str)] = &[
            ("203.0.113.9", &[b"for=1.1.1.1"], "203.0.113.9"),
            (PROXY, &[b"for=1.1.1.1, for=2.2.2.2"], "2.2.2.2"),
            (PROXY, &[b"for=1.1.1.1", b"For=2.2.2.2;proto=https;by=10.0.0.1"], "2.2.2.2"),
            (PROXY, &[b"proto=http; for = \"2.2.2.2:4711\", for=10.0.0.7"], "2.2.2.2"),
            (PROXY, &[b"for=\"[2606:4700::1]:4711\""], "2606:4700::1"),
            (PROXY, &[b"for=\"[2606:4700::1]\""], "2606:4700::1"),
            (PROXY, &[b"for=1.1.1.1, for=unknown"], PROXY),
            (PROXY, &[b"for=1.1.1.1, for=_hidden"], PROXY),
            (PROXY, &[b"for=1.1.1.1, proto=https"], PROXY),
            (PROXY, &[b"for=1.1.1.1;for=2.2.2.2"], PROXY),
            (PROXY, &[b"for=1.1.1.1;host=\"a,for=2.2.2.2\""], PROXY),
        ];
        for (peer, lines, client) in table {
            let headers: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
            let shown: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
            assert_eq!(client_of(ProxyHeader::Forwarded, peer, &headers), *client, "{peer}: {shown:?}");
        }
    }

    #[test]
    fn only_the_configured_header_is_read() {
        let both: &[(&'static str, &[u8])] = &[("x-forwarded-for", b"1.1.1.1"), ("forwarded", b"for=2.2.2.2")];
        assert_eq!(client_of(ProxyHeader::XForwardedFor, PROXY, both), "1.1.1.1");
        assert_eq!(client_of(ProxyHeader::Forwarded, PROXY, both), "2.2.2.2");
        assert_eq!(client_of(ProxyHeader::Forwarded, PROXY, &both[..1]), PROXY);
        let others: &[(&'static str, &[u8])] = &[("x-real-ip", b"1.1.1.1"), ("true-client-ip", b"1.1.1.1")];
        assert_eq!(client_of(ProxyHeader::XForwardedFor, PROXY, others), PROXY);
    }
}
