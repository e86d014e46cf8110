//! The place of an address, by a `MaxMind` database that the operator keeps. A hint for people, never a rule.

use std::{net::IpAddr, path::Path};

use maxminddb::{MaxMindDbError, Reader, path};

/// An open database, held in memory.
pub struct Places(Reader<Vec<u8>>);

impl Places {
    pub fn open(file: &Path) -> Result<Self, MaxMindDbError> {
        Reader::open_readfile(file).map(Self)
    }

    /// "Lisbon, Portugal", in `lang` where the database has it, else in English.
    pub(super) fn name(&self, ip: IpAddr, lang: &str) -> Option<String> {
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
