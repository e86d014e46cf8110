//! Subcommands. Standard output is the result, standard error the log.
#![expect(clippy::print_stdout, reason = "a command line tool answers on standard output")]

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

use clap::{Parser, Subcommand};

use crate::{
    app::exit::{EX_CONFIG, Failure},
    config::{self, Config},
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
    /// Try everything on this machine: no configuration, a fake phone in the browser.
    Dev(crate::dev::Options),
    /// Run with a configuration.
    Serve {
        /// TOML; `countersign print-config` shows every key.
        #[arg(long)]
        config: PathBuf,
    },
    /// Print an [[instance]] block, its API token and its secrets, once.
    NewInstance {
        /// The application's name in messages.
        #[arg(long, default_value = "My app")]
        name: String,
        /// The WhatsApp number people write to.
        #[arg(long, default_value = "+447700900999")]
        number: String,
    },
    /// Print an API token, once, and the entry of `tokens` that knows it.
    NewToken(new_token::NewTokenOptions),
    /// Read a password from standard input, and print the digest that `operator_password` takes.
    HashPassword,
    /// Read a configuration and report every fault.
    CheckConfig {
        #[arg(long)]
        config: PathBuf,
    },
    /// Print every key with its default and meaning.
    PrintConfig,
    /// Print the HTTP contract as OpenAPI 3.1.
    Openapi {
        /// Where the API lives, as the document names it.
        #[arg(long, default_value = "http://127.0.0.1:8080")]
        url: String,
    },
    /// Show what the daemon would make of a recorded webhook request. Works offline.
    InspectWebhook(inspect::InspectOptions),
    /// Fire genuine, forged, replayed and stale webhooks at the running daemon; print a pass/fail card; exit 0 or 1.
    Doctor(crate::doctor::Options),
    /// Show how a running daemon and its neighbours fare: gateways, queues, failures, replicas.
    Status(status::StatusOptions),
    /// Mint a login link.
    Mint(api_commands::MintOptions),
    /// Say in one sentence what became of a message, a request or a person's try.
    Explain(api_commands::ExplainOptions),
    /// Send a signed test event to the app, and tell what it answered; exit 0 or 1.
    SendTestCallback(api_commands::TestCallbackOptions),
    /// The delivery log.
    #[command(subcommand)]
    Callbacks(api_commands::CallbacksCommand),
    /// Tell whether a callback is genuine, and if not, why; exit 0 or 1. Works offline.
    VerifySignature(verify::VerifyOptions),
    /// Print what a shell needs to complete these commands.
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
    /// Ask a running daemon whether it is ready; exit 0 or 1.
    Healthcheck {
        /// The operator listener.
        #[arg(long, default_value = "http://127.0.0.1:9090")]
        url: String,
        /// Every address of its host, which stands for several replicas.
        #[arg(long)]
        each: bool,
    },
}

/// Parses the arguments and does what they say.
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
        Command::CheckConfig { config } => serve::check_config(&read_config(&config)?),
        Command::PrintConfig => {
            print!("{}", config::REFERENCE);
            Ok(ExitCode::SUCCESS)
        }
        Command::Openapi { url } => {
            println!("{:#}", crate::http::contract::openapi(url.trim_end_matches('/')));
            Ok(ExitCode::SUCCESS)
        }
        Command::InspectWebhook(options) => inspect::run(&options),
        Command::Doctor(options) => crate::doctor::blocking(parse_config(&read_config(&options.config)?)?, &options),
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

fn read_config(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure {
        status: EX_CONFIG,
        error: anyhow::anyhow!("cannot read {}: {error}", path.display()),
    })
}

/// A secret that would be seen by everybody on the machine as an argument.
fn environment_secret(name: &str) -> Option<String> {
    config::environment().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn parse_config(text: &str) -> Result<Config, Failure> {
    Ok(config::parse_config(Some(text), config::environment(), &[]).into_result()?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
