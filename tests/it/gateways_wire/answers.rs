//! The errors that each gateway documents, and the resulting `result` label of the replies metric.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::every_gateway::fixtures;

/// A response to a request that sends a message.
#[derive(Deserialize)]
pub(super) struct FakeResponse {
    pub(super) status: u16,
    /// A text that begins with `<` is sent as it is.
    pub(super) body: Value,
    pub(super) result: String,
}

/// The answers of `answers.json` in the kind's folder of fixtures, and those that every kind may give.
pub(super) fn of(kind: &str) -> Vec<FakeResponse> {
    let path = fixtures(kind).join("answers.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let mut answers: Vec<FakeResponse> =
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    assert!(!answers.is_empty(), "{kind} documents no errors");
    let common = [
        (401, json!({}), "unauthorized"),
        (429, json!({}), "retried"),
        (500, json!({}), "retried"),
        (404, json!({}), "permanent"),
        (200, json!("<!doctype html><title>Log in</title>"), "retried"),
        (403, json!("<html>blocked</html>"), "retried"),
        (200, json!({ "error": "something went wrong" }), "permanent"),
        (200, json!({ "status": "error", "message": "x" }), "permanent"),
    ];
    answers.extend(common.map(|(status, body, result)| FakeResponse { status, body, result: result.to_owned() }));
    answers
}
