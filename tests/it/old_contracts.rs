//! The calls of the replaced APIs, Hypersender's and Wawp's, with the answer of each: `old_contracts.txt`. Every row says
//! whether the answer is that of the replaced API as far as it is documented, or differs on purpose, and why.
//!
//! A row has five columns, separated by ` | `:
//!
//! 1. `equal`, `differs` or `step` (what has to happen in between: `wait SECONDS`, `says TEXT`, `reads the code`, `reads the
//!    answers`). With a `+` before it, it continues the row above: same chat, same values. Otherwise it gets a chat of its
//!    own.
//! 2. What is called: `request-code`, `validate-code`, `generate-link`, or a method and a path. Headers follow, each after
//!    ` ^ `; an empty value removes a header that is sent otherwise.
//! 3. The body: JSON, or `form:` and a form, or nothing.
//! 4. The status, and what the answer holds: `path=JSON`, `path~REGEX`, `!path` for what it must not hold, and
//!    `warns CODE`, each after ` & `.
//! 5. Why it differs.
//!
//! `$CHAT` is the row's chat in digits, `$I` the instance, `$TOKEN` its token. `$CODE` is the code of the last message or of
//! the last answer, `$WRONG` another one, `$LINK` the path of the last link in the chat, `$TEXT` the prefilled message, `$AUTH`
//! the last `auth_id`, `$YES` and `$NO` the two answers to it.

use std::collections::HashMap;

use http::Request;
use regex::Regex;
use serde_json::Value;

use crate::{
    codes::wrong,
    daemon::{Daemon, ReceivedResponse, TOKEN, TestStore, WAHA, World},
    wawp::answers_in,
};

const TABLE: &str = include_str!("old_contracts.txt");
/// As Wawp writes an id.
const ALIAS: &str = "6A1B2C3D4E5F";
/// The number of calls in which the replaced APIs were compared.
const CALLS: usize = 243;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Equal,
    Differs,
    Step,
}

struct OldCall {
    line: usize,
    continues: bool,
    verdict: Verdict,
    call: &'static str,
    body: &'static str,
    expected: &'static str,
    why: &'static str,
}

fn rows() -> Vec<OldCall> {
    let lines = (1..).zip(TABLE.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let row = |(line, text): (usize, &'static str)| {
        let mut columns = text.split(" | ").map(str::trim);
        let mut column = || columns.next().unwrap_or_default();
        let first = column();
        let verdict = match first.trim_start_matches('+') {
            "equal" => Verdict::Equal,
            "differs" => Verdict::Differs,
            "step" => Verdict::Step,
            other => panic!("line {line}: {other:?}"),
        };
        let continues = first.starts_with('+');
        OldCall { line, continues, verdict, call: column(), body: column(), expected: column(), why: column() }
    };
    lines.map(row).collect()
}

/// A chat, and what was said in it.
struct Conversation<'a> {
    world: &'a World,
    daemon: &'a Daemon,
    values: HashMap<&'static str, String>,
    /// Messages in the chat that were read.
    read: usize,
    sent: usize,
}

impl Conversation<'_> {
    fn fill(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    fn note_code(&mut self, code: &str) {
        self.values.insert("$CODE", code.to_owned());
        self.values.insert("$WRONG", wrong(code));
    }

    /// Waits for the next message in the chat.
    async fn listen(&mut self, line: usize) -> String {
        let chat = format!("{}@c.us", self.values["$CHAT"]);
        let mut message = None;
        crate::wait::until(&format!("line {line}: a message to {chat}"), async || {
            let bodies = self.world.gateway.requests().into_iter().map(|request| request.json());
            let mut of_chat = bodies.filter(|body| body["chatId"] == chat.as_str());
            message = of_chat.nth(self.read).and_then(|body| body["text"].as_str().map(str::to_owned));
            message.is_some()
        })
        .await;
        self.read += 1;
        let message = message.unwrap();
        if let Some(at) = message.find("/o/") {
            self.values.insert("$LINK", message[at..].split_whitespace().next().unwrap().to_owned());
        }
        message
    }

    async fn call(&self, row: &OldCall) -> ReceivedResponse {
        let mut parts = row.call.split(" ^ ");
        let call = self.fill(parts.next().unwrap());
        let (method, path) = match call.split_once(' ') {
            Some((method, path)) => (method.to_owned(), path.to_owned()),
            None => ("POST".to_owned(), format!("/api/otp/v2/{WAHA}/{call}")),
        };
        let mut headers: HashMap<String, String> = HashMap::new();
        if !path.starts_with("/v2/") {
            headers.insert("authorization".to_owned(), format!("Bearer {TOKEN}"));
        }
        let body = self.fill(row.body);
        let body = match body.strip_prefix("form:") {
            Some(form) => {
                headers.insert("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned());
                form.to_owned()
            }
            None => {
                headers.insert("content-type".to_owned(), "application/json".to_owned());
                body.replace("$BOM", "\u{feff}")
            }
        };
        for header in parts {
            let (name, value) = header.split_once(": ").unwrap_or((header.trim_end_matches(':'), ""));
            headers.insert(name.to_owned(), self.fill(value));
        }
        let mut request = Request::builder().method(&*method).uri(format!("{}{path}", self.daemon.base));
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(name, value);
        }
        self.daemon.send(request.body(body.into_bytes()).unwrap()).await
    }

    async fn step(&mut self, row: &OldCall) {
        let text = self.fill(row.call);
        if let Some(seconds) = text.strip_prefix("wait ") {
            self.daemon.advance(std::time::Duration::from_secs(seconds.parse().unwrap())).await;
        } else if let Some(text) = text.strip_prefix("says ") {
            self.sent += 1;
            let id = format!("{}-{}", self.values["$CHAT"], self.sent);
            assert_eq!(self.daemon.send_message(&self.values["$CHAT"], &id, text).await.status, 200);
            if row.expected != "silence" {
                let reply = self.listen(row.line).await;
                let pattern = Regex::new(&self.fill(row.expected)).unwrap();
                assert!(pattern.is_match(&reply), "line {}: {reply:?}", row.line);
            }
        } else if text == "reads the answers" {
            let [yes, no] = answers_in(&self.listen(row.line).await);
            self.values.extend([("$YES", yes), ("$NO", no)]);
        } else {
            assert_eq!(text, "reads the code", "line {}", row.line);
            let message = self.listen(row.line).await;
            let code: String = message.chars().filter(char::is_ascii_digit).take(6).collect();
            self.note_code(&code);
        }
    }
}

fn member<'a>(json: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(json, |value, name| match name.parse::<usize>() {
        Ok(index) => value.get(index),
        Err(_) => value.get(name),
    })
}

/// What is not as expected.
fn fault(answer: &ReceivedResponse, expected: &str) -> Option<String> {
    let mut parts = expected.split(" & ");
    let status = parts.next().unwrap();
    if answer.status.to_string() != status {
        return Some(format!("status {} instead of {status}", answer.status));
    }
    parts.find_map(|part| {
        let holds = if let Some(code) = part.strip_prefix("warns ") {
            let warnings = member(&answer.json, "data.warnings").and_then(Value::as_array);
            warnings.is_some_and(|all| all.iter().any(|one| one["code"] == code))
        } else if let Some(path) = part.strip_prefix('!') {
            member(&answer.json, path).is_none()
        } else if let Some((path, pattern)) = part.split_once('~') {
            let text = member(&answer.json, path).and_then(Value::as_str);
            text.is_some_and(|text| Regex::new(pattern).unwrap().is_match(text))
        } else {
            let (path, value) = part.split_once('=').unwrap_or_else(|| panic!("{part}"));
            let value: Value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{part}: {error}"));
            member(&answer.json, path) == Some(&value)
        };
        (!holds).then(|| part.to_owned())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_the_replaced_apis_is_answered_as_the_table_says() {
    let mut world = World::new(TestStore::directory());
    world.redirects = format!("[]\naliases = [\"{ALIAS}\"]");
    world.top_level_lines = "[limits]\nwrong_tokens_per_minute = 0\n".to_owned();
    world.instance_lines = "code_in_response = true\ncompletion = \"anywhere\"\nexpires_min = 60\n[instance.limits]\n\
                   codes_per_prefix_10m = 0\ncodes_per_country_10m = 0\nreplies_per_second = 1000\n"
        .to_owned();
    let daemon = world.start().await;
    let mut faults = Vec::new();
    let mut conversation: Option<Conversation<'_>> = None;
    for row in rows() {
        if !row.continues {
            let chat = format!("4477009{:05}", row.line);
            let values = [("$CHAT", chat.as_str()), ("$I", WAHA), ("$TOKEN", TOKEN), ("$ALIAS", ALIAS)];
            let values = values.map(|(name, value)| (name, value.to_owned())).into();
            conversation = Some(Conversation { world: &world, daemon: &daemon, values, read: 0, sent: 0 });
        }
        let conversation = conversation.as_mut().unwrap();
        if row.verdict == Verdict::Step {
            conversation.step(&row).await;
            continue;
        }
        let answer = conversation.call(&row).await;
        if let Some(fault) = fault(&answer, &conversation.fill(row.expected)) {
            faults.push(format!("line {}: {} {}: {fault}\n  {}", row.line, row.call, row.body, answer.text));
        }
        let data = &answer.json["data"];
        if let Some(code) = data["code"].as_str() {
            conversation.note_code(code);
        }
        if let Some(text) = data["text"].as_str() {
            conversation.values.insert("$TEXT", text.to_owned());
        }
        if let Some(auth_id) = answer.json["auth_id"].as_str() {
            conversation.values.insert("$AUTH", auth_id.to_owned());
        }
        if let Some(uuid) = data["uuid"].as_str() {
            conversation.values.insert("$UUID", uuid.to_owned());
        }
    }
    assert!(faults.is_empty(), "{} rows\n{}", faults.len(), faults.join("\n"));
    daemon.finish().await;
}

#[test]
fn every_difference_has_a_reason_and_no_call_is_missing() {
    let rows = rows();
    for row in &rows {
        let is_call = row.verdict != Verdict::Step;
        assert_eq!(!row.why.is_empty(), row.verdict == Verdict::Differs, "line {}", row.line);
        assert!(!is_call || row.expected.split(" & ").next().unwrap().parse::<u16>().is_ok(), "line {}", row.line);
    }
    let calls: Vec<&str> = rows.iter().filter(|row| row.verdict != Verdict::Step).map(|row| row.call).collect();
    assert!(calls.len() >= CALLS, "{} calls", calls.len());
    for operation in [
        "request-code",
        "validate-code",
        "generate-link",
        "/v2/auth/otp/send",
        "/v2/auth/otp/verify",
        "/v2/auth/list/send",
        "/v2/auth/list/verify",
    ] {
        assert!(calls.iter().any(|call| call.contains(operation)), "{operation}");
    }
}
