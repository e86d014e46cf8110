//! Templates of a `send` table: texts with placeholders `{name}`, and the values of the placeholders.

use std::fmt::Write as _;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use super::super::config_reader::ConfigReader;

/// Placeholders with a value for each message.
pub(super) const MESSAGE_PLACEHOLDERS: [&str; 3] = ["chat_id", "digits", "text"];
/// Placeholders with a value from the gateway's table.
pub(super) const GATEWAY_PLACEHOLDERS: [&str; 5] = ["url", "account", "from", "api_key", "api_secret"];

/// The values of placeholders that the gateway's table defines.
pub(super) struct GatewayValues {
    /// Without its trailing slash.
    url: Option<String>,
    /// The account, instance or app at the gateway.
    account: Option<String>,
    /// The sending number.
    from: Option<String>,
    api_key: Option<SecretString>,
    api_secret: Option<SecretString>,
}

impl GatewayValues {
    pub(super) fn read(reader: &mut ConfigReader<'_>) -> Self {
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
        GATEWAY_PLACEHOLDERS.contains(&name) && self.get(name).is_none()
    }
}

enum TemplatePart<'a> {
    Literal(&'a str),
    Placeholder(&'a str),
}

fn parts(template: &str) -> Vec<TemplatePart<'_>> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        if end > 0 && after[end..].starts_with('}') {
            parts.extend([TemplatePart::Literal(before), TemplatePart::Placeholder(&after[..end])]);
            rest = &after[end + 1..];
        } else {
            parts.push(TemplatePart::Literal(&rest[..=at]));
            rest = after;
        }
    }
    parts.push(TemplatePart::Literal(rest));
    parts
}

/// The placeholders in a template, with repetitions.
pub(super) fn placeholders(template: &str) -> impl Iterator<Item = &str> {
    parts(template).into_iter().filter_map(|part| match part {
        TemplatePart::Placeholder(name) => Some(name),
        TemplatePart::Literal(_) => None,
    })
}

/// Replaces placeholders in one pass, so placeholders in values stay as they are. A missing value is empty.
pub(super) fn fill<'v>(template: &str, value: &dyn Fn(&str) -> Option<&'v str>) -> String {
    render(template, value, |text, out| out.push_str(text))
}

/// Like [`fill`], with values percent-encoded; only a leading `{url}` is inserted verbatim.
pub(super) fn fill_url<'v>(template: &str, value: &dyn Fn(&str) -> Option<&'v str>) -> String {
    let base = value("url").unwrap_or_default();
    match template.strip_prefix("{url}") {
        Some(rest) => format!("{base}{}", render(rest, value, percent_encode)),
        None => render(template, value, percent_encode),
    }
}

/// Fills every text in `json`. Values cannot break out of their text: they are escaped when the JSON is written.
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

fn render<'v>(template: &str, value: &dyn Fn(&str) -> Option<&'v str>, put: impl Fn(&str, &mut String)) -> String {
    parts(template).into_iter().fold(String::new(), |mut out, part| {
        match part {
            TemplatePart::Literal(text) => out.push_str(text),
            TemplatePart::Placeholder(name) => put(value(name).unwrap_or_default(), &mut out),
        }
        out
    })
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}
