//! Where records are kept, and how much must have happened before a write counts.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use crate::reader::Reader;

#[derive(Clone, Debug)]
pub enum StoreConfig {
    Embedded { directory: PathBuf },
    Redis { url: SecretString, durability: Durability },
}

/// How much must have happened before a write counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    Standard,
    /// One replica has it.
    Durable,
    /// Every replica has it.
    Everywhere,
}

const DURABILITIES: &[(&str, Option<Durability>)] =
    &[("auto", None), ("standard", Some(Durability::Standard)), ("durable", Some(Durability::Durable))];

/// As `default.toml` has it.
const DEFAULT_URL: &str = "embedded:/var/lib/countersign";

const URLS: &str = "expected embedded:DIR, redis://HOST:PORT/DB, redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB or \
    redis-cluster://HOST:PORT,HOST:PORT without a database (rediss… for TLS)";

impl StoreConfig {
    /// Reads the table `[store]`.
    pub(super) fn read(s: &mut Reader<'_>) -> Option<Self> {
        let url = s.secrets_over("url", DEFAULT_URL).into_iter().next();
        let durability = s.choice("durability", DURABILITIES).flatten();
        // One of one is all; with several replicas somebody has to choose that the loss of one is a pause.
        let all = s.choice("confirm", &[("auto", false), ("one", false), ("all", true)]).unwrap_or_default();
        let Some(url) = url else {
            if !s.is_faulty("url_file") && !s.is_faulty("url") {
                s.fault("url", format!("is missing: {URLS}"));
            }
            return None;
        };
        let redis = |otherwise| {
            let durability = match durability.unwrap_or(otherwise) {
                Durability::Durable if all => Durability::Everywhere,
                other => other,
            };
            Some(Self::Redis { url: url.clone(), durability })
        };
        match url.expose_secret().split_once(':') {
            Some(("embedded", directory)) if !directory.is_empty() => {
                Some(Self::Embedded { directory: PathBuf::from(directory) })
            }
            Some(("redis" | "rediss", _)) => redis(Durability::Standard),
            // Where there is a fail-over there are replicas.
            Some(("redis+sentinel" | "rediss+sentinel", rest)) if names_a_master(rest) => redis(Durability::Durable),
            Some(("redis-cluster" | "rediss-cluster", rest)) if names_hosts(rest) => redis(Durability::Durable),
            _ => {
                s.fault("url", URLS);
                None
            }
        }
    }
}

fn names_a_master(rest: &str) -> bool {
    let parts = rest.strip_prefix("//").and_then(|rest| rest.split_once('/'));
    parts.is_some_and(|(hosts, master)| !hosts.is_empty() && !master.is_empty())
}

fn names_hosts(rest: &str) -> bool {
    let hosts = rest.strip_prefix("//").unwrap_or_default();
    let (hosts, database) = hosts.split_once('/').unwrap_or((hosts, ""));
    !hosts.is_empty() && matches!(database, "" | "0")
}
