//! `init`: a directory with a whole configuration.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::json;
use url::Url;

use super::scaffold::{self, InstanceOptions, SecretDir};
use crate::{app, app::exit::CommandError, config, domain::InstanceId, telemetry::stdout::print};

#[derive(Debug, Args)]
pub(super) struct InitOptions {
    /// The directory for countersign.toml and secrets/; it is created if it is missing.
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Where people and gateways reach the daemon, such as <https://wa.example.org>.
    #[arg(long, value_name = "URL", value_parser = config::parse_public_url)]
    public_url: Url,
    /// Address of the listener for people, apps and gateways.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: std::net::SocketAddr,
    /// The store, such as <redis://127.0.0.1:6379/0> [default: an embedded store in DIR/store]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    #[command(flatten)]
    instance: InstanceOptions,
}

pub(super) fn run(options: &InitOptions) -> Result<ExitCode, CommandError> {
    let config = options.directory.join("countersign.toml");
    scaffold::ensure_new(&config)?;
    let secrets = SecretDir::create(&options.directory.join("secrets"))?;
    let directory = options.directory.canonicalize().map_err(anyhow::Error::from)?;
    let config = directory.join("countersign.toml");
    let key = secrets.write("key", &scaffold::master_key())?;
    let made = scaffold::instance(&options.instance, &secrets)?;
    let store = options.store.clone().unwrap_or_else(|| format!("embedded:{}", directory.join("store").display()));
    let quoted = |text: &dyn std::fmt::Display| toml::Value::from(text.to_string());
    let text = format!(
        "# `countersign print-config` shows every key. The daemon applies changes of this file while it runs.\n\
         public_url = \"{}\"\nlisten = \"{}\"\n\
         # Protects codes, digests and stored data. Back it up: without it the store cannot be read.\nkey_file = {}\n\n\
         [store]\nurl = {}\n\n{}",
        options.public_url,
        options.listen,
        quoted(&key.display()),
        quoted(&store),
        made.block,
    );
    scaffold::write_new(&config, &text)?;
    let file = config.display().to_string();
    let kind = &options.instance.gateway;
    let mut steps = scaffold::next_steps(&made, kind, &file);
    steps.push(format!("countersign check-config --config {file}"));
    steps.push(format!("countersign serve --config {file}"));
    steps.push(format!("countersign doctor --config {file}, beside the running daemon"));
    let id: InstanceId = made.id.parse().map_err(|_| anyhow::anyhow!("the new id is no UUID"))?;
    let webhook_url = app::webhook_url(&options.public_url, id);
    if options.instance.json {
        let paths = |files: &[PathBuf]| files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
        print(json!({
            "config": file, "instance": made.id, "webhook_url": webhook_url, "key_file": key.display().to_string(),
            "secrets": paths(&made.written), "missing_secrets": paths(&made.empty),
            "example_settings": made.examples, "next": steps,
        }))?;
    } else {
        print(format_args!(
            "wrote {file}, and secrets that only you can read into {secrets}\n\n  webhook URL  {webhook_url}\n\nNext:\n",
            secrets = directory.join("secrets").display(),
        ))?;
        for (number, step) in (1..).zip(&steps) {
            print(format_args!("  {number}. {step}"))?;
        }
        print(format_args!(
            "\nFor your app and for commands:\n\n  export COUNTERSIGN_URL={}\n  export COUNTERSIGN_INSTANCE={}\n",
            options.public_url.as_str().trim_end_matches('/'),
            made.id,
        ))?;
    }
    scaffold::hand_over_token(&made.token, options.instance.token_file.as_deref())?;
    Ok(ExitCode::SUCCESS)
}
