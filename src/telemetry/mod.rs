//! Logs, and spans for whoever collects them. Our own level is set; dependencies never say more than info, because some
//! of them write out what they send.

#[cfg(feature = "otlp")]
mod otlp;
pub mod stderr;

use std::{io::IsTerminal as _, sync::OnceLock};

use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _};

#[cfg(feature = "otlp")]
pub use self::otlp::exporter;
use crate::config::LogConfig;

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Installs the subscriber; the first one wins.
pub fn init(log: &LogConfig) {
    let (filter, handle) = reload::Layer::new(filter(log));
    let registry = tracing_subscriber::registry().with(filter);
    let ansi = std::io::stderr().is_terminal();
    let lines = match stderr::start() {
        Ok(lines) => lines,
        Err(error) => {
            tracing::debug!(%error, "no thread for the log");
            return;
        }
    };
    let installed = if log.json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(lines)).try_init()
    } else {
        registry.with(fmt::layer().with_ansi(ansi).with_writer(lines)).try_init()
    };
    match installed {
        Ok(()) => drop(FILTER.set(handle)),
        Err(_) => tracing::debug!("a subscriber is installed already"),
    }
}

/// Another level from now on.
pub fn set_level(log: &LogConfig) {
    if let Some(Err(error)) = FILTER.get().map(|handle| handle.reload(filter(log))) {
        tracing::warn!(%error, "the log level stays as it was");
    }
}

fn filter(log: &LogConfig) -> EnvFilter {
    let own = if log.level.contains('=') { log.level.clone() } else { format!("countersign={}", log.level) };
    let others = match log.level.as_str() {
        less @ ("warn" | "error" | "off") => less,
        _ => "info",
    };
    // It tells of every connection that breaks HTTP, as an error: whoever sends rubbish would write our log.
    EnvFilter::try_new(format!("{others},actix_http=off,{own}")).unwrap_or_else(|_| EnvFilter::new("info"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_say_no_more_than_info_and_no_more_than_we() {
        for (level, shown) in [
            ("trace", "countersign=trace,actix_http=off,info"),
            ("info", "countersign=info,actix_http=off,info"),
            ("warn", "countersign=warn,actix_http=off,warn"),
            ("off", "countersign=off,actix_http=off,off"),
            ("countersign::worker=debug", "countersign::worker=debug,actix_http=off,info"),
        ] {
            assert_eq!(filter(&LogConfig { json: false, level: level.to_owned() }).to_string(), shown);
        }
    }
}
