//! Geolocation of IP addresses with a `MaxMind` database that the operator provides. The result informs people; no
//! decision may depend on it.

use std::{net::IpAddr, path::Path};

use maxminddb::{MaxMindDbError, Reader, path};

/// An open database, held in memory: a mapped file that another program truncates would end the process.
pub struct GeoIp(Reader<Vec<u8>>);

impl GeoIp {
    pub fn open(file: &Path) -> Result<Self, MaxMindDbError> {
        Reader::open_readfile(file).map(Self)
    }

    /// The ISO 3166 code of the country.
    pub(super) fn country(&self, ip: IpAddr) -> Option<String> {
        let found = self.0.lookup(ip).ok().filter(maxminddb::LookupResult::has_data)?;
        let code = found.decode_path::<String>(&path!["country", "iso_code"]).ok().flatten()?;
        (code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase())).then_some(code)
    }

    /// City and country, e.g. "Lisbon, Portugal": in `lang` where the database has that language, else in English.
    pub(super) fn location_name(&self, ip: IpAddr, lang: &str) -> Option<String> {
        let found = self.0.lookup(ip).ok().filter(maxminddb::LookupResult::has_data)?;
        let text = |part: &'static str| -> Option<String> {
            let in_language = |lang| found.decode_path::<String>(&path![part, "names", lang]).ok().flatten();
            in_language(if lang == "zh" { "zh-CN" } else { lang }).or_else(|| in_language("en"))
        };
        match (text("city"), text("country")) {
            (Some(city), Some(country)) => Some(format!("{city}, {country}")),
            (city, country) => city.or(country),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/geoip/places.mmdb");

    #[test]
    fn addresses_have_the_places_of_the_database() {
        let geoip = GeoIp::open(Path::new(FIXTURE)).unwrap();
        let name = |ip: &str, lang: &str| geoip.location_name(ip.parse().unwrap(), lang);
        for (ip, lang, expected) in [
            ("203.0.113.7", "en", Some("Northwind, Harbourland")),
            ("203.0.113.7", "de", Some("Nordwind, Hafenland")),
            ("203.0.113.7", "zh", Some("北风, Harbourland")),
            ("203.0.113.7", "ur", Some("Northwind, Harbourland")),
            ("198.51.100.255", "de", Some("Hafenland")),
            ("2001:db8:1::7", "en", Some("Six Wells, Harbourland")),
            ("2001:db8:1::7", "de", Some("Six Wells, Hafenland")),
            ("2001:db8:2::7", "en", None),
            ("203.0.112.255", "en", None),
            ("10.0.0.1", "en", None),
            ("127.0.0.1", "en", None),
            ("::1", "en", None),
            ("fe80::1", "en", None),
        ] {
            assert_eq!(name(ip, lang).as_deref(), expected, "{ip} {lang}");
        }
    }

    #[test]
    fn addresses_have_the_countries_of_the_database() {
        let geoip = GeoIp::open(Path::new(FIXTURE)).unwrap();
        for (ip, country) in [("203.0.113.7", Some("XA")), ("2001:db8:1::7", Some("XB")), ("10.0.0.1", None)] {
            assert_eq!(geoip.country(ip.parse().unwrap()).as_deref(), country, "{ip}");
        }
    }

    #[test]
    fn a_broken_database_is_refused_or_knows_nothing() {
        let whole = std::fs::read(FIXTURE).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("broken.mmdb");
        let open = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            GeoIp::open(&file)
        };
        for bytes in [&b""[..], b"no database", &whole[..whole.len() - 40]] {
            assert!(open(bytes).is_err());
        }
        assert!(GeoIp::open(&directory.path().join("missing.mmdb")).is_err());
        // A database damaged at any byte is refused or yields no data, but never causes a panic.
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] = !bytes[at];
            if let Ok(geoip) = open(&bytes) {
                for ip in ["203.0.113.7", "2001:db8:1::7", "10.0.0.1"] {
                    let _place = (geoip.location_name(ip.parse().unwrap(), "de"), geoip.country(ip.parse().unwrap()));
                }
            }
        }
    }
}
