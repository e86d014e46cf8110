//! JSON pointers with conditions, and the values at them.

use serde_json::Value;

/// A JSON pointer, used only if its guard holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Source {
    pub(super) pointer: String,
    pub(super) guard: Option<Condition>,
}

/// A test of the value at a pointer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Condition {
    pub(super) pointer: String,
    pub(super) test: Test,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Test {
    /// The value is neither false, nor zero, nor empty.
    Set,
    /// The value equals one of these.
    Equals(Vec<String>),
    /// The value ends with one of these.
    Suffix(Vec<String>),
}

impl Condition {
    /// `None`: there is no value at the pointer, or none that can be tested.
    pub(super) fn holds(&self, item: &Value) -> Option<bool> {
        let value = item.pointer(&self.pointer)?;
        match &self.test {
            Test::Set => is_set(value),
            Test::Equals(words) => word(value).map(|found| words.contains(&found)),
            Test::Suffix(ends) => word(value).map(|found| ends.iter().any(|end| found.ends_with(end))),
        }
    }
}

/// Whether at least one condition holds.
pub(super) fn any(conditions: &[Condition], item: &Value) -> bool {
    conditions.iter().any(|condition| condition.holds(item) == Some(true))
}

/// The existing values, in the order of the sources.
fn found<'a>(sources: &'a [Source], item: &'a Value) -> impl Iterator<Item = &'a Value> {
    let open = |source: &&Source| source.guard.as_ref().is_none_or(|guard| guard.holds(item) == Some(true));
    sources.iter().filter(open).filter_map(|source| item.pointer(&source.pointer))
}

/// The texts and numbers, as text, without empty ones.
pub(super) fn words<'a>(sources: &'a [Source], item: &'a Value) -> impl Iterator<Item = String> {
    found(sources, item).filter(|value| !value.is_boolean()).filter_map(word).filter(|word| !word.is_empty())
}

/// The first non-empty text, verbatim. Numbers do not count.
pub(super) fn text<'a>(sources: &'a [Source], item: &'a Value) -> Option<&'a str> {
    found(sources, item).filter_map(Value::as_str).find(|text| !text.is_empty())
}

/// A text, number or flag, as text.
pub(super) fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn is_set(value: &Value) -> Option<bool> {
    match value {
        Value::Null => None,
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => Some(number.as_f64() != Some(0.0)),
        Value::String(text) => Some(!matches!(text.to_ascii_lowercase().as_str(), "" | "0" | "false")),
        Value::Array(items) => Some(!items.is_empty()),
        Value::Object(entries) => Some(!entries.is_empty()),
    }
}
