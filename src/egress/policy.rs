//! Which addresses an outgoing connection may reach (protection against SSRF). Works on addresses; host names are
//! resolved in [`super::resolve`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The targets that an [`Egress`](super::Egress) may connect to.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Any address and both schemes, for URLs that the operator configured.
    pub any_address: bool,
    /// `http` in addition to `https`.
    pub allow_http: bool,
    /// Private networks that are allowed in addition to public addresses.
    pub allowed_networks: Vec<IpNet>,
    /// Host and port of this daemon's listeners and of the store.
    pub denied_hosts: Vec<(String, u16)>,
    /// Ports of the store and of the operator listeners. They are denied on every private address, because other store
    /// nodes and other replicas use them too.
    pub denied_private_ports: Vec<u16>,
}

/// Targets that are denied in addition to a policy: nodes of the store that were discovered at run time.
#[derive(Clone, Debug, Default)]
pub struct DeniedTargets {
    pub hosts: Vec<(String, u16)>,
    /// Denied on every private address.
    pub private_ports: Vec<u16>,
}

/// Special-purpose blocks of the IANA IPv4 registry; none holds public servers.
const V4_SPECIAL: [([u8; 4], u8); 16] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// Blocks inside the IPv6 global unicast space that embed other addresses or are not routed.
const V6_SPECIAL: [([u16; 8], u8); 4] = [
    // IETF protocol assignments, Teredo among them.
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    // 6to4 carries an IPv4 address.
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// Whether a connection to `ip` is allowed. `networks` allows private addresses, never link-local ones or cloud
/// metadata services.
pub(super) fn is_permitted(ip: IpAddr, networks: &[IpNet]) -> bool {
    let ip = ip.to_canonical();
    if is_metadata(ip) {
        return false;
    }
    is_public(ip) || networks.iter().any(|network| network.contains(&ip))
}

/// Addresses outside the link-local range where cloud providers serve credentials and settings to any local client.
const METADATA_SERVICES: [IpAddr; 8] = [
    // Alibaba Cloud.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Azure's WireServer, a public address that never leaves the host.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Oracle Cloud.
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    // AWS: instances, and pods of EKS.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    // Google Cloud.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    // Scaleway.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
];

fn is_metadata(ip: IpAddr) -> bool {
    METADATA_SERVICES.contains(&ip)
        || match ip {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local() || embeds_ipv4(v6),
        }
}

/// NAT64, SIIT, ISATAP and the deprecated IPv4-compatible form, which would bypass the IPv4 table.
fn embeds_ipv4(v6: Ipv6Addr) -> bool {
    let s = v6.segments();
    let nat64 = s[0] == 0x64 && s[1] == 0xff9b;
    let compatible = s[..6] == [0; 6] && !matches!(v6.octets()[12..], [0, 0, 0, 0 | 1]);
    let siit = s[..4] == [0; 4] && s[4] == 0xffff;
    let isatap = matches!(s[4], 0 | 0x200) && s[5] == 0x5efe;
    nat64 || compatible || siit || isatap
}

/// Whether `ip` is globally reachable according to the IANA registries.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !V4_SPECIAL
            .iter()
            .any(|(base, length)| Ipv4Net::new((*base).into(), *length).is_ok_and(|block| block.contains(&v4))),
        IpAddr::V6(v6) => {
            let global_unicast = v6.segments()[0] & 0xe000 == 0x2000;
            global_unicast
                && !V6_SPECIAL
                    .iter()
                    .any(|(base, length)| Ipv6Net::new((*base).into(), *length).is_ok_and(|block| block.contains(&v6)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str, networks: &[&str]) -> bool {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        is_permitted(text.parse().unwrap(), &networks)
    }

    #[test]
    fn only_public_addresses_are_permitted_by_default() {
        for public in ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(ok(public, &[]), "{public}");
        }
        for closed in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "2002:7f00:1::",
            "2001::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "fec0::1",
            "2606:4700::5efe:7f00:1",
            "::ffff:0:7f00:1",
        ] {
            assert!(!ok(closed, &[]), "{closed}");
        }
    }

    #[test]
    fn an_allowed_network_allows_nothing_else() {
        assert!(ok("10.1.2.3", &["10.0.0.0/8"]));
        assert!(ok("::ffff:10.1.2.3", &["10.0.0.0/8"]));
        assert!(ok("127.0.0.1", &["127.0.0.0/8"]));
        assert!(!ok("192.168.0.1", &["10.0.0.0/8"]));
        for metadata in [
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "::ffff:168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "fe80::a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::a83f:8110",
        ] {
            assert!(!ok(metadata, &["0.0.0.0/0", "::/0"]), "{metadata}");
        }
        assert!(!ok("168.63.129.16", &[]) && ok("168.63.129.17", &[]), "it is a public address");
    }
}
