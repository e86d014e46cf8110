//! Calls of a running daemon's API, and the output of its responses.

use std::{io::Write as _, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use http::Method;
use serde_json::{Map, Value};

use crate::{
    app::exit::CommandError,
    domain::InstanceId,
    egress::{Egress, Policy},
    telemetry::stdout::print,
};

/// Holds the token if no file is given: command-line arguments are visible to every user of the machine.
const TOKEN_VARIABLE: &str = "COUNTERSIGN_TOKEN";
const INSTANCE_VARIABLE: &str = "COUNTERSIGN_INSTANCE";
/// Bytes of a response: a page of callbacks contains URLs of any length.
const MAX_RESPONSE_LEN: usize = 4 << 20;

/// The daemon and the instance, with the credentials.
#[derive(Debug, Args)]
pub(super) struct ApiClient {
    /// URL of the daemon.
    #[arg(long, env = "COUNTERSIGN_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The id of the instance.
    #[arg(long, env = INSTANCE_VARIABLE, value_name = "ID")]
    instance: Option<InstanceId>,
    /// A file with the API token. Default: the environment variable `COUNTERSIGN_TOKEN`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl ApiClient {
    /// Calls the API and returns `data` of a successful response.
    pub(super) fn call(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, CommandError> {
        Ok(super::runtime()?.block_on(self.request(method, path, body))?)
    }

    async fn request(&self, method: &Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let token = match &self.token_file {
            Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?,
            None => super::environment_secret(TOKEN_VARIABLE).with_context(|| {
                format!("there is no API token: set {TOKEN_VARIABLE}, or name a file with --token-file")
            })?,
        };
        let instance = self.instance.with_context(|| {
            format!(
                "there is no instance: set {INSTANCE_VARIABLE} or --instance; `countersign check-config` lists the ids"
            )
        })?;
        let url = format!("{}/api/otp/v2/{instance}/{path}", self.url.trim_end_matches('/'));
        let mut request = http::Request::builder()
            .method(method)
            .uri(url)
            .header("authorization", format!("Bearer {}", token.trim()));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(body.map(|body| body.to_string().into_bytes()).unwrap_or_default());
        let egress = Egress::new(Policy { any_address: true, allow_http: true, ..Policy::default() })
            .with_max_response_len(MAX_RESPONSE_LEN);
        let response = egress.send(request.context("--url, or the token, cannot be sent")?).await;
        let response = response.with_context(|| {
            format!("no answer from {}: is the daemon running there? --url or COUNTERSIGN_URL names another", self.url)
        })?;
        let answer: Value = serde_json::from_slice(response.body())
            .with_context(|| format!("{} did not answer with JSON; is it countersign's public listener?", self.url))?;
        if !response.status().is_success() {
            let faults = answer["errors"].as_array().into_iter().flatten();
            let faults: String = faults.fold(String::new(), |out, f| {
                format!("{out}\n  {}: {}", printable(&f["field"]), printable(&f["detail"]))
            });
            // The API speaks of its header, which the command writes.
            let detail = match answer["code"].as_str() {
                Some("unauthenticated") => format!("{TOKEN_VARIABLE} or --token-file holds no token of this instance"),
                _ => printable(&answer["detail"]),
            };
            bail!("{} ({}): {detail}{faults}", printable(&answer["title"]), printable(&answer["code"]));
        }
        Ok(answer["data"].clone())
    }
}

/// Adds a member to a request's body, if there is a value.
pub(super) fn put(body: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    body.extend(value.map(|value| (name.to_owned(), value.into())));
}

/// Prints members of a response, one a line, and its warnings. Absent ones are skipped.
pub(super) fn print_fields(data: &Value, names: &[&str]) -> Result<(), CommandError> {
    for name in names.iter().filter(|name| !data[**name].is_null()) {
        print(format_args!("{name:<14} {}", printable(&data[*name])))?;
    }
    for warning in data["warnings"].as_array().into_iter().flatten() {
        print(format_args!("{:<14} {}: {}", "warning", printable(&warning["code"]), printable(&warning["detail"])))?;
    }
    Ok(())
}

pub(super) fn show_to_person(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stderr(), "{text}").context("cannot write to standard error")
}

/// The text without control characters, which a terminal would interpret.
pub(super) fn printable(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().filter(|c| !c.is_control()).collect()
}
