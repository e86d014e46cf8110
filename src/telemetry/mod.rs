//! Logs. Our own level is set; dependencies stay at info, because some of them write out what they send.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::LogConfig;

/// Installs the subscriber; the first one wins.
pub fn init(log: &LogConfig) {
    let own = if log.level.contains('=') { log.level.clone() } else { format!("countersign={}", log.level) };
    let filter = EnvFilter::try_new(format!("info,{own}")).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let installed = if log.json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
    } else {
        registry.with(fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr)).try_init()
    };
    if installed.is_err() {
        tracing::debug!("a subscriber is installed already");
    }
}
