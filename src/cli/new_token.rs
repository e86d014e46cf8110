//! `new-token`: an API token, shown once, and what the configuration keeps of it.

use clap::Args;

use crate::{
    config::{
        credentials::{generate_token, token_digest},
        read_tokens,
    },
    domain::scope::Scope,
    reader::{Faults, Format, Reader},
};

/// What the token is to be.
#[derive(Debug, Args)]
pub(super) struct NewTokenOptions {
    /// Names it in the log, in timelines and in the audit stream.
    #[arg(long)]
    id: String,
    #[arg(long = "scope", value_name = "SCOPE", help = format!("What it may do, once for each of {}; default: everything", scope_names()))]
    scopes: Vec<String>,
    /// Its last day, such as 2027-01-31 (UTC), or the moment of its end. Default: none.
    #[arg(long)]
    until: Option<String>,
}

fn scope_names() -> String {
    Scope::ALL.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ")
}

/// TOML to paste into `tokens`, checked as the daemon will check it.
pub(super) fn token_entry(options: &NewTokenOptions) -> Result<String, Faults> {
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
    tokens.insert("tokens".to_owned(), serde_json::json!([table]));
    let mut reader = Reader::new(Format::Toml, "", &tokens);
    let read = read_tokens(&mut reader);
    reader.finish(Some(read))?;
    let pairs: Vec<String> = table.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    Ok(format!("# API token, shown only now: {token}\n{{ {} }},", pairs.join(", ")))
}
