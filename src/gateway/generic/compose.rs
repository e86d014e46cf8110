//! Composes a webhook body that a mapping parses as a given sample: the reverse of [`super::read`], by trial.
//!
//! A mapping does not define what its gateway really writes, and its guards may exclude each other. So several
//! candidates are built, and the first that is parsed as the sample is used.

use serde_json::{Map, Value, json};

use super::{
    mapping::{FromMe, Mapping, Unit},
    read,
    source::{Condition, Source, Test},
};
use crate::gateway::{Ignored, Sample, Who};

const GROUP: &str = "120363000000000017@g.us";

/// `None`: no candidate is parsed as this kind of message; the mapping cannot distinguish it, or has no such kind.
pub(super) fn body(mapping: &Mapping, sample: &Sample) -> Option<Value> {
    let person = match sample.who {
        Who::Hidden => vec![format!("{}@lid", sample.lid), format!("GB.{}", sample.lid)],
        _ => vec![sample.phone.clone(), format!("{}@c.us", sample.phone), format!("+{}", sample.phone)],
    };
    let choices = |sources: &[Source]| 0..sources.len().clamp(1, 4);
    for person in &person {
        for chat in choices(&mapping.chat_id) {
            for sender in choices(&mapping.sender) {
                for text in choices(&mapping.text) {
                    let body = draft(mapping, sample, person, (chat, sender, text));
                    if reads_as(mapping, sample, &body) {
                        return Some(body);
                    }
                }
            }
        }
    }
    None
}

fn reads_as(mapping: &Mapping, sample: &Sample, body: &Value) -> bool {
    let Ok(events) = read::events(mapping, body, "") else { return false };
    let [event] = events.as_slice() else { return false };
    let says = event.text.as_deref() == Some(sample.text.as_str()) && event.chat_id.is_some();
    let phone = event.sender.phone.as_ref().map(crate::domain::Phone::digits);
    match sample.who {
        Who::Person => says && event.ignored.is_none() && phone == Some(sample.phone.as_str()),
        Who::Hidden => says && event.ignored.is_none() && phone.is_none() && event.sender.subject().is_some(),
        Who::Group => event.ignored == Some(Ignored::Group),
        Who::Own => event.ignored == Some(Ignored::FromMe),
    }
}

fn draft(mapping: &Mapping, sample: &Sample, person: &str, choice: (usize, usize, usize)) -> Value {
    let mut item = json!({});
    let chat = if sample.who == Who::Group && mapping.group.iter().all(is_suffix) { GROUP } else { person };
    if let FromMe::When { conditions, .. } = &mapping.from_me {
        let own = sample.who == Who::Own;
        for condition in conditions {
            make(&mut item, condition, own);
        }
    }
    for condition in mapping.group.iter().filter(|condition| !is_suffix(condition)) {
        make(&mut item, condition, sample.who == Who::Group);
    }
    if let Some(event) = &mapping.event {
        put(&mut item, &event.pointer, event.accept.first().map(String::as_str).unwrap_or_default().into());
    }
    if let Some((pointer, unit)) = &mapping.timestamp {
        let time = match unit {
            Unit::Seconds => json!(sample.at),
            Unit::Milliseconds => json!(sample.at * 1000),
            Unit::Rfc3339 => json!(jiff::Timestamp::from_second(sample.at).unwrap_or_default().to_string()),
            Unit::None => Value::Null,
        };
        put(&mut item, pointer, time);
    }
    let id = if mapping.last_component { format!("false_{chat}_{}", sample.id) } else { sample.id.clone() };
    if let Some(source) = mapping.message_id.first() {
        fill(&mut item, source, id.into());
    }
    if sample.who == Who::Hidden && person.starts_with("GB.") {
        mapping.bsuid.iter().take(1).for_each(|source| fill(&mut item, source, person.into()));
    } else if sample.who == Who::Hidden {
        mapping.lid.iter().take(1).for_each(|source| fill(&mut item, source, person.into()));
    }
    for (sources, choice, value) in [
        (&mapping.sender, choice.1, person),
        (&mapping.chat_id, choice.0, chat),
        (&mapping.text, choice.2, &sample.text),
    ] {
        if let Some(source) = sources.get(choice) {
            fill(&mut item, source, value.into());
        }
    }
    if mapping.select.is_empty() {
        return item;
    }
    let mut body = json!({});
    put(&mut body, &mapping.select, json!([item]));
    body
}

fn is_suffix(condition: &Condition) -> bool {
    matches!(condition.test, Test::Suffix(_))
}

/// Writes a value at a source's pointer and makes its guard hold.
fn fill(item: &mut Value, source: &Source, value: Value) {
    if let Some(guard) = source.guard.as_ref().filter(|guard| guard.holds(item) != Some(true)) {
        make(item, guard, true);
    }
    put(item, &source.pointer, value);
}

/// Writes a value for which a condition holds, or does not.
fn make(item: &mut Value, condition: &Condition, holds: bool) {
    let value = match (&condition.test, holds) {
        (Test::Set, holds) => json!(holds),
        (Test::Equals(words), true) => scalar(words.first().map(String::as_str).unwrap_or_default()),
        (Test::Equals(words), false) if words.iter().any(|word| word == "true") => json!(false),
        (Test::Equals(words), false) if words.iter().any(|word| word == "false") => json!(true),
        (Test::Suffix(ends), true) => json!(format!("1{}", ends.first().map(String::as_str).unwrap_or_default())),
        (Test::Equals(_) | Test::Suffix(_), false) => json!("other"),
    };
    put(item, &condition.pointer, value);
}

/// A text from the configuration as a gateway would write it: flags and numbers without quotes.
fn scalar(word: &str) -> Value {
    serde_json::from_str(word)
        .ok()
        .filter(|value: &Value| !value.is_object() && !value.is_array())
        .unwrap_or(word.into())
}

/// Writes a value at a pointer and creates the objects around it. Of lists, only index 0 is created.
fn put(at: &mut Value, pointer: &str, value: Value) {
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
        put(&mut at[0], &rest, value);
        return;
    }
    if !at.is_object() {
        *at = json!({});
    }
    put(&mut at[name], &rest, value);
}
