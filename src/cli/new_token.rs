//! `new-token`: an API token, shown once, and what the configuration keeps of it.

use clap::Args;

use crate::{
    config::{
        Faults, Section,
        credentials::{generate_token, token_digest},
        read_tokens,
    },
    domain::scope::Scope,
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
    let mut faults = Faults::default();
    let tokens = serde_json::json!({ "tokens": [table] });
    read_tokens(&mut Section::new("", tokens.as_object().cloned().unwrap_or_default()), &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let pairs: Vec<String> = table.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    Ok(format!("# API token, shown only now: {token}\n{{ {} }},", pairs.join(", ")))
}
