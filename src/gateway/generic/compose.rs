//! Composes a webhook body that a mapping parses as a given sample: the reverse of [`super::read`], by trial.
//!
//! A mapping does not define what its gateway really writes, and its guards may exclude each other. So several
//! candidates are built, and the first that is parsed as the sample is used.

use serde_json::{Map, Value, json};

use super::{
    mapping::{FromMeRule, Mapping, TimeUnit},
    read,
    source::{Condition, ConditionTest, ValueSource},
};
use crate::gateway::{IgnoreReason, SampleMessage, SampleSender};

const GROUP: &str = "120363000000000017@g.us";

/// `None`: no candidate is parsed as this kind of message; the mapping cannot distinguish it, or has no such kind.
pub(super) fn compose_body(mapping: &Mapping, sample: &SampleMessage) -> Option<Value> {
    let person = match sample.sender {
        SampleSender::HiddenNumber => vec![format!("{}@lid", sample.lid), format!("GB.{}", sample.lid)],
        _ => vec![sample.phone.clone(), format!("{}@c.us", sample.phone), format!("+{}", sample.phone)],
    };
    let choices = |sources: &[ValueSource]| 0..sources.len().clamp(1, 4);
    for person in &person {
        for chat in choices(&mapping.chat_id) {
            for sender in choices(&mapping.sender) {
                for text in choices(&mapping.text) {
                    let body = candidate(mapping, sample, person, (chat, sender, text));
                    if is_parsed_as(mapping, sample, &body) {
                        return Some(body);
                    }
                }
            }
        }
    }
    None
}

fn is_parsed_as(mapping: &Mapping, sample: &SampleMessage, body: &Value) -> bool {
    let Ok(events) = read::parse_events(mapping, body, "") else { return false };
    let [event] = events.as_slice() else { return false };
    let says = event.text.as_deref() == Some(sample.text.as_str()) && event.chat_id.is_some();
    let phone = event.sender.phone.as_ref().map(crate::domain::Phone::digits);
    match sample.sender {
        SampleSender::Person => says && event.ignored.is_none() && phone == Some(sample.phone.as_str()),
        SampleSender::HiddenNumber => {
            says && event.ignored.is_none() && phone.is_none() && event.sender.subject().is_some()
        }
        SampleSender::Group => event.ignored == Some(IgnoreReason::Group),
        SampleSender::OwnNumber => event.ignored == Some(IgnoreReason::FromMe),
    }
}

fn candidate(mapping: &Mapping, sample: &SampleMessage, person: &str, choice: (usize, usize, usize)) -> Value {
    let mut item = json!({});
    let chat = if sample.sender == SampleSender::Group && mapping.group.iter().all(is_suffix) { GROUP } else { person };
    if let FromMeRule::When { conditions, .. } = &mapping.from_me {
        let own = sample.sender == SampleSender::OwnNumber;
        for condition in conditions {
            set_condition(&mut item, condition, own);
        }
    }
    for condition in mapping.group.iter().filter(|condition| !is_suffix(condition)) {
        set_condition(&mut item, condition, sample.sender == SampleSender::Group);
    }
    if let Some(event) = &mapping.event {
        set_at(&mut item, &event.pointer, event.accept.first().map(String::as_str).unwrap_or_default().into());
    }
    if let Some((pointer, unit)) = &mapping.timestamp {
        let time = match unit {
            TimeUnit::Seconds => json!(sample.timestamp),
            TimeUnit::Milliseconds => json!(sample.timestamp * 1000),
            TimeUnit::Rfc3339 => json!(jiff::Timestamp::from_second(sample.timestamp).unwrap_or_default().to_string()),
            TimeUnit::None => Value::Null,
        };
        set_at(&mut item, pointer, time);
    }
    let id = if mapping.last_component { format!("false_{chat}_{}", sample.id) } else { sample.id.clone() };
    if let Some(source) = mapping.message_id.first() {
        set_source(&mut item, source, id.into());
    }
    if sample.sender == SampleSender::HiddenNumber && person.starts_with("GB.") {
        mapping.bsuid.iter().take(1).for_each(|source| set_source(&mut item, source, person.into()));
    } else if sample.sender == SampleSender::HiddenNumber {
        mapping.lid.iter().take(1).for_each(|source| set_source(&mut item, source, person.into()));
    }
    for (sources, choice, value) in [
        (&mapping.sender, choice.1, person),
        (&mapping.chat_id, choice.0, chat),
        (&mapping.text, choice.2, &sample.text),
    ] {
        if let Some(source) = sources.get(choice) {
            set_source(&mut item, source, value.into());
        }
    }
    if mapping.select.is_empty() {
        return item;
    }
    let mut body = json!({});
    set_at(&mut body, &mapping.select, json!([item]));
    body
}

fn is_suffix(condition: &Condition) -> bool {
    matches!(condition.test, ConditionTest::Suffix(_))
}

/// Writes a value at a source's pointer and makes its guard hold.
fn set_source(item: &mut Value, source: &ValueSource, value: Value) {
    if let Some(guard) = source.guard.as_ref().filter(|guard| guard.holds(item) != Some(true)) {
        set_condition(item, guard, true);
    }
    set_at(item, &source.pointer, value);
}

/// Writes a value for which a condition holds, or does not.
fn set_condition(item: &mut Value, condition: &Condition, holds: bool) {
    let value = match (&condition.test, holds) {
        (ConditionTest::Set, holds) => json!(holds),
        (ConditionTest::Equals(words), true) => parse_scalar(words.first().map(String::as_str).unwrap_or_default()),
        (ConditionTest::Equals(words), false) if words.iter().any(|word| word == "true") => json!(false),
        (ConditionTest::Equals(words), false) if words.iter().any(|word| word == "false") => json!(true),
        (ConditionTest::Suffix(ends), true) => {
            json!(format!("1{}", ends.first().map(String::as_str).unwrap_or_default()))
        }
        (ConditionTest::Equals(_) | ConditionTest::Suffix(_), false) => json!("other"),
    };
    set_at(item, &condition.pointer, value);
}

/// A text from the configuration as a gateway would write it: flags and numbers without quotes.
fn parse_scalar(word: &str) -> Value {
    serde_json::from_str(word)
        .ok()
        .filter(|value: &Value| !value.is_object() && !value.is_array())
        .unwrap_or(word.into())
}

/// Writes a value at a pointer and creates the objects around it. Of lists, only index 0 is created.
fn set_at(at: &mut Value, pointer: &str, value: Value) {
    let Some(rest) = pointer.strip_prefix('/') else {
        *at = value;
        return;
    };
    let (name, rest) = rest.split_once('/').map_or((rest, String::new()), |(name, rest)| (name, format!("/{rest}")));
    let name = name.replace("~1", "/").replace("~0", "~");
    if name == "0" && at.as_object().is_none_or(Map::is_empty) {
        if !at.is_array() {
            *at = json!([null]);
        }
        set_at(&mut at[0], &rest, value);
        return;
    }
    if !at.is_object() {
        *at = json!({});
    }
    set_at(&mut at[name], &rest, value);
}
