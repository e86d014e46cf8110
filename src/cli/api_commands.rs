//! Commands that call the API of a running daemon: `mint`, `explain`, `callbacks`, `send-test-callback`.

use std::{
    collections::HashSet,
    io::Write as _,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};
use url::form_urlencoded::byte_serialize;

use crate::{
    app::exit::CommandError,
    domain::InstanceId,
    egress::{Egress, Policy},
    http::qr,
    telemetry::stdout::print,
};

/// Holds the token if no file is given: command-line arguments are visible to every user of the machine.
const TOKEN_VARIABLE: &str = "COUNTERSIGN_TOKEN";
const INSTANCE_VARIABLE: &str = "COUNTERSIGN_INSTANCE";
/// Callbacks in one page of the list.
const PAGE_SIZE: usize = 200;
/// Bytes of a response: a page of callbacks contains URLs of any length.
const MAX_RESPONSE_LEN: usize = 4 << 20;
/// How long the command waits for a test callback before it reports it as pending.
const TEST_CALLBACK_TIMEOUT: Duration = Duration::from_secs(20);

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
    /// A random value of the browser's session, which the redirect repeats.
    #[arg(long)]
    state: Option<String>,
    /// The base64url SHA-256 of a verifier that stays in the session.
    #[arg(long)]
    challenge: Option<String>,
    /// Where the person lands after the login.
    #[arg(long, value_name = "URL")]
    redirect_url: Option<String>,
    /// The language of messages and pages, such as pt-BR.
    #[arg(long, value_name = "TAG")]
    lang: Option<String>,
    /// What the person agrees to, as messages and pages name it.
    #[arg(long)]
    purpose: Option<String>,
    /// Also print the WhatsApp link as a QR code.
    #[arg(long)]
    qr: bool,
    /// Open the start page in the browser.
    #[arg(long)]
    open: bool,
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
    /// Print the callback as JSON.
    #[arg(long)]
    json: bool,
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
        /// Print one line of JSON for each callback.
        #[arg(long)]
        json: bool,
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
        /// Print the ids as JSON.
        #[arg(long)]
        json: bool,
    },
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

pub(super) fn mint(options: &MintOptions) -> Result<ExitCode, CommandError> {
    let mut body = Map::new();
    put(&mut body, "name", options.name.as_deref());
    put(&mut body, "chatId", options.chat.as_deref());
    put(&mut body, "expires", options.expires);
    put(&mut body, "client_ref", options.client_ref.as_deref());
    put(&mut body, "state", options.state.as_deref());
    put(&mut body, "challenge", options.challenge.as_deref());
    put(&mut body, "redirect_url", options.redirect_url.as_deref());
    put(&mut body, "lang", options.lang.as_deref());
    put(&mut body, "purpose", options.purpose.as_deref());
    let data = options.api.call(&Method::POST, "generate-link", Some(&Value::Object(body)))?;
    if options.json {
        print(format_args!("{data:#}"))?;
    } else {
        print_fields(&data, &["uuid", "code", "whatsapp_link", "start_url", "expires_at"])?;
    }
    if options.qr {
        let link = data["whatsapp_link"].as_str().unwrap_or_default();
        let code = qr::terminal(link).context("the message is too long for a QR code")?;
        // Beside JSON, the code is for the person at the terminal.
        if options.json { show_to_person(&code)? } else { print(code)? }
    }
    if options.open {
        open_in_browser(data["start_url"].as_str().unwrap_or_default())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show_to_person(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stderr(), "{text}").context("cannot write to standard error")
}

fn open_in_browser(url: &str) -> anyhow::Result<()> {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let opened = command.status().with_context(|| format!("cannot run {program}; open {url} yourself"))?;
    anyhow::ensure!(opened.success(), "{program} failed; open {url} yourself");
    Ok(())
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

/// Exit status 0 if the callback was delivered, 1 if not, or not yet.
pub(super) fn send_test_callback(options: &TestCallbackOptions) -> Result<ExitCode, CommandError> {
    let body = options.to.as_ref().map_or_else(|| json!({}), |url| json!({ "url": url }));
    let sent = options.api.call(&Method::POST, "callbacks/test", Some(&body))?;
    let id = printable(&sent["id"]);
    let deadline = std::time::Instant::now() + TEST_CALLBACK_TIMEOUT;
    loop {
        let callback = options.api.call(&Method::GET, &format!("callbacks/{id}"), None)?;
        if callback["status"] != "pending" || std::time::Instant::now() > deadline {
            if options.json {
                print(format_args!("{callback:#}"))?;
            } else {
                print(callback_line(&callback))?;
                print_last_answer(&callback["last_answer"])?;
            }
            let delivered = callback["status"] == "delivered";
            return Ok(if delivered { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub(super) fn callbacks(command: &CallbacksCommand) -> Result<ExitCode, CommandError> {
    match command {
        CallbacksCommand::List { remote, status, limit, json } => {
            let limit = if *limit == 0 { usize::MAX } else { *limit };
            let (mut shown, mut written) = (0, Ok(()));
            let more = remote.for_each_callback(status.as_deref(), |callback| {
                written = if *json { print(callback) } else { print(callback_line(callback)) };
                shown += 1;
                written.is_ok() && shown < limit
            })?;
            written?;
            if more {
                show_to_person("countersign: there are more; --limit 0 shows all")?;
            }
        }
        CallbacksCommand::Replay { remote, id, all_dead: _, json } => {
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
                if !json {
                    print(format_args!("queued again: {id}"))?;
                }
            }
            if *json {
                print(json!({ "queued": ids }))?;
            } else if ids.is_empty() {
                print("no callback was given up")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn callback_line(callback: &Value) -> String {
    let error = callback["last_error"].as_str().map(|error| format!("  ({error})")).unwrap_or_default();
    let next = callback["next_attempt_at"].as_str().map(|at| format!("  next at {at}")).unwrap_or_default();
    let attempts = if callback["attempts"] == 1 { "attempt" } else { "attempts" };
    format!(
        "{}  {:<9} {:<15} {} {attempts}  {}  {}{error}{next}",
        printable(&callback["created_at"]),
        printable(&callback["status"]),
        printable(&callback["type"]),
        callback["attempts"],
        printable(&callback["url"]),
        printable(&callback["id"]),
    )
}

/// Prints the last response of the receiver, without control characters.
fn print_last_answer(answer: &Value) -> Result<(), CommandError> {
    if answer.is_null() {
        return Ok(());
    }
    print(format_args!("it answered {} at {}:", answer["status"], printable(&answer["at"])))?;
    for header in answer["headers"].as_array().into_iter().flatten() {
        print(format_args!("  {}: {}", printable(&header["name"]), printable(&header["value"])))?;
    }
    print("")?;
    for line in answer["body"].as_str().unwrap_or_default().lines() {
        print(format_args!("  {}", printable(&json!(line))))?;
    }
    Ok(())
}

impl ApiClient {
    /// Passes the callbacks of all pages to `visit` until it returns `false`. Whether more callbacks remain.
    fn for_each_callback(
        &self,
        status: Option<&str>,
        mut visit: impl FnMut(&Value) -> bool,
    ) -> Result<bool, CommandError> {
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

/// The text without control characters, which a terminal would interpret.
fn printable(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().filter(|c| !c.is_control()).collect()
}
