//! `{name}` in the texts of a `send` table, and what the names stand for.

use std::fmt::Write as _;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use super::super::credentials::Reader;

/// Differ from message to message.
pub(super) const OF_A_MESSAGE: [&str; 3] = ["chat_id", "digits", "text"];
/// Stand in the gateway's table.
pub(super) const OF_THE_GATEWAY: [&str; 5] = ["url", "account", "from", "api_key", "api_secret"];

/// What the gateway's table gives for templates.
pub(super) struct Values {
    /// Without its trailing slash.
    url: Option<String>,
    /// The account, instance or app at the gateway.
    account: Option<String>,
    /// The number that sends.
    from: Option<String>,
    api_key: Option<SecretString>,
    api_secret: Option<SecretString>,
}

impl Values {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let url = reader.table.url("url");
        Self {
            url: url.map(|url| url.as_str().trim_end_matches('/').to_owned()),
            account: reader.text("account"),
            from: reader.text("from"),
            api_key: reader.table.secret("api_key"),
            api_secret: reader.table.secret("api_secret"),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        match name {
            "url" => self.url.as_deref(),
            "account" => self.account.as_deref(),
            "from" => self.from.as_deref(),
            "api_key" => self.api_key.as_ref().map(SecretString::expose_secret),
            "api_secret" => self.api_secret.as_ref().map(SecretString::expose_secret),
            _ => None,
        }
    }

    pub(super) fn lacks(&self, name: &str) -> bool {
        OF_THE_GATEWAY.contains(&name) && self.get(name).is_none()
    }
}

enum Part<'a> {
    Literal(&'a str),
    Name(&'a str),
}

fn parts(template: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        if end > 0 && after[end..].starts_with('}') {
            parts.extend([Part::Literal(before), Part::Name(&after[..end])]);
            rest = &after[end + 1..];
        } else {
            parts.push(Part::Literal(&rest[..=at]));
            rest = after;
        }
    }
    parts.push(Part::Literal(rest));
    parts
}

pub(super) fn names(template: &str) -> impl Iterator<Item = &str> {
    parts(template).into_iter().filter_map(|part| match part {
        Part::Name(name) => Some(name),
        Part::Literal(_) => None,
    })
}

/// In one pass: what was put in is not looked at again. A name without a value leaves nothing.
pub(super) fn fill<'v>(template: &str, value: &dyn Fn(&str) -> Option<&'v str>) -> String {
    write(template, value, |text, out| out.push_str(text))
}

/// As above, every value as one component of a URL, but the base URL as it is.
pub(super) fn fill_url<'v>(template: &str, value: &dyn Fn(&str) -> Option<&'v str>) -> String {
    let base = value("url").unwrap_or_default();
    match template.strip_prefix("{url}") {
        Some(rest) => format!("{base}{}", write(rest, value, component)),
        None => write(template, value, component),
    }
}

/// Every text in `json`, filled; JSON itself does the escaping.
pub(super) fn fill_json<'v>(json: &Value, value: &dyn Fn(&str) -> Option<&'v str>) -> Value {
    match json {
        Value::String(template) => Value::String(fill(template, value)),
        Value::Array(items) => items.iter().map(|item| fill_json(item, value)).collect(),
        Value::Object(entries) => {
            let filled = entries.iter().map(|(name, entry)| (name.clone(), fill_json(entry, value)));
            Value::Object(filled.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn write<'v>(template: &str, value: &dyn Fn(&str) -> Option<&'v str>, put: impl Fn(&str, &mut String)) -> String {
    parts(template).into_iter().fold(String::new(), |mut out, part| {
        match part {
            Part::Literal(text) => out.push_str(text),
            Part::Name(name) => put(value(name).unwrap_or_default(), &mut out),
        }
        out
    })
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn component(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}
