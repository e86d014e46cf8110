//! Commands that call the API of a running daemon: `mint`, `explain`, `callbacks`, `send-test-callback`.

use std::{collections::HashSet, io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};
use url::form_urlencoded::byte_serialize;

use crate::{
    app::exit::Failure,
    domain::InstanceId,
    egress::{Egress, Policy},
};

/// Holds the token if no file is given: command-line arguments are visible to every user of the machine.
const TOKEN_VARIABLE: &str = "COUNTERSIGN_TOKEN";
/// Callbacks in one page of the list.
const PAGE_SIZE: usize = 200;
/// Bytes of a response: a page of callbacks contains URLs of any length.
const MAX_RESPONSE_LEN: usize = 4 << 20;
/// How long the command waits for a test callback before it reports it as pending.
const TEST_CALLBACK_TIMEOUT: Duration = Duration::from_secs(20);

/// The daemon and the instance, with the credentials.
#[derive(Debug, Args)]
pub(super) struct ApiClient {
    /// URL of the public listener.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The id of the instance.
    #[arg(long)]
    instance: InstanceId,
    /// A file with the API token. Default: the environment variable `COUNTERSIGN_TOKEN`.
    #[arg(long)]
    token_file: Option<PathBuf>,
}

/// Properties of a login link.
#[derive(Debug, Args)]
pub(super) struct MintOptions {
    #[command(flatten)]
    api: ApiClient,
    /// The application's name in messages.
    #[arg(long)]
    name: Option<String>,
    /// Accept only messages from this chat.
    #[arg(long)]
    chat: Option<String>,
    /// Lifetime of the link in seconds.
    #[arg(long)]
    expires: Option<u32>,
    /// Your own reference, which callbacks repeat.
    #[arg(long)]
    client_ref: Option<String>,
    /// Print the whole response as JSON.
    #[arg(long)]
    json: bool,
}

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

#[derive(Debug, Args)]
pub(super) struct TestCallbackOptions {
    #[command(flatten)]
    api: ApiClient,
    /// The URL to send to. Default: the instance's `callback_url`.
    #[arg(long)]
    to: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum CallbacksCommand {
    /// List callbacks that are pending, were delivered recently, or were given up.
    List {
        #[command(flatten)]
        remote: ApiClient,
        /// Only callbacks with this status: pending, delivered or dead.
        #[arg(long)]
        status: Option<String>,
        /// Maximum number of lines; 0: no maximum.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Send one callback again, or all that were given up.
    Replay {
        #[command(flatten)]
        remote: ApiClient,
        /// The id from the list.
        #[arg(required_unless_present = "all_dead", conflicts_with = "all_dead")]
        id: Option<String>,
        /// Send all callbacks again that were given up.
        #[arg(long)]
        all_dead: bool,
    },
}

pub(super) fn mint(options: &MintOptions) -> Result<ExitCode, Failure> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| body.extend(value.map(|value| (name.to_owned(), value)));
    put("name", options.name.as_ref().map(|text| json!(text)));
    put("chatId", options.chat.as_ref().map(|text| json!(text)));
    put("expires", options.expires.map(|seconds| json!(seconds)));
    put("client_ref", options.client_ref.as_ref().map(|text| json!(text)));
    let data = options.api.call(&Method::POST, "generate-link", Some(&Value::Object(body)))?;
    if options.json {
        println!("{data:#}");
        return Ok(ExitCode::SUCCESS);
    }
    for name in ["uuid", "code", "whatsapp_link", "start_url", "expires_at"] {
        println!("{name:<14} {}", printable(&data[name]));
    }
    for warning in data["warnings"].as_array().into_iter().flatten() {
        println!("{:<14} {}: {}", "warning", printable(&warning["code"]), printable(&warning["detail"]));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn explain(options: &ExplainOptions) -> Result<ExitCode, Failure> {
    let question: String = byte_serialize(options.question.as_bytes()).collect();
    let data = options.api.call(&Method::GET, &format!("explain?q={question}"), None)?;
    if options.json {
        println!("{data:#}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", printable(&data["sentence"]));
    let mut lines: Vec<(String, String)> = Vec::new();
    for message in data["messages"].as_array().into_iter().flatten() {
        let from = message["phone_ending"].as_str().map(|end| format!(" from …{end}")).unwrap_or_default();
        lines.push((printable(&message["at"]), format!("message{from}: {}", printable(&message["outcome"]))));
    }
    for request in data["requests"].as_array().into_iter().flatten() {
        let uuid = printable(&request["uuid"]);
        for entry in request["timeline"].as_array().into_iter().flatten() {
            let reason = entry["reason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
            lines.push((printable(&entry["at"]), format!("request {uuid}: {}{reason}", printable(&entry["event"]))));
        }
        for callback in request["callbacks"].as_array().into_iter().flatten() {
            let at = if callback["ended_at"].is_null() { &callback["created_at"] } else { &callback["ended_at"] };
            let why = callback["last_error"].as_str().map(|error| format!(" ({error})")).unwrap_or_default();
            let (kind, status, url) =
                (printable(&callback["type"]), printable(&callback["status"]), printable(&callback["url"]));
            let what = format!("callback {kind} {status} at {url}{why}");
            lines.push((printable(at), what));
        }
    }
    // RFC 3339 timestamps in one time zone sort as text.
    lines.sort();
    for (at, what) in lines {
        println!("  {at}  {what}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Exit status 0 if the callback was delivered, 1 if not, or not yet.
pub(super) fn send_test_callback(options: &TestCallbackOptions) -> Result<ExitCode, Failure> {
    let body = options.to.as_ref().map_or_else(|| json!({}), |url| json!({ "url": url }));
    let sent = options.api.call(&Method::POST, "callbacks/test", Some(&body))?;
    let id = printable(&sent["id"]);
    let deadline = std::time::Instant::now() + TEST_CALLBACK_TIMEOUT;
    loop {
        let callback = options.api.call(&Method::GET, &format!("callbacks/{id}"), None)?;
        if callback["status"] != "pending" || std::time::Instant::now() > deadline {
            println!("{}", callback_line(&callback));
            print_last_answer(&callback["last_answer"]);
            let delivered = callback["status"] == "delivered";
            return Ok(if delivered { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub(super) fn callbacks(command: &CallbacksCommand) -> Result<ExitCode, Failure> {
    match command {
        CallbacksCommand::List { remote, status, limit } => {
            let limit = if *limit == 0 { usize::MAX } else { *limit };
            let (mut shown, mut out) = (0, std::io::stdout().lock());
            let more = remote.for_each_callback(status.as_deref(), |callback| {
                // The reader of a pipe may have closed it, as `head` does.
                let is_open = writeln!(out, "{}", callback_line(callback)).is_ok();
                shown += 1;
                is_open && shown < limit
            })?;
            if more {
                let _ = writeln!(std::io::stderr(), "countersign: there are more; --limit 0 shows all");
            }
        }
        CallbacksCommand::Replay { remote, id, all_dead: _ } => {
            let ids = match id {
                Some(id) => vec![id.clone()],
                None => {
                    let mut dead = Vec::new();
                    remote.for_each_callback(Some("dead"), |callback| {
                        if callback["type"] != "callback.test" {
                            dead.push(printable(&callback["id"]));
                        }
                        true
                    })?;
                    dead
                }
            };
            for id in &ids {
                remote.call(&Method::POST, &format!("callbacks/{id}/replay"), None)?;
                println!("queued again: {id}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn callback_line(callback: &Value) -> String {
    let error = callback["last_error"].as_str().map(|error| format!("  ({error})")).unwrap_or_default();
    format!(
        "{}  {:<9} {:<15} {} attempts  {}  {}{error}",
        printable(&callback["created_at"]),
        printable(&callback["status"]),
        printable(&callback["type"]),
        callback["attempts"],
        printable(&callback["url"]),
        printable(&callback["id"]),
    )
}

/// Prints the last response of the receiver, without control characters.
fn print_last_answer(answer: &Value) {
    if answer.is_null() {
        return;
    }
    println!("it answered {} at {}:", answer["status"], printable(&answer["at"]));
    for header in answer["headers"].as_array().into_iter().flatten() {
        println!("  {}: {}", printable(&header["name"]), printable(&header["value"]));
    }
    println!();
    for line in answer["body"].as_str().unwrap_or_default().lines() {
        println!("  {}", printable(&json!(line)));
    }
}

impl ApiClient {
    /// Passes the callbacks of all pages to `visit` until it returns `false`. Whether more callbacks remain.
    fn for_each_callback(&self, status: Option<&str>, mut visit: impl FnMut(&Value) -> bool) -> Result<bool, Failure> {
        let status: String = status.map(|status| byte_serialize(status.as_bytes()).collect()).unwrap_or_default();
        let filter = if status.is_empty() { String::new() } else { format!("&status={status}") };
        let (mut seen, mut cursor) = (HashSet::new(), String::new());
        loop {
            let page = self.call(&Method::GET, &format!("callbacks?limit={PAGE_SIZE}{filter}{cursor}"), None)?;
            let next = page["next_cursor"].as_str();
            let callbacks = page["callbacks"].as_array().map(Vec::as_slice).unwrap_or_default();
            for (index, callback) in callbacks.iter().enumerate() {
                // A callback that is retried while the list is read appears again on a later page.
                if seen.insert(printable(&callback["id"])) && !visit(callback) {
                    return Ok(next.is_some() || index + 1 < callbacks.len());
                }
            }
            let Some(next) = next else { return Ok(false) };
            cursor = format!("&cursor={next}");
        }
    }

    /// Calls the API and returns `data` of a successful response.
    fn call(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        Ok(super::serve::runtime()?.block_on(self.request(method, path, body))?)
    }

    async fn request(&self, method: &Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let token = match &self.token_file {
            Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?,
            None => super::environment_secret(TOKEN_VARIABLE)
                .with_context(|| format!("set {TOKEN_VARIABLE}, or give --token-file"))?,
        };
        let url = format!("{}/api/otp/v2/{}/{path}", self.url.trim_end_matches('/'), self.instance);
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
        let response = response.with_context(|| format!("no answer from {}; is the daemon running?", self.url))?;
        let answer: Value = serde_json::from_slice(response.body())
            .with_context(|| format!("{} did not answer with JSON; is it countersign's public listener?", self.url))?;
        if !response.status().is_success() {
            let faults = answer["errors"].as_array().into_iter().flatten();
            let faults: String = faults.fold(String::new(), |out, f| {
                format!("{out}\n  {}: {}", printable(&f["field"]), printable(&f["detail"]))
            });
            bail!(
                "{} ({}): {}{faults}",
                printable(&answer["title"]),
                printable(&answer["code"]),
                printable(&answer["detail"])
            );
        }
        Ok(answer["data"].clone())
    }
}

/// The text without control characters, which a terminal would interpret.
fn printable(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().filter(|c| !c.is_control()).collect()
}
