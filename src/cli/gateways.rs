//! `gateways`: the kinds of gateway, what each proves and can, and how one is set up.

use std::process::ExitCode;

use clap::{Args, builder::PossibleValuesParser};
use serde_json::{Value, json};

use crate::{
    app::exit::CommandError,
    gateway::{self, GatewayKind},
    telemetry::stdout::print,
};

#[derive(Debug, Args)]
pub(super) struct GatewaysOptions {
    /// Print the setup of this kind, as in the guide /docs/gateways, instead of the list.
    #[arg(value_name = "KIND", value_parser = PossibleValuesParser::new(gateway::kinds().map(|kind| kind.name)))]
    kind: Option<String>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &GatewaysOptions) -> Result<ExitCode, CommandError> {
    let chosen = gateway::kinds().filter(|kind| options.kind.as_deref().is_none_or(|name| name == kind.name));
    match (options.json, &options.kind) {
        (true, None) => print(format_args!("{:#}", chosen.map(describe).collect::<Value>()))?,
        (true, Some(_)) => print(format_args!("{:#}", chosen.map(describe_setup).collect::<Value>()[0]))?,
        (false, None) => print(table(chosen).trim_end())?,
        (false, Some(_)) => print(chosen.map(|kind| kind.setup).collect::<String>().trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(kind: &GatewayKind) -> Value {
    let abilities = kind.abilities();
    json!({
        "kind": kind.name,
        "proof": plain(kind.proof),
        "ban_risk": kind.ban_risk.as_str(),
        "sms": kind.sms,
        "codes": kind.codes.as_str(),
        "button": abilities.buttons,
        "message_id": abilities.message_ids,
        "number_lookup": abilities.number_lookup,
        "delivery_reports": plain(kind.delivery_reports),
    })
}

fn describe_setup(kind: &GatewayKind) -> Value {
    let mut described = describe(kind);
    described["setup"] = json!(kind.setup);
    described["example"] = json!(kind.example());
    described
}

/// A table in columns.
fn table<'a>(kinds: impl Iterator<Item = &'a GatewayKind>) -> String {
    let head = ["KIND", "PROOF", "BAN RISK", "SMS", "CODES", "BUTTON", "OWN IDS", "LOOK-UP", "DELIVERY REPORTS"];
    let mut rows = vec![head.map(str::to_owned)];
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    rows.extend(kinds.map(|kind| {
        let abilities = kind.abilities();
        [
            kind.name.to_owned(),
            plain(kind.proof),
            kind.ban_risk.describe().to_owned(),
            word(kind.sms),
            kind.codes.describe().to_owned(),
            word(abilities.buttons),
            word(abilities.message_ids),
            word(abilities.number_lookup),
            plain(kind.delivery_reports),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &[String; 9]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Text without Markdown.
fn plain(markdown: &str) -> String {
    markdown.replace(['`', '*'], "")
}
