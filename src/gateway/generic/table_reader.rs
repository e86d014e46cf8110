//! Reads the tables of a generic gateway: pointers, conditions and lists. Every fault is added under its key.

use http::StatusCode;
use serde_json::Value;

use super::{
    super::json::scalar,
    source::{Condition, ConditionTest, ValueSource},
};
use crate::reader::Reader;

const POINTER: &str = "expected a JSON pointer such as \"/message/id\": it starts with / and writes ~ as ~0";

/// A pointer; `None` if absent or invalid.
pub(super) fn pointer(f: &mut Reader<'_>, name: &str) -> Option<String> {
    f.read(name, checked)
}

fn required_pointer(f: &mut Reader<'_>, name: &str) -> Option<String> {
    f.required(name, "a JSON pointer such as \"/message/id\"", |f| pointer(f, name))
}

/// Pointers, or tables with `pointer`, `when_pointer` and a test.
pub(super) fn sources(f: &mut Reader<'_>, name: &str) -> Vec<ValueSource> {
    f.values(name).into_iter().filter_map(|(key, value)| source(f, key, value)).collect()
}

/// Like [`sources`], with at least one.
pub(super) fn required_sources(f: &mut Reader<'_>, name: &str, hint: &str) -> Vec<ValueSource> {
    if f.values(name).is_empty() {
        f.fault(name, format!("is missing: {hint}"));
    }
    sources(f, name)
}

/// Tables with `pointer` and a test.
pub(super) fn conditions(f: &mut Reader<'_>, name: &str) -> Vec<Condition> {
    let values = f.values(name).into_iter();
    values.filter_map(|(key, value)| subtable(f, key, value, "{ pointer = \"…\", equals = … }", condition)?).collect()
}

/// This table as a condition.
pub(super) fn condition(f: &mut Reader<'_>) -> Option<Condition> {
    let (pointer, test) = (required_pointer(f, "pointer"), test(f));
    Some(Condition { pointer: pointer?, test })
}

/// `equals` or `when_suffix`; with neither, [`ConditionTest::Set`].
fn test(f: &mut Reader<'_>) -> ConditionTest {
    let (equals, ends) = (scalars(f, "equals"), scalars(f, "when_suffix"));
    if !equals.is_empty() && !ends.is_empty() {
        f.fault("equals", "is given together with when_suffix; remove one of the two");
    }
    match (equals.is_empty(), ends.is_empty()) {
        (false, _) => ConditionTest::Equals(equals),
        (true, false) => ConditionTest::Suffix(ends),
        (true, true) => ConditionTest::Set,
    }
}

/// Texts, numbers and flags, as text.
pub(super) fn scalars(f: &mut Reader<'_>, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in f.values(name) {
        match scalar(value) {
            Some(word) => found.push(word),
            None => f.fault_at(key, "expected a text, a number, true or false, or a list of them"),
        }
    }
    found
}

/// A table of texts.
pub(super) fn table_of_texts(f: &mut Reader<'_>, name: &str) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    for (key, value) in f.values(name) {
        let Value::Object(table) = value else {
            f.fault_at(key, "expected a table of texts");
            continue;
        };
        for (name, value) in table {
            match scalar(value) {
                Some(text) => entries.push((name.clone(), text)),
                None => f.fault_at(format!("{key}.{name}"), "expected a text in quotes"),
            }
        }
    }
    entries
}

/// The table under `key`, or a fault that shows the expected `shape`.
pub(super) fn subtable<T>(
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
    Some(f.read_table(key, table, read))
}

/// An HTTP status.
pub(super) fn status(f: &mut Reader<'_>, key: String, value: &Value) -> Option<u16> {
    let status = scalar(value).and_then(|text| text.parse::<StatusCode>().ok()).map(|status| status.as_u16());
    if status.is_none() {
        f.fault_at(key, "expected an HTTP status from 100 to 999");
    }
    status
}

fn source(f: &mut Reader<'_>, key: String, value: &Value) -> Option<ValueSource> {
    const SHAPE: &str = "{ pointer = \"…\", when_pointer = \"…\", equals = … }, or a pointer in quotes";
    if let Value::String(text) = value {
        let pointer = checked(text).map_err(|problem| f.fault_at(key, problem)).ok()?;
        return Some(ValueSource { pointer, guard: None });
    }
    subtable(f, key, value, SHAPE, |f| {
        let pointer = required_pointer(f, "pointer");
        let guard = self::pointer(f, "when_pointer");
        let test = test(f);
        if test != ConditionTest::Set && !f.has("when_pointer") {
            f.fault("when_pointer", "is missing: the pointer of the value that equals or when_suffix tests");
        }
        Some(ValueSource { pointer: pointer?, guard: guard.map(|pointer| Condition { pointer, test }) })
    })?
}

fn checked(text: &str) -> Result<String, &'static str> {
    let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    let valid = text.is_empty() || (text.starts_with('/') && escaped);
    if valid { Ok(text.to_owned()) } else { Err(POINTER) }
}
