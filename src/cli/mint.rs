//! `mint`.

use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;
use clap::Args;
use http::Method;
use serde_json::{Map, Value};

use super::api_client::{ApiClient, print_fields, put, show_to_person};
use crate::{app::exit::CommandError, http::qr, telemetry::stdout::print};

/// Properties of a login link.
#[derive(Debug, Args)]
pub(super) struct MintOptions {
    #[command(flatten)]
    api: ApiClient,
    /// The application's name in messages.
    #[arg(long)]
    name: Option<String>,
    /// Accept only messages from this chat.
    #[arg(long)]
    chat: Option<String>,
    /// Lifetime of the link in seconds.
    #[arg(long)]
    expires: Option<u32>,
    /// Your own reference, which callbacks repeat.
    #[arg(long)]
    client_ref: Option<String>,
    /// A random value of the browser's session, which the redirect repeats.
    #[arg(long)]
    state: Option<String>,
    /// The base64url SHA-256 of a verifier that stays in the session.
    #[arg(long)]
    challenge: Option<String>,
    /// Where the person lands after the login.
    #[arg(long, value_name = "URL")]
    redirect_url: Option<String>,
    /// The language of messages and pages, such as pt-BR.
    #[arg(long, value_name = "TAG")]
    lang: Option<String>,
    /// What the person agrees to, as messages and pages name it.
    #[arg(long)]
    purpose: Option<String>,
    /// Also print the WhatsApp link as a QR code.
    #[arg(long)]
    qr: bool,
    /// Open the start page in the browser.
    #[arg(long)]
    open: bool,
    /// Print the whole response as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn mint(options: &MintOptions) -> Result<ExitCode, CommandError> {
    let mut body = Map::new();
    put(&mut body, "name", options.name.as_deref());
    put(&mut body, "chatId", options.chat.as_deref());
    put(&mut body, "expires", options.expires);
    put(&mut body, "client_ref", options.client_ref.as_deref());
    put(&mut body, "state", options.state.as_deref());
    put(&mut body, "challenge", options.challenge.as_deref());
    put(&mut body, "redirect_url", options.redirect_url.as_deref());
    put(&mut body, "lang", options.lang.as_deref());
    put(&mut body, "purpose", options.purpose.as_deref());
    let data = options.api.call(&Method::POST, "generate-link", Some(&Value::Object(body)))?;
    if options.json {
        print(format_args!("{data:#}"))?;
    } else {
        print_fields(&data, &["uuid", "code", "whatsapp_link", "start_url", "expires_at"])?;
    }
    if options.qr {
        let link = data["whatsapp_link"].as_str().unwrap_or_default();
        let code = qr::terminal(link).context("the message is too long for a QR code")?;
        // Beside JSON, the code is for the person at the terminal.
        if options.json { show_to_person(&code)? } else { print(code)? }
    }
    if options.open {
        open_in_browser(data["start_url"].as_str().unwrap_or_default())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn open_in_browser(url: &str) -> anyhow::Result<()> {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let opened = command.status().with_context(|| format!("cannot run {program}; open {url} yourself"))?;
    anyhow::ensure!(opened.success(), "{program} failed; open {url} yourself");
    Ok(())
}
