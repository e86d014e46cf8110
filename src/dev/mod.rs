//! `dev`: the daemon with a fake phone, on loopback, for trying out and for the test suites of apps.
//!
//! One process runs the daemon as `serve` does, and a second listener that simulates everything outside of it: the
//! person's phone, the gateway, and the app's callback endpoint. The two communicate over HTTP only.

mod client;
mod data_dir;
mod once;
mod phone;
mod ports;
mod ready;
mod session;
mod settings;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use url::Url;

use crate::app::exit::CommandError;

/// The arguments of `dev`.
#[derive(Debug, clap::Args)]
pub struct DevOptions {
    /// Directory for settings and state [default: .countersign; with --json or --once a temporary one]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address of the API, loopback only [default: 127.0.0.1:8080; with --json or --once any free port]
    #[arg(long, value_name = "ADDR", value_parser = parse_loopback)]
    listen: Option<SocketAddr>,
    /// Further allowed redirect URL, besides those of this machine; may be repeated
    #[arg(long = "redirect-url", value_name = "URL", value_parser = parse_redirect_url)]
    redirect_urls: Vec<Url>,
    /// Replace the API token
    #[arg(long)]
    new_token: bool,
    /// Print one JSON line when ready, for the test suite of an app
    #[arg(long, conflicts_with = "once")]
    json: bool,
    /// Run one login by link and one by code, print the result of each step, and exit 0 or 1
    #[arg(long)]
    once: bool,
}

/// What `dev` is run for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RunMode {
    /// A person uses the fake phone in a browser.
    Interactive,
    /// `--json`: a test suite.
    Json,
    /// `--once`: one run of all steps.
    Once,
}

impl DevOptions {
    fn mode(&self) -> RunMode {
        match self {
            Self { once: true, .. } => RunMode::Once,
            Self { json: true, .. } => RunMode::Json,
            _ => RunMode::Interactive,
        }
    }
}

/// Runs the daemon and the fake phone until a signal, or with `--once` until all steps are done.
///
/// # Errors
///
/// The settings are invalid, a port or the directory cannot be used, or the daemon failed.
pub fn run(options: DevOptions) -> Result<ExitCode, CommandError> {
    let mode = options.mode();
    let ports = ports::Ports::reserve(options.listen, mode)?;
    let data_dir = data_dir::DataDir::open(options.data, mode)?;
    let mut setup = settings::prepare(&data_dir, &ports, options.new_token, &options.redirect_urls, mode)?;
    let level = &mut setup.config.log.level;
    if mode == RunMode::Once && level.contains('=') {
        // One step posts a forged webhook; its refusal needs no log line.
        level.push_str(",countersign::http::webhook=error");
    }
    crate::telemetry::init(&setup.config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start a runtime")?;
    let status = runtime.block_on(session::run(mode, &data_dir, ports, setup))?;
    // Does not wait for connections that a browser keeps open.
    runtime.shutdown_background();
    Ok(status)
}

fn parse_loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:8080".to_owned())?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("`dev` shows its secrets to every client, so it listens on loopback only: 127.0.0.1:PORT or [::1]:PORT; use \
         `serve` for other addresses"
        .to_owned())
}

fn parse_redirect_url(text: &str) -> Result<Url, &'static str> {
    crate::domain::redirect::parse(text).ok_or("expected an http:// or https:// URL without credentials")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_accepted() {
        for good in ["127.0.0.1:8080", "127.8.9.1:0", "[::1]:8080"] {
            assert!(parse_loopback(good).is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:8080", "[::]:8080", "192.168.1.4:8080", "8080", "localhost", ""] {
            assert!(parse_loopback(bad).is_err(), "{bad}");
        }
    }
}
