//! The example of an operation as a program in several languages, without dependencies to install.

mod curl;
mod node;
mod php;
mod python;

use std::fmt::Write as _;

use serde_json::Value;
use url::form_urlencoded;

use super::{Credentials, Operation, RequestBody, values};

const FORM: &str = "application/x-www-form-urlencoded";

/// A program that sends the example, prints the response, and fails if it is a problem.
pub struct Sample {
    /// Name of the language for syntax highlighters.
    pub language: &'static str,
    /// Name of the language for people.
    pub label: &'static str,
    pub source: String,
}

/// Environment variables from which samples read the daemon's URL and the caller's credentials.
pub const ENVIRONMENT: [&str; 3] = ["COUNTERSIGN_URL", "COUNTERSIGN_INSTANCE", "COUNTERSIGN_TOKEN"];

/// One sample per language.
pub fn all(operation: &Operation) -> [Sample; 4] {
    let call = SampleRequest::of(operation);
    [
        Sample { language: "shell", label: "curl", source: curl::sample(&call) },
        Sample { language: "javascript", label: "Node", source: node::sample(&call) },
        Sample { language: "python", label: "Python", source: python::sample(&call) },
        Sample { language: "php", label: "PHP", source: php::sample(&call) },
    ]
}

/// The request of an example, independent of the language.
struct SampleRequest<'a> {
    method: &'static str,
    /// Path and query, without the daemon's URL; the instance is still the value of the examples.
    target: String,
    headers: Vec<(&'a str, &'a str)>,
    token: bool,
    body: SampleBody<'a>,
    redirects: bool,
}

enum SampleBody<'a> {
    Nothing,
    Json(&'a Value),
    /// Sent byte for byte, because it is signed or form-encoded.
    Raw(String),
}

impl<'a> SampleRequest<'a> {
    fn of(operation: &'a Operation) -> Self {
        let mut target = operation.example_path();
        for (index, (name, value)) in operation.example_query().into_iter().enumerate() {
            let pair = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
            let _ = write!(target, "{}{pair}", if index == 0 { '?' } else { '&' });
        }
        let mut headers = operation.example_headers();
        let mut sent = SampleBody::Nothing;
        if let Some(body) = &operation.body {
            headers.insert(0, ("Content-Type", body.media));
            sent = match body.media {
                FORM => SampleBody::Raw(form(&body.example)),
                _ if operation.credentials == Credentials::Gateway => SampleBody::Raw(body.example.to_string()),
                _ => SampleBody::Json(&body.example),
            };
        }
        Self {
            method: operation.method,
            target,
            headers,
            token: operation.credentials.is_token(),
            body: sent,
            redirects: operation.answers.iter().any(|answer| (300..400).contains(&answer.status)),
        }
    }

    /// The target, with `instance`, an expression of the language, in place of the example's instance.
    fn target(&self, instance: &str) -> String {
        self.target.replace(values::INSTANCE, instance)
    }
}

/// A body, formatted for people.
pub(super) fn written(body: &RequestBody) -> String {
    if body.media == FORM { form(&body.example) } else { format!("{:#}", body.example) }
}

fn form(fields: &Value) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.as_object().into_iter().flatten() {
        form.append_pair(name, value.as_str().unwrap_or_default());
    }
    form.finish()
}

/// A string literal for both JavaScript and Python.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn indented(text: &str, by: usize) -> String {
    text.replace('\n', &format!("\n{}", " ".repeat(by)))
}

/// A bracketed list with one item per line.
fn listed(open: char, items: &[String], close: char) -> String {
    if items.is_empty() {
        return format!("{open}{close}");
    }
    let mut out = format!("{open}\n");
    for item in items {
        let _ = writeln!(out, "    {},", indented(item, 4));
    }
    out.push(close);
    out
}
