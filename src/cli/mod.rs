//! The subcommands. A command prints its result on standard output; logs, errors and secrets go to standard error.

mod api_client;
mod backup;
mod callbacks;
mod codes;
mod explain;
mod gateways;
mod hash_password;
mod help;
mod init;
mod inspect;
mod manual;
mod mint;
mod new_instance;
mod new_token;
mod scaffold;
mod serve;
mod status;
mod verify;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::{
    app::exit::{CommandError, EX_CONFIG},
    config::{self, Config, ConfigFiles},
    telemetry::stdout::print,
};

/// WhatsApp login links and codes, self-hosted.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Where `init` writes it, in the working directory.
pub const DEFAULT_CONFIG: &str = "countersign.toml";

/// The configuration of the daemon.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration, a TOML file, or - for standard input; `countersign print-config` shows every key.
    #[arg(short = 'c', long = "config", env = "COUNTERSIGN_CONFIG", value_name = "FILE", default_value = DEFAULT_CONFIG)]
    path: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine, without a configuration and with a fake phone in the browser.
    Dev(crate::dev::DevOptions),
    /// Write a whole configuration with new secrets, for one number behind one gateway.
    Init(init::InitOptions),
    /// Print an `[[instance]]` block for another number, and write its secrets into files.
    NewInstance(new_instance::NewInstanceOptions),
    /// Print a new entry of `tokens`, and show its API token once.
    NewToken(new_token::NewTokenOptions),
    /// Read a password, and print its digest for `operator_password`.
    HashPassword,
    /// Read a configuration and report every fault.
    CheckConfig(serve::CheckConfigOptions),
    /// Print every key with its default and meaning.
    PrintConfig,
    /// List the kinds of gateway with what each proves and can, or print the setup of one.
    Gateways(gateways::GatewaysOptions),
    /// Run the daemon.
    Serve(ConfigFile),
    /// Check whether a running daemon is ready.
    Healthcheck(serve::HealthcheckOptions),
    /// Show the status of a running daemon: gateways, queues, failures, replicas.
    Status(status::StatusOptions),
    /// Send genuine, forged, replayed and stale webhooks to a running daemon, and print what passed.
    Doctor(crate::doctor::DoctorOptions),
    /// Copy the embedded store into a file, also while the daemon runs.
    Backup(backup::BackupOptions),
    /// Create a login link.
    Mint(mint::MintOptions),
    /// Send a code to a chat.
    RequestCode(codes::RequestCodeOptions),
    /// Check a code that a person typed.
    ValidateCode(codes::ValidateCodeOptions),
    /// Explain what happened to a message, a request or a login attempt.
    Explain(explain::ExplainOptions),
    /// Send a signed test callback to the app, and print its response.
    SendTestCallback(callbacks::TestCallbackOptions),
    /// List callbacks, or send them again.
    #[command(subcommand)]
    Callbacks(callbacks::CallbacksCommand),
    /// Show how the daemon would handle a recorded webhook request.
    InspectWebhook(inspect::InspectOptions),
    /// Verify the signature of a callback, and explain a mismatch.
    VerifySignature(verify::VerifyOptions),
    /// Print the HTTP contract as OpenAPI 3.1.
    Openapi {
        /// The base URL of the API in the document.
        #[arg(long, env = "COUNTERSIGN_URL", default_value = "http://127.0.0.1:8080")]
        url: String,
    },
    /// Print a shell completion script.
    Completions {
        /// The shell that reads it.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one page for each command.
    Man(manual::ManOptions),
}

/// The command line with grouped help, examples and exit statuses.
fn command_line() -> clap::Command {
    help::add(Cli::command())
}

/// Parses the arguments and runs the command.
pub fn run() -> Result<ExitCode, CommandError> {
    let matches = command_line().get_matches();
    let parsed = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match parsed.command {
        Command::Dev(options) => crate::dev::run(options),
        Command::Init(options) => init::run(&options),
        Command::NewInstance(options) => new_instance::run(&options),
        Command::NewToken(options) => new_token::run(&options),
        Command::HashPassword => Ok(print(hash_password::read_and_hash()?)?).map(|()| ExitCode::SUCCESS),
        Command::CheckConfig(options) => serve::check_config(&options),
        Command::PrintConfig => Ok(print(config::REFERENCE.trim_end())?).map(|()| ExitCode::SUCCESS),
        Command::Gateways(options) => gateways::run(&options),
        Command::Serve(ConfigFile { path }) => serve::serve(&path),
        Command::Healthcheck(options) => serve::healthcheck(&options),
        Command::Status(options) => status::run(&options),
        Command::Doctor(options) => {
            if let Some(checked) = crate::doctor::run_oidc(&options) {
                return checked;
            }
            crate::doctor::run_blocking(parse_config(&read_config(&options.config)?)?, &options)
        }
        Command::Backup(options) => backup::run(&options),
        Command::Mint(options) => mint::mint(&options),
        Command::RequestCode(options) => codes::request(&options),
        Command::ValidateCode(options) => codes::validate(&options),
        Command::Explain(options) => explain::explain(&options),
        Command::SendTestCallback(options) => callbacks::send_test_callback(&options),
        Command::Callbacks(command) => callbacks::callbacks(&command),
        Command::InspectWebhook(options) => inspect::run(&options),
        Command::VerifySignature(options) => verify::run(&options),
        Command::Openapi { url } => {
            print(format_args!("{:#}", crate::http::contract::openapi(url.trim_end_matches('/'))))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => manual::completions(shell),
        Command::Man(options) => manual::run(&options),
    }
}

fn read_config(path: &Path) -> Result<ConfigFiles, CommandError> {
    if path != Path::new("-") && !path.exists() {
        let error = anyhow::anyhow!(
            "there is no file {}: `countersign init` writes one, and --config or COUNTERSIGN_CONFIG names another",
            path.display()
        );
        return Err(CommandError { status: EX_CONFIG, error });
    }
    Ok(ConfigFiles::read(path, config::environment())?)
}

/// A secret from the environment: command-line arguments are visible to every user of the machine.
fn environment_secret(name: &str) -> Option<String> {
    config::environment().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn parse_config(files: &ConfigFiles) -> Result<Config, CommandError> {
    Ok(config::load(files, &[]).into_result().map_err(|faults| files.locate(faults))?)
}

fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start a runtime")?)
}
