//! `callbacks` and `send-test-callback`.

use std::{collections::HashSet, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

use super::api_client::{ApiClient, printable, show_to_person};
use crate::{app::exit::CommandError, telemetry::stdout::print};

/// Callbacks in one page of the list.
const PAGE_SIZE: usize = 200;
/// How long the command waits for a test callback before it reports it as pending.
const TEST_CALLBACK_TIMEOUT: Duration = Duration::from_secs(20);

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
}
