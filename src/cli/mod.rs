//! The subcommands. A command prints its result on standard output; logs and errors go to standard error.
#![expect(clippy::print_stdout, reason = "commands print their results on standard output")]

mod api_commands;
mod hash_password;
mod inspect;
mod new_instance;
mod new_token;
mod serve;
mod status;
mod verify;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::{
    app::exit::Failure,
    config::{self, Config, ConfigFiles},
};

/// WhatsApp login links and codes, self-hosted.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine, without a configuration and with a fake phone in the browser.
    Dev(crate::dev::Options),
    /// Run the daemon.
    Serve {
        /// A TOML file; `countersign print-config` shows every key.
        #[arg(long)]
        config: PathBuf,
    },
    /// Print an `[[instance]]` block with a new API token and new secrets.
    NewInstance {
        /// The application's name in messages.
        #[arg(long, default_value = "My app")]
        name: String,
        /// The WhatsApp number that receives the messages.
        #[arg(long, default_value = "+447700900999")]
        number: String,
    },
    /// Print a new API token, and the entry of `tokens` with its digest.
    NewToken(new_token::NewTokenOptions),
    /// Read a password from standard input, and print its digest for `operator_password`.
    HashPassword,
    /// Read a configuration and report every fault.
    CheckConfig {
        #[arg(long)]
        config: PathBuf,
        /// Also ask the daemon that runs with it whether it needs a key that the file lacks; then exit 1.
        #[arg(long)]
        running: bool,
    },
    /// Print every key with its default and meaning.
    PrintConfig,
    /// Print the HTTP contract as OpenAPI 3.1.
    Openapi {
        /// The base URL of the API in the document.
        #[arg(long, default_value = "http://127.0.0.1:8080")]
        url: String,
    },
    /// Show how the daemon would handle a recorded webhook request. Works offline.
    InspectWebhook(inspect::InspectOptions),
    /// Send genuine, forged, replayed and stale webhooks to a running daemon and print what passed; exit 0 or 1.
    Doctor(crate::doctor::Options),
    /// Show the status of a running daemon: gateways, queues, failures, replicas; exit 0 if ready, else 1.
    Status(status::StatusOptions),
    /// Create a login link.
    Mint(api_commands::MintOptions),
    /// Explain what happened to a message, a request or a login attempt.
    Explain(api_commands::ExplainOptions),
    /// Send a signed test callback to the app and print its response; exit 0 or 1.
    SendTestCallback(api_commands::TestCallbackOptions),
    /// List callbacks, or send them again.
    #[command(subcommand)]
    Callbacks(api_commands::CallbacksCommand),
    /// Verify the signature of a callback and explain a mismatch; exit 0 or 1. Works offline.
    VerifySignature(verify::VerifyOptions),
    /// Print a shell completion script.
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
    /// Check whether a running daemon is ready; exit 0 or 1.
    Healthcheck {
        /// URL of the operator listener.
        #[arg(long, default_value = "http://127.0.0.1:9090")]
        url: String,
        /// Check every address that the host name resolves to, for a name that stands for several replicas.
        #[arg(long)]
        each: bool,
    },
}

/// Parses the arguments and runs the command.
pub fn run() -> Result<ExitCode, Failure> {
    match Cli::parse().command {
        Command::Dev(options) => Ok(crate::dev::run(options)?),
        Command::Serve { config } => serve::serve(&config),
        Command::NewInstance { name, number } => {
            println!("{}", new_instance::instance_block(&name, &number)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::NewToken(options) => {
            println!("{}", new_token::token_entry(&options)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::HashPassword => {
            println!("{}", hash_password::read_and_hash()?);
            Ok(ExitCode::SUCCESS)
        }
        Command::CheckConfig { config, running } => serve::check_config(&read_config(&config)?, running),
        Command::PrintConfig => {
            print!("{}", config::REFERENCE);
            Ok(ExitCode::SUCCESS)
        }
        Command::Openapi { url } => {
            println!("{:#}", crate::http::contract::openapi(url.trim_end_matches('/')));
            Ok(ExitCode::SUCCESS)
        }
        Command::InspectWebhook(options) => inspect::run(&options),
        Command::Doctor(options) => {
            if let Some(checked) = crate::doctor::run_oidc(&options) {
                return checked;
            }
            let path = options.config.as_deref().context("--config is missing")?;
            crate::doctor::run_blocking(parse_config(&read_config(path)?)?, &options)
        }
        Command::Status(options) => status::run(&options),
        Command::Mint(options) => api_commands::mint(&options),
        Command::Explain(options) => api_commands::explain(&options),
        Command::SendTestCallback(options) => api_commands::send_test_callback(&options),
        Command::Callbacks(command) => api_commands::callbacks(&command),
        Command::VerifySignature(options) => verify::run(&options),
        Command::Completions { shell } => {
            let mut command = <Cli as clap::CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "countersign", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Healthcheck { url, each } => serve::healthcheck(&url, each),
    }
}

fn read_config(path: &Path) -> Result<ConfigFiles, Failure> {
    Ok(ConfigFiles::read(path, config::environment())?)
}

/// A secret from the environment: command-line arguments are visible to every user of the machine.
fn environment_secret(name: &str) -> Option<String> {
    config::environment().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn parse_config(files: &ConfigFiles) -> Result<Config, Failure> {
    Ok(config::load(files, &[]).into_result().map_err(|faults| files.locate(faults))?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
