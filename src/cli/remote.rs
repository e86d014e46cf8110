//! Commands that ask a running daemon through its API: `mint`, `explain`, `callbacks`, `send-test-callback`.

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

/// Where the token stands when no file is named: an argument would be seen by everybody on the machine.
const TOKEN: &str = "COUNTERSIGN_TOKEN";
/// Callbacks asked for at once.
const PAGE: usize = 200;
/// Bytes of an answer: a page holds addresses of any length.
const ANSWER: usize = 4 << 20;
/// How long a test callback may take before the command says that it is still on its way.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whom to ask, and as whom.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// The public listener.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The instance's id.
    #[arg(long)]
    instance: InstanceId,
    /// A file with the API token; without it the token stands in `COUNTERSIGN_TOKEN`.
    #[arg(long)]
    token_file: Option<PathBuf>,
}

/// A login link.
#[derive(Debug, Args)]
pub(super) struct Mint {
    #[command(flatten)]
    remote: Remote,
    /// The application's name in messages.
    #[arg(long)]
    name: Option<String>,
    /// Only this chat can match.
    #[arg(long)]
    chat: Option<String>,
    /// Seconds until the code is too old.
    #[arg(long)]
    expires: Option<u32>,
    /// A reference of yours.
    #[arg(long)]
    client_ref: Option<String>,
    /// The whole answer.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    remote: Remote,
    /// A uuid, a message id, a chat id or the last digits of a phone.
    question: String,
    /// The whole answer.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Test {
    #[command(flatten)]
    remote: Remote,
    /// Where it goes; default: the instance's `callback_url`.
    #[arg(long)]
    to: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Callbacks {
    /// Show what is on its way, was delivered lately, or was given up.
    List {
        #[command(flatten)]
        remote: Remote,
        /// pending, delivered or dead.
        #[arg(long)]
        status: Option<String>,
        /// At most so many lines; 0: all of them.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Send one again, or all that were given up.
    Replay {
        #[command(flatten)]
        remote: Remote,
        /// The id in the list.
        #[arg(required_unless_present = "all_dead", conflicts_with = "all_dead")]
        id: Option<String>,
        #[arg(long)]
        all_dead: bool,
    },
}

pub(super) fn mint(options: &Mint) -> Result<ExitCode, Failure> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| body.extend(value.map(|value| (name.to_owned(), value)));
    put("name", options.name.as_ref().map(|text| json!(text)));
    put("chatId", options.chat.as_ref().map(|text| json!(text)));
    put("expires", options.expires.map(|seconds| json!(seconds)));
    put("client_ref", options.client_ref.as_ref().map(|text| json!(text)));
    let data = options.remote.run(&Method::POST, "generate-link", Some(&Value::Object(body)))?;
    if options.json {
        println!("{data:#}");
        return Ok(ExitCode::SUCCESS);
    }
    for name in ["uuid", "code", "whatsapp_link", "start_url", "expires_at"] {
        println!("{name:<14} {}", plain(&data[name]));
    }
    for warning in data["warnings"].as_array().into_iter().flatten() {
        println!("{:<14} {}: {}", "warning", plain(&warning["code"]), plain(&warning["detail"]));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn explain(options: &Explain) -> Result<ExitCode, Failure> {
    let question: String = byte_serialize(options.question.as_bytes()).collect();
    let data = options.remote.run(&Method::GET, &format!("explain?q={question}"), None)?;
    if options.json {
        println!("{data:#}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", plain(&data["sentence"]));
    let mut lines: Vec<(String, String)> = Vec::new();
    for message in data["messages"].as_array().into_iter().flatten() {
        let from = message["phone_ending"].as_str().map(|end| format!(" from …{end}")).unwrap_or_default();
        lines.push((plain(&message["at"]), format!("message{from}: {}", plain(&message["outcome"]))));
    }
    for request in data["requests"].as_array().into_iter().flatten() {
        let uuid = plain(&request["uuid"]);
        for entry in request["timeline"].as_array().into_iter().flatten() {
            let reason = entry["reason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
            lines.push((plain(&entry["at"]), format!("request {uuid}: {}{reason}", plain(&entry["event"]))));
        }
        for callback in request["callbacks"].as_array().into_iter().flatten() {
            let at = if callback["ended_at"].is_null() { &callback["created_at"] } else { &callback["ended_at"] };
            let why = callback["last_error"].as_str().map(|error| format!(" ({error})")).unwrap_or_default();
            let (kind, status, url) = (plain(&callback["type"]), plain(&callback["status"]), plain(&callback["url"]));
            let what = format!("callback {kind} {status} at {url}{why}");
            lines.push((plain(at), what));
        }
    }
    // RFC 3339 in one zone sorts as text.
    lines.sort();
    for (at, what) in lines {
        println!("  {at}  {what}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Exit 0: it was taken; 1: it was not, or not yet.
pub(super) fn test(options: &Test) -> Result<ExitCode, Failure> {
    let body = options.to.as_ref().map_or_else(|| json!({}), |url| json!({ "url": url }));
    let sent = options.remote.run(&Method::POST, "callbacks/test", Some(&body))?;
    let id = plain(&sent["id"]);
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let callback = options.remote.run(&Method::GET, &format!("callbacks/{id}"), None)?;
        if callback["status"] != "pending" || std::time::Instant::now() > deadline {
            println!("{}", line(&callback));
            answer(&callback["last_answer"]);
            let taken = callback["status"] == "delivered";
            return Ok(if taken { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub(super) fn callbacks(command: &Callbacks) -> Result<ExitCode, Failure> {
    match command {
        Callbacks::List { remote, status, limit } => {
            let limit = if *limit == 0 { usize::MAX } else { *limit };
            let (mut shown, mut out) = (0, std::io::stdout().lock());
            let more = remote.each(status.as_deref(), |callback| {
                // Whoever reads the list may have seen enough.
                let open = writeln!(out, "{}", line(callback)).is_ok();
                shown += 1;
                open && shown < limit
            })?;
            if more {
                let _ = writeln!(std::io::stderr(), "countersign: there are more; --limit 0 shows all");
            }
        }
        Callbacks::Replay { remote, id, all_dead: _ } => {
            let ids = match id {
                Some(id) => vec![id.clone()],
                None => {
                    let mut dead = Vec::new();
                    remote.each(Some("dead"), |callback| {
                        if callback["type"] != "callback.test" {
                            dead.push(plain(&callback["id"]));
                        }
                        true
                    })?;
                    dead
                }
            };
            for id in &ids {
                remote.run(&Method::POST, &format!("callbacks/{id}/replay"), None)?;
                println!("queued again: {id}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(callback: &Value) -> String {
    let error = callback["last_error"].as_str().map(|error| format!("  ({error})")).unwrap_or_default();
    format!(
        "{}  {:<9} {:<15} {} attempts  {}  {}{error}",
        plain(&callback["created_at"]),
        plain(&callback["status"]),
        plain(&callback["type"]),
        callback["attempts"],
        plain(&callback["url"]),
        plain(&callback["id"]),
    )
}

/// What a receiver said, as far as it is text.
fn answer(answer: &Value) {
    if answer.is_null() {
        return;
    }
    println!("it answered {} at {}:", answer["status"], plain(&answer["at"]));
    for header in answer["headers"].as_array().into_iter().flatten() {
        println!("  {}: {}", plain(&header["name"]), plain(&header["value"]));
    }
    println!();
    for line in answer["body"].as_str().unwrap_or_default().lines() {
        println!("  {}", plain(&json!(line)));
    }
}

impl Remote {
    /// Walks all pages while `visit` says so. Whether there may be more than it was shown.
    fn each(&self, status: Option<&str>, mut visit: impl FnMut(&Value) -> bool) -> Result<bool, Failure> {
        let status: String = status.map(|status| byte_serialize(status.as_bytes()).collect()).unwrap_or_default();
        let filter = if status.is_empty() { String::new() } else { format!("&status={status}") };
        let (mut seen, mut cursor) = (HashSet::new(), String::new());
        loop {
            let page = self.run(&Method::GET, &format!("callbacks?limit={PAGE}{filter}{cursor}"), None)?;
            let next = page["next_cursor"].as_str();
            let callbacks = page["callbacks"].as_array().map(Vec::as_slice).unwrap_or_default();
            for (index, callback) in callbacks.iter().enumerate() {
                // One that is retried meanwhile comes again.
                if seen.insert(plain(&callback["id"])) && !visit(callback) {
                    return Ok(next.is_some() || index + 1 < callbacks.len());
                }
            }
            let Some(next) = next else { return Ok(false) };
            cursor = format!("&cursor={next}");
        }
    }

    /// The `data` of a good answer.
    fn run(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        Ok(super::serve::runtime()?.block_on(self.ask(method, path, body))?)
    }

    async fn ask(&self, method: &Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let token = match &self.token_file {
            Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?,
            None => super::variable(TOKEN).with_context(|| format!("set {TOKEN}, or give --token-file"))?,
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
        let egress = Egress::new(Policy { anywhere: true, http: true, ..Policy::default() }).reading(ANSWER);
        let response = egress.send(request.context("--url, or the token, cannot be sent")?).await;
        let response = response.with_context(|| format!("no answer from {}; is the daemon running?", self.url))?;
        let answer: Value = serde_json::from_slice(response.body())
            .with_context(|| format!("{} did not answer with JSON; is it countersign's public listener?", self.url))?;
        if !response.status().is_success() {
            let faults = answer["errors"].as_array().into_iter().flatten();
            let faults: String = faults
                .fold(String::new(), |out, f| format!("{out}\n  {}: {}", plain(&f["field"]), plain(&f["detail"])));
            bail!("{} ({}): {}{faults}", plain(&answer["title"]), plain(&answer["code"]), plain(&answer["detail"]));
        }
        Ok(answer["data"].clone())
    }
}

/// A text without what a terminal would obey.
fn plain(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().filter(|c| !c.is_control()).collect()
}
