//! Pointers, conditions and lists of a generic gateway's tables, every fault under its key.

use http::StatusCode;
use serde_json::Value;

use super::source::{Condition, Source, Test, word};
use crate::reader::Reader;

const POINTER: &str = "expected a JSON pointer such as \"/message/id\": it starts with / and writes ~ as ~0";

/// A pointer; `None` when it is absent or faulty.
pub(super) fn pointer(f: &mut Reader<'_>, name: &str) -> Option<String> {
    f.read(name, checked)
}

fn required_pointer(f: &mut Reader<'_>, name: &str) -> Option<String> {
    f.required(name, "a JSON pointer such as \"/message/id\"", |f| pointer(f, name))
}

/// Pointers, or tables of `pointer`, `when_pointer` and what must stand there.
pub(super) fn sources(f: &mut Reader<'_>, name: &str) -> Vec<Source> {
    f.values(name).into_iter().filter_map(|(key, value)| source(f, key, value)).collect()
}

pub(super) fn required_sources(f: &mut Reader<'_>, name: &str, hint: &str) -> Vec<Source> {
    if f.values(name).is_empty() {
        f.fault(name, format!("is missing: {hint}"));
    }
    sources(f, name)
}

/// Tables of `pointer` and what must stand there.
pub(super) fn conditions(f: &mut Reader<'_>, name: &str) -> Vec<Condition> {
    let values = f.values(name).into_iter();
    values.filter_map(|(key, value)| within(f, key, value, "{ pointer = \"…\", equals = … }", condition)?).collect()
}

/// This table as a condition.
pub(super) fn condition(f: &mut Reader<'_>) -> Option<Condition> {
    let (pointer, test) = (required_pointer(f, "pointer"), test(f));
    Some(Condition { pointer: pointer?, test })
}

/// `equals` or `when_suffix`; with neither, anything that is set.
fn test(f: &mut Reader<'_>) -> Test {
    let (equals, ends) = (words(f, "equals"), words(f, "when_suffix"));
    if !equals.is_empty() && !ends.is_empty() {
        f.fault("equals", "is given together with when_suffix; remove one of the two");
    }
    match (equals.is_empty(), ends.is_empty()) {
        (false, _) => Test::Equals(equals),
        (true, false) => Test::Suffix(ends),
        (true, true) => Test::Set,
    }
}

/// Texts, numbers and flags, as text.
pub(super) fn words(f: &mut Reader<'_>, name: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (key, value) in f.values(name) {
        match word(value) {
            Some(word) => words.push(word),
            None => f.fault_at(key, "expected a text, a number, true or false, or a list of them"),
        }
    }
    words
}

/// A table of texts.
pub(super) fn table(f: &mut Reader<'_>, name: &str) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    for (key, value) in f.values(name) {
        let Value::Object(table) = value else {
            f.fault_at(key, "expected a table of texts");
            continue;
        };
        for (name, value) in table {
            match word(value) {
                Some(text) => entries.push((name.clone(), text)),
                None => f.fault_at(format!("{key}.{name}"), "expected a text in quotes"),
            }
        }
    }
    entries
}

/// The table under `key`, or a fault that shows what it should look like.
pub(super) fn within<T>(
    f: &mut Reader<'_>,
    key: String,
    value: &Value,
    shape: &str,
    read: impl FnOnce(&mut Reader<'_>) -> T,
) -> Option<T> {
    let Value::Object(table) = value else {
        f.fault_at(key, format!("expected a table: {shape}"));
        return None;
    };
    Some(f.within(key, table, read))
}

/// A status of HTTP.
pub(super) fn status(f: &mut Reader<'_>, key: String, value: &Value) -> Option<u16> {
    let status = word(value).and_then(|text| text.parse::<StatusCode>().ok()).map(|status| status.as_u16());
    if status.is_none() {
        f.fault_at(key, "expected an HTTP status from 100 to 999");
    }
    status
}

fn source(f: &mut Reader<'_>, key: String, value: &Value) -> Option<Source> {
    const SHAPE: &str = "{ pointer = \"…\", when_pointer = \"…\", equals = … }, or a pointer in quotes";
    if let Value::String(text) = value {
        let pointer = checked(text).map_err(|problem| f.fault_at(key, problem)).ok()?;
        return Some(Source { pointer, guard: None });
    }
    within(f, key, value, SHAPE, |f| {
        let pointer = required_pointer(f, "pointer");
        let guard = self::pointer(f, "when_pointer");
        let test = test(f);
        if test != Test::Set && !f.has("when_pointer") {
            f.fault("when_pointer", "is missing: where the value stands that this depends on");
        }
        Some(Source { pointer: pointer?, guard: guard.map(|pointer| Condition { pointer, test }) })
    })?
}

fn checked(text: &str) -> Result<String, &'static str> {
    let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    let valid = text.is_empty() || (text.starts_with('/') && escaped);
    if valid { Ok(text.to_owned()) } else { Err(POINTER) }
}
