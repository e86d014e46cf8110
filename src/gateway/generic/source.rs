//! JSON pointers with conditions, and the values at them.

use serde_json::Value;

use super::super::json::scalar;

/// A JSON pointer, used only if its guard holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ValueSource {
    pub(super) pointer: String,
    pub(super) guard: Option<Condition>,
}

/// A test of the value at a pointer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Condition {
    pub(super) pointer: String,
    pub(super) test: ConditionTest,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ConditionTest {
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
            ConditionTest::Set => is_set(value),
            ConditionTest::Equals(words) => scalar(value).map(|found| words.contains(&found)),
            ConditionTest::Suffix(ends) => scalar(value).map(|found| ends.iter().any(|end| found.ends_with(end))),
        }
    }
}

/// Whether at least one condition holds.
pub(super) fn any_holds(conditions: &[Condition], item: &Value) -> bool {
    conditions.iter().any(|condition| condition.holds(item) == Some(true))
}

/// The existing values, in the order of the sources.
fn values<'a>(sources: &'a [ValueSource], item: &'a Value) -> impl Iterator<Item = &'a Value> {
    let open = |source: &&ValueSource| source.guard.as_ref().is_none_or(|guard| guard.holds(item) == Some(true));
    sources.iter().filter(open).filter_map(|source| item.pointer(&source.pointer))
}

/// The texts and numbers, as text, without empty ones.
pub(super) fn scalars<'a>(sources: &'a [ValueSource], item: &'a Value) -> impl Iterator<Item = String> {
    values(sources, item).filter(|value| !value.is_boolean()).filter_map(scalar).filter(|word| !word.is_empty())
}

/// The texts and numbers of the first source that has any; of a list, every one.
pub(super) fn all_scalars(sources: &[ValueSource], item: &Value) -> Vec<String> {
    let found = values(sources, item).map(|value| match value {
        Value::Array(items) => items.iter().filter_map(scalar).filter(|word| !word.is_empty()).collect(),
        Value::Bool(_) => Vec::new(),
        value => scalar(value).filter(|word| !word.is_empty()).into_iter().collect::<Vec<_>>(),
    });
    found.into_iter().find(|words| !words.is_empty()).unwrap_or_default()
}

/// The first non-empty text, verbatim. Numbers do not count.
pub(super) fn text<'a>(sources: &'a [ValueSource], item: &'a Value) -> Option<&'a str> {
    values(sources, item).filter_map(Value::as_str).find(|text| !text.is_empty())
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
