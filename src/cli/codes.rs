//! `request-code` and `validate-code`.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::api_client::{ApiClient, print_fields, put};
use crate::{app::exit::CommandError, telemetry::stdout::print};

#[derive(Debug, Args)]
pub(super) struct RequestCodeOptions {
    #[command(flatten)]
    api: ApiClient,
    /// The recipient: a phone number in international format, or a chat id.
    chat: String,
    /// The application's name in the message.
    #[arg(long)]
    name: Option<String>,
    /// Lifetime of the code in seconds.
    #[arg(long, value_name = "SECONDS")]
    expires: Option<u32>,
    /// Characters of the code.
    #[arg(long)]
    length: Option<u32>,
    /// The language of the message, such as pt-BR.
    #[arg(long, value_name = "TAG")]
    lang: Option<String>,
    /// What the code is for, as the message names it.
    #[arg(long)]
    purpose: Option<String>,
    /// Print the whole response as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ValidateCodeOptions {
    #[command(flatten)]
    api: ApiClient,
    /// The chat that the code was sent to.
    chat: String,
    /// The code as the person typed it.
    code: String,
    /// Print the whole response as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn request(options: &RequestCodeOptions) -> Result<ExitCode, CommandError> {
    let mut body = Map::from_iter([("chatId".to_owned(), json!(options.chat))]);
    put(&mut body, "name", options.name.as_deref());
    put(&mut body, "expires", options.expires);
    put(&mut body, "length", options.length);
    put(&mut body, "lang", options.lang.as_deref());
    put(&mut body, "purpose", options.purpose.as_deref());
    let data = options.api.call(&Method::POST, "request-code", Some(&Value::Object(body)))?;
    show(&data, options.json, &["uuid", "code", "status", "chat_id", "expires_at"])
}

/// A wrong code is an error of the API, and exit status 1.
pub(super) fn validate(options: &ValidateCodeOptions) -> Result<ExitCode, CommandError> {
    let body = json!({ "chatId": options.chat, "code": options.code });
    let data = options.api.call(&Method::POST, "validate-code", Some(&body))?;
    show(&data, options.json, &["uuid", "status", "chat_id", "validated_at"])
}

fn show(data: &Value, as_json: bool, names: &[&str]) -> Result<ExitCode, CommandError> {
    if as_json {
        print(format_args!("{data:#}"))?;
    } else {
        print_fields(data, names)?;
    }
    Ok(ExitCode::SUCCESS)
}
