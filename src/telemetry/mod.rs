//! Logging, and export of trace spans.
//!
//! `log.level` applies to this crate. Dependencies log at `info` at most, because some of them log the requests that
//! they send.

#[cfg(feature = "otlp")]
mod otlp;
pub mod stderr;
pub mod stdout;

use std::{io::IsTerminal as _, sync::OnceLock};

use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _};

#[cfg(feature = "otlp")]
pub use self::otlp::exporter;
use crate::config::LogConfig;

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Installs the global subscriber. Does nothing if one is installed already.
pub fn init(log: &LogConfig) {
    let (filter, handle) = reload::Layer::new(filter(log));
    let registry = tracing_subscriber::registry().with(filter);
    let ansi = std::io::stderr().is_terminal();
    let writer = match stderr::start() {
        Ok(writer) => writer,
        Err(error) => {
            tracing::debug!(%error, "cannot start the log thread; logging is off");
            return;
        }
    };
    let installed = if log.json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(writer)).try_init()
    } else {
        registry.with(fmt::layer().with_ansi(ansi).with_writer(writer)).try_init()
    };
    match installed {
        Ok(()) => drop(FILTER.set(handle)),
        Err(_) => tracing::debug!("a subscriber is installed already"),
    }
}

/// Changes the level of the running process.
pub fn set_level(log: &LogConfig) {
    if let Some(Err(error)) = FILTER.get().map(|handle| handle.reload(filter(log))) {
        tracing::warn!(%error, "cannot change the log level; the old one stays");
    }
}

fn filter(log: &LogConfig) -> EnvFilter {
    let own = if log.level.contains('=') { log.level.clone() } else { format!("countersign={}", log.level) };
    let others = match log.level.as_str() {
        less @ ("warn" | "error" | "off") => less,
        _ => "info",
    };
    // actix-http logs every malformed request at ERROR, so clients could flood the log. actix-server describes its
    // workers at each start.
    let server = if others == "info" { "warn" } else { others };
    EnvFilter::try_new(format!("{others},actix_http=off,actix_server={server},{own}"))
        .unwrap_or_else(|_| EnvFilter::new("info"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_log_at_info_at_most_and_never_more_than_this_crate() {
        for (level, shown) in [
            ("trace", "actix_server=warn,countersign=trace,actix_http=off,info"),
            ("info", "actix_server=warn,countersign=info,actix_http=off,info"),
            ("warn", "actix_server=warn,countersign=warn,actix_http=off,warn"),
            ("off", "actix_server=off,countersign=off,actix_http=off,off"),
            ("countersign::worker=debug", "countersign::worker=debug,actix_server=warn,actix_http=off,info"),
        ] {
            assert_eq!(filter(&LogConfig { json: false, level: level.to_owned() }).to_string(), shown);
        }
    }
}
