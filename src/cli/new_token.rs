//! `new-token`: an API token, and its entry for the configuration.

use clap::Args;

use crate::{
    config::{
        credentials::{generate_token, token_digest},
        read_tokens,
    },
    domain::scope::Scope,
    reader::{Faults, Format, Reader},
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
}

fn scope_names() -> String {
    Scope::ALL.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ")
}

/// An entry for `tokens` in TOML, checked by the code that reads the configuration.
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
