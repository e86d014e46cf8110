//! Where records are stored, and when a write counts as done.

use std::path::PathBuf;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::tls::TlsConfig;
use crate::reader::Reader;

/// The table `[store]`.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    Embedded { directory: PathBuf },
    Redis { url: SecretString, tls: TlsConfig, durability: Durability },
}

/// What must have happened before a write to Redis is reported as applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// The script has returned. Survives a crash of Redis with an append-only file, up to its fsync interval.
    Standard,
    /// One replica has it. Survives a fail-over to that replica, and a network split.
    Durable,
    /// Every replica has it. Survives any fail-over.
    AllReplicas,
}

const DURABILITIES: &[(&str, Option<Durability>)] =
    &[("auto", None), ("standard", Some(Durability::Standard)), ("durable", Some(Durability::Durable))];

/// The same value as in `default.toml`.
const DEFAULT_URL: &str = "embedded:/var/lib/countersign";

const URLS: &str = "expected embedded:DIR, redis://HOST:PORT/DB, redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB or \
    redis-cluster://HOST:PORT,HOST:PORT without a database (rediss… for TLS), or redis+unix:///PATH?db=DB";

impl StoreConfig {
    /// Reads the table `[store]`.
    pub(super) fn read(s: &mut Reader<'_>) -> Option<Self> {
        let url = s.secrets_over("url", DEFAULT_URL).into_iter().next();
        let durability = s.choice("durability", DURABILITIES).flatten();
        // With a single replica, one and all are the same. With several, waiting for all of them means that the loss of
        // any replica interrupts writes, which the operator has to choose explicitly.
        let all = s.choice("confirm", &[("auto", false), ("one", false), ("all", true)]).unwrap_or_default();
        let (user, password) = (s.text("user"), s.secret("password"));
        let tls = s.nested("tls", TlsConfig::read);
        let Some(url) = url else {
            if !s.is_faulty("url_file") && !s.is_faulty("url") {
                s.fault("url", format!("is missing: {URLS}"));
            }
            return None;
        };
        let url = match with_credentials(url, user.as_deref(), password.as_ref()) {
            Ok(url) => url,
            Err((key, problem)) => {
                s.fault(key, problem);
                return None;
            }
        };
        if !tls.is_default() && !url.expose_secret().starts_with("rediss") {
            s.fault("tls", "needs a url that begins with rediss, which means TLS");
        }
        let redis = |otherwise| {
            let durability = match durability.unwrap_or(otherwise) {
                Durability::Durable if all => Durability::AllReplicas,
                other => other,
            };
            Some(Self::Redis { url: url.clone(), tls: tls.clone(), durability })
        };
        match url.expose_secret().split_once(':') {
            Some(("embedded", directory)) if !directory.is_empty() => {
                Some(Self::Embedded { directory: PathBuf::from(directory) })
            }
            Some(("redis" | "rediss", _)) => match fault_in(url.expose_secret()) {
                None => redis(Durability::Standard),
                Some(fault) => {
                    s.fault("url", fault);
                    None
                }
            },
            Some(("redis+unix", rest)) if rest.starts_with("///") => redis(Durability::Standard),
            // Sentinel and cluster setups have replicas.
            Some(("redis+sentinel" | "rediss+sentinel", rest)) if names_a_master(rest) => redis(Durability::Durable),
            Some(("redis-cluster" | "rediss-cluster", rest)) if names_hosts(rest) => redis(Durability::Durable),
            _ => {
                s.fault("url", URLS);
                None
            }
        }
    }
}

/// `url` with the user and the password that are given as keys of their own.
fn with_credentials(
    url: SecretString,
    user: Option<&str>,
    password: Option<&SecretString>,
) -> Result<SecretString, (&'static str, &'static str)> {
    let (key, password) = match (user, password) {
        (None, None) => return Ok(url),
        (Some(_), None) => return Err(("password", "is missing: user needs it")),
        (_, Some(password)) => (if user.is_some() { "user" } else { "password" }, password.expose_secret()),
    };
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (user, password) = (user.map(encode).unwrap_or_default(), encode(password));
    let text = match url.expose_secret().split_once("://") {
        Some((scheme @ "redis+unix", rest)) => {
            let separator = if rest.contains('?') { '&' } else { '?' };
            let user = if user.is_empty() { user } else { format!("user={user}&") };
            format!("{scheme}://{rest}{separator}{user}pass={password}")
        }
        Some((_, rest)) if rest.split('/').next().is_some_and(|authority| authority.contains('@')) => {
            return Err((key, "is given, and url has credentials; remove one of the two"));
        }
        Some((scheme, rest)) => format!("{scheme}://{user}:{password}@{rest}"),
        None => return Err((key, "is for a Redis, and url names none")),
    };
    Ok(text.into())
}

/// Why the driver would refuse the URL of a single Redis, or read it differently than it is written. Never quotes it.
fn fault_in(url: &str) -> Option<&'static str> {
    const UNREADABLE: &str = "is no URL that can be read: percent-encode / ? # @ : and % in the user and the password, or use \
        the keys user and password; a port is at most 65535";
    let Ok(url) = Url::parse(url) else { return Some(UNREADABLE) };
    let database = url.path().trim_start_matches('/');
    if !url.has_host() && !database.is_empty() {
        return Some("names no host; for a socket, write redis+unix:///PATH?db=DB");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Some("names no host");
    }
    if url.fragment().is_some() {
        return Some("has a fragment, which would be ignored: certificates are always checked; see [store.tls]");
    }
    if url.query_pairs().any(|(name, _)| name != "protocol") {
        return Some("has parameters after ?, which would be ignored");
    }
    let is_number = database.is_empty() || database.parse::<u16>().is_ok();
    (!is_number).then_some("expected the number of a database after the host, such as /0")
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
