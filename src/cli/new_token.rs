//! `new-token`: an API token, and its entry for the configuration.

use clap::Args;

use crate::{
    config::{
        Faults, Section,
        credentials::{generate_token, token_digest},
        read_tokens,
    },
    domain::scope::Scope,
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
    let mut faults = Faults::default();
    let tokens = serde_json::json!({ "tokens": [table] });
    read_tokens(&mut Section::new("", tokens.as_object().cloned().unwrap_or_default()), &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let pairs: Vec<String> = table.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    Ok(format!("# API token, shown only now: {token}\n{{ {} }},", pairs.join(", ")))
}
