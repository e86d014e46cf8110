//! Development: everything on loopback, with a fake phone.
//!
//! One process runs the daemon as `serve` would, and beside it a second listener that plays everybody else:
//! the person's phone, the gateway, and the app that is called back. Only this module knows that listener.

mod announce;
mod daemon;
mod home;
mod once;
mod phone;
mod ports;
mod settings;
mod stage;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use url::Url;

use crate::app::exit::Failure;

/// How `dev` runs.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Keeps settings and state between runs [default: .countersign; with --json or --once a temporary one]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Loopback only [default: 127.0.0.1:8080; with --json or --once any free port]
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    listen: Option<SocketAddr>,
    /// Where people may land, beside the fake phone's own page; repeat it for several
    #[arg(long = "redirect-url", value_name = "URL", value_parser = web_address)]
    redirect_urls: Vec<Url>,
    /// Make another API token and show it
    #[arg(long, conflicts_with_all = ["json", "once"])]
    new_token: bool,
    /// Print one JSON line when ready, for the test suite of an app
    #[arg(long, conflicts_with = "once")]
    json: bool,
    /// Play one login from link to subject, say how each step went, and exit 0 or 1
    #[arg(long)]
    once: bool,
}

/// Who watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Person,
    Program,
    Rehearsal,
}

impl Options {
    fn mode(&self) -> Mode {
        match self {
            Self { once: true, .. } => Mode::Rehearsal,
            Self { json: true, .. } => Mode::Program,
            _ => Mode::Person,
        }
    }
}

pub fn run(options: Options) -> Result<ExitCode, Failure> {
    let mode = options.mode();
    let ports = ports::Ports::reserve(options.listen, mode)?;
    let home = home::Home::open(options.data, mode)?;
    let mut prepared = settings::prepare(&home, &ports, options.new_token, &options.redirect_urls, mode)?;
    let level = &mut prepared.config.log.level;
    if mode == Mode::Rehearsal && level.contains('=') {
        // The forged webhook is refused on purpose.
        level.push_str(",countersign::http::webhook=error");
    }
    crate::telemetry::init(&prepared.config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start a runtime")?;
    let status = runtime.block_on(stage::run(mode, &home, ports, prepared))?;
    // Whatever still waits is a connection that a browser keeps open.
    runtime.shutdown_background();
    Ok(status)
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:8080".to_owned())?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("`dev` shows its secrets to whoever can connect, so it listens on loopback only: 127.0.0.1:PORT or \
         [::1]:PORT; `serve` is for everything else"
        .to_owned())
}

fn web_address(text: &str) -> Result<Url, &'static str> {
    crate::domain::redirect::parse(text).ok_or("expected an http:// or https:// URL without credentials")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_listened_on() {
        for good in ["127.0.0.1:8080", "127.8.9.1:0", "[::1]:8080"] {
            assert!(loopback(good).is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:8080", "[::]:8080", "192.168.1.4:8080", "8080", "localhost", ""] {
            assert!(loopback(bad).is_err(), "{bad}");
        }
    }
}
