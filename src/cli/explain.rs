//! `explain`.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use url::form_urlencoded::byte_serialize;

use super::api_client::{ApiClient, printable};
use crate::{app::exit::CommandError, telemetry::stdout::print};

#[derive(Debug, Args)]
pub(super) struct ExplainOptions {
    #[command(flatten)]
    api: ApiClient,
    /// A uuid, a message id, a chat id, or the last digits of a phone number.
    question: String,
    /// Print the whole response as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(options: &ExplainOptions) -> Result<ExitCode, CommandError> {
    let question: String = byte_serialize(options.question.as_bytes()).collect();
    let data = options.api.call(&Method::GET, &format!("explain?q={question}"), None)?;
    if options.json {
        print(format_args!("{data:#}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(printable(&data["sentence"]))?;
    // Times have whole seconds: a request comes before its message, and callbacks come last.
    let mut lines: Vec<(String, u8, String)> = Vec::new();
    for message in data["messages"].as_array().into_iter().flatten() {
        let from = message["phone_ending"].as_str().map(|end| format!(" from …{end}")).unwrap_or_default();
        lines.push((printable(&message["at"]), 1, format!("message{from}: {}", printable(&message["outcome"]))));
    }
    for request in data["requests"].as_array().into_iter().flatten() {
        let uuid = printable(&request["uuid"]);
        for entry in request["timeline"].as_array().into_iter().flatten() {
            let reason = entry["reason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
            let rank = if entry["event"] == "created" { 0 } else { 2 };
            let what = format!("request {uuid}: {}{reason}", printable(&entry["event"]));
            lines.push((printable(&entry["at"]), rank, what));
        }
        for callback in request["callbacks"].as_array().into_iter().flatten() {
            let at = if callback["ended_at"].is_null() { &callback["created_at"] } else { &callback["ended_at"] };
            let why = callback["last_error"].as_str().map(|error| format!(" ({error})")).unwrap_or_default();
            let (kind, status, url) =
                (printable(&callback["type"]), printable(&callback["status"]), printable(&callback["url"]));
            let what = format!("callback {kind} {status} at {url}{why}");
            lines.push((printable(at), 3, what));
        }
    }
    // RFC 3339 timestamps in one time zone sort as text.
    lines.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    for (at, _, what) in lines {
        print(format_args!("  {at}  {what}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
