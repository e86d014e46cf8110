//! `new-token`: an API token, and its entry for the configuration.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::json;

use super::scaffold;
use crate::{
    app::exit::CommandError,
    config::{
        credentials::{generate_token, token_digest},
        read_tokens,
    },
    domain::scope::Scope,
    reader::{Faults, Format, Reader},
    telemetry::stdout::print,
};

/// Properties of the new token.
#[derive(Debug, Args)]
pub(super) struct NewTokenOptions {
    /// Identifies the token in the log, in timelines and in the audit stream.
    #[arg(long)]
    id: String,
    #[arg(long = "scope", value_name = "SCOPE", help = format!("A permission of the token: {}; can be repeated. Default: all", scope_names()))]
    scopes: Vec<String>,
    /// The last day on which it is valid, such as 2027-01-31 (UTC), or a time in RFC 3339. Default: no end.
    #[arg(long)]
    until: Option<String>,
    /// Write the token into this new file instead of showing it.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print the entry as JSON.
    #[arg(long)]
    json: bool,
}

/// The entry goes to standard output, the token to the terminal or into its file.
pub(super) fn run(options: &NewTokenOptions) -> Result<ExitCode, CommandError> {
    let (token, entry) = token_entry(options)?;
    if options.json {
        print(json!(entry))?;
    } else {
        let pairs: Vec<String> = entry.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        print(format_args!("{{ {} }},", pairs.join(", ")))?;
    }
    scaffold::hand_over_token(&token, options.token_file.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

fn scope_names() -> String {
    Scope::ALL.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ")
}

/// A token and its entry of `tokens`, checked by the code that reads the configuration.
fn token_entry(options: &NewTokenOptions) -> Result<(String, toml::Table), Faults> {
    let token = generate_token();
    let mut table = toml::Table::new();
    table.insert("id".to_owned(), options.id.clone().into());
    table.insert("digest".to_owned(), token_digest(&token).into());
    if !options.scopes.is_empty() {
        table.insert("scopes".to_owned(), options.scopes.clone().into());
    }
    if let Some(until) = &options.until {
        table.insert("until".to_owned(), until.clone().into());
    }
    let mut tokens = serde_json::Map::new();
    tokens.insert("tokens".to_owned(), json!([table]));
    let mut reader = Reader::new(Format::Toml, "", &tokens);
    let read = read_tokens(&mut reader);
    reader.finish(Some(read))?;
    Ok((token, table))
}
