//! Facts shown to a person who is asked to confirm a login, and the comparison of the two sides of a login.

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwapOption;
use ipnet::{Ipv4Net, Ipv6Net};

use super::{GeoIp, Instance, PublicUrl};
use crate::domain::{
    KeyRing, Language, Request, Verification, device, link::Link, login_details::LoginDetails, risk::Risk,
    token::TokenKind,
};

/// One side of a login, as far as it is known.
#[derive(Clone, Copy, Default)]
pub(super) struct LoginSide<'a> {
    pub(super) ip: Option<IpAddr>,
    pub(super) user_agent: Option<&'a str>,
}

impl LoginSide<'_> {
    fn new<'a>(ip: Option<&str>, user_agent: Option<&'a str>) -> LoginSide<'a> {
        LoginSide { ip: ip.and_then(|ip| ip.parse().ok()), user_agent }
    }

    fn is_known(&self) -> bool {
        self.ip.is_some() || self.user_agent.is_some()
    }
}

/// The browser on the start page.
fn start_page_side(record: &Verification<Link>) -> LoginSide<'_> {
    let binding = record.details.binding.as_ref();
    binding.map(|binding| LoginSide::new(binding.ip.as_deref(), binding.user_agent.as_deref())).unwrap_or_default()
}

/// The browser that the app named in its request.
fn requested_side(request: &Request) -> LoginSide<'_> {
    LoginSide::new(request.client_ip.as_deref(), request.user_agent.as_deref())
}

/// Whether two addresses are in the same /24 (IPv4) or /48 (IPv6): one subscriber, or neighbors at one provider. `None`
/// if the address families differ.
fn same_network(one: IpAddr, other: IpAddr) -> Option<bool> {
    match (one.to_canonical(), other.to_canonical()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => Some(Ipv4Net::new(one, 24).ok()?.contains(&other)),
        (IpAddr::V6(one), IpAddr::V6(other)) => Some(Ipv6Net::new(one, 48).ok()?.contains(&other)),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// Derives the facts.
pub struct LoginFacts {
    keys: Arc<KeyRing>,
    public_url: PublicUrl,
    /// Geolocation of addresses, if the operator has configured a database. Replaced by a reload.
    geoip: ArcSwapOption<GeoIp>,
}

impl LoginFacts {
    pub(super) fn new(keys: Arc<KeyRing>, public_url: PublicUrl, geoip: Option<Arc<GeoIp>>) -> Self {
        Self { keys, public_url, geoip: ArcSwapOption::new(geoip) }
    }

    /// Uses another database.
    pub fn replace_geoip(&self, geoip: Option<Arc<GeoIp>>) {
        self.geoip.store(geoip);
    }

    /// The facts in the language of the request.
    pub fn login_details(&self, instance: &Instance, record: &Verification<Link>) -> LoginDetails {
        self.login_details_in(record, instance.language(Some(&record.request)))
    }

    /// The facts in `language`.
    pub fn login_details_in(&self, record: &Verification<Link>, language: Language) -> LoginDetails {
        let side = Some(start_page_side(record))
            .filter(LoginSide::is_known)
            .unwrap_or_else(|| requested_side(&record.request));
        let geoip = self.geoip.load();
        let location = side.ip.and_then(|ip| geoip.as_ref()?.location_name(ip, language.tag()));
        let dispute =
            record.token(&self.keys, TokenKind::Dispute).map(|token| self.public_url.absolute(&format!("/d/{token}")));
        LoginDetails {
            name: record.request.name.clone(),
            purpose: record.request.purpose.clone().unwrap_or_default(),
            device: side.user_agent.and_then(device::name).unwrap_or_default(),
            location: location.unwrap_or_default(),
            dispute: dispute.unwrap_or_default(),
        }
    }

    /// Compares the browser that the app named with the one on the start page.
    pub(super) fn risk_at_start(&self, record: &Verification<Link>) -> Option<Risk> {
        self.compare_sides(requested_side(&record.request), start_page_side(record))
    }

    /// Compares the browser that started the login (named by the app, else on the start page) with the one that
    /// finishes it.
    pub(super) fn risk_at_end(&self, record: &Verification<Link>, end: LoginSide<'_>) -> Option<Risk> {
        self.compare_sides(
            Some(requested_side(&record.request))
                .filter(LoginSide::is_known)
                .unwrap_or_else(|| start_page_side(record)),
            end,
        )
    }

    fn compare_sides(&self, start: LoginSide<'_>, end: LoginSide<'_>) -> Option<Risk> {
        if !start.is_known() || !end.is_known() {
            return None;
        }
        let geoip = self.geoip.load();
        let country = |side: &LoginSide<'_>| geoip.as_ref()?.country(side.ip?);
        let (started_country, finished_country) = (country(&start), country(&end));
        let systems = start.user_agent.and_then(device::system).zip(end.user_agent.and_then(device::system));
        Some(Risk {
            same_network: start.ip.zip(end.ip).and_then(|(start, end)| same_network(start, end)),
            same_country: started_country.as_ref().zip(finished_country.as_ref()).map(|(start, end)| start == end),
            same_device: systems.map(|(start, end)| start == end),
            started_country,
            finished_country,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_network() {
        for (one, other, same) in [
            ("203.0.113.7", "203.0.113.200", Some(true)),
            ("203.0.113.7", "203.0.112.7", Some(false)),
            ("::ffff:203.0.113.7", "203.0.113.9", Some(true)),
            ("2001:db8:1:2::7", "2001:db8:1:ffff::9", Some(true)),
            ("2001:db8:1::7", "2001:db8:2::7", Some(false)),
            ("203.0.113.7", "2001:db8:1::7", None),
        ] {
            assert_eq!(same_network(one.parse().unwrap(), other.parse().unwrap()), same, "{one} {other}");
        }
    }
}
