//! From JSON to events, as a mapping says.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    super::{Event, Ignored, Malformed, Progress, json::seconds},
    mapping::{FromMe, Mapping, Unit},
    source::{any, text, word, words},
};
use crate::domain::{Phone, Sender, subject::phone_of_jid};

pub(super) fn events(mapping: &Mapping, body: &Value) -> Result<Vec<Event>, Malformed> {
    match body.pointer(&mapping.select) {
        Some(Value::Array(items)) => items.iter().map(|item| event(mapping, item, body)).collect(),
        Some(item @ Value::Object(_)) => Ok(vec![event(mapping, item, body)?]),
        _ => match other(mapping, &Value::Null, body) {
            Some(why) => Ok(vec![Event::ignored(why)]),
            None => Err(Malformed(format!("no message at {:?}", mapping.select))),
        },
    }
}

/// Why an item is no message by its kind, which stands in the item or, for all of them, in the body.
fn other(mapping: &Mapping, item: &Value, body: &Value) -> Option<Ignored> {
    let rule = mapping.event.as_ref()?;
    let kind = [item, body].iter().find_map(|value| value.pointer(&rule.pointer).and_then(word));
    match kind {
        Some(kind) if rule.accept.contains(&kind) => None,
        Some(kind) if rule.status.contains(&kind) => Some(Ignored::Status),
        // Reports need no kind where they are told by what stands in them.
        None if reports(mapping, item) => Some(Ignored::Status),
        _ => Some(Ignored::Event),
    }
}

fn event(mapping: &Mapping, item: &Value, body: &Value) -> Result<Event, Malformed> {
    if let Some(why) = other(mapping, item, body) {
        return Ok(if why == Ignored::Status { status(mapping, item) } else { Event::ignored(why) });
    }
    let chat_id = words(&mapping.chat_id, item).next();
    let chat_ends = |ends: &[&str]| chat_id.iter().any(|chat| ends.iter().any(|end| chat.ends_with(end)));
    let from_me = from_me(&mapping.from_me, item)?;
    let group = any(&mapping.group, item) || chat_ends(&["@g.us"]);
    let broadcast = any(&mapping.broadcast, item) || chat_ends(&["@broadcast", "@newsletter"]);
    let text = text(&mapping.text, item);
    let ignored = if from_me {
        Some(Ignored::FromMe)
    } else if group {
        Some(Ignored::Group)
    } else if broadcast {
        Some(Ignored::Broadcast)
    } else if any(&mapping.edit, item) {
        Some(Ignored::Edit)
    } else if text.is_none() {
        Some(Ignored::NonText)
    } else {
        None
    };
    let message_id = words(&mapping.message_id, item).next();
    if ignored.is_none() && message_id.is_none() {
        return Err(Malformed("a message without an id".to_owned()));
    }
    let last = |id: &String| id.rsplit('_').next().filter(|last| !last.is_empty()).map(str::to_owned);
    Ok(Event {
        ignored,
        dedupe_key: message_id.as_ref().filter(|_| mapping.last_component).and_then(last),
        message_id,
        chat_id,
        sender: if from_me { Sender::default() } else { sender(mapping, item) },
        push_name: words(&mapping.push_name, item).next(),
        text: text.map(str::to_owned),
        timestamp: mapping.timestamp.as_ref().and_then(|(pointer, unit)| timestamp(item, pointer, *unit)),
        from_me,
        group,
        receipt: None,
    })
}

/// What became of a message of ours, where the mapping says how that is told.
fn status(mapping: &Mapping, item: &Value) -> Event {
    Event::status(words(&mapping.receipt_id, item).next().as_deref(), progress(mapping, item))
}

/// Whether anything stands in an item that only a report has.
fn reports(mapping: &Mapping, item: &Value) -> bool {
    words(&mapping.receipt, item).next().is_some() || any(&mapping.delivered, item)
}

fn progress(mapping: &Mapping, item: &Value) -> Option<Progress> {
    match words(&mapping.receipt, item).next() {
        Some(word) => Progress::of(&word),
        None => any(&mapping.delivered, item).then_some(Progress::Delivered),
    }
}

/// A message that should say and does not is refused: a wrong pointer must not turn our words into a person's.
fn from_me(rule: &FromMe, item: &Value) -> Result<bool, Malformed> {
    let FromMe::When { conditions, optional } = rule else { return Ok(false) };
    let told: Vec<bool> = conditions.iter().filter_map(|condition| condition.holds(item)).collect();
    if told.is_empty() && !optional {
        return Err(Malformed("nothing tells whether the message is from us".to_owned()));
    }
    Ok(told.contains(&true))
}

fn sender(mapping: &Mapping, item: &Value) -> Sender {
    let candidates: Vec<String> = words(&mapping.sender, item).collect();
    let lid = words(&mapping.lid, item).next();
    let lid = lid.or_else(|| candidates.iter().find(|id| id.ends_with("@lid")).cloned());
    // Some gateways repeat the digits of a LID where a phone used to stand.
    let hidden = lid.as_deref().map(|lid| lid.strip_suffix("@lid").unwrap_or(lid));
    let phone = candidates.iter().filter(|id| Some(id.as_str()) != hidden).find_map(|id| phone(id));
    Sender::new(phone, lid.as_deref(), words(&mapping.bsuid, item).next().as_deref())
}

/// Of a WhatsApp id, of bare digits, or of an E.164 number as people write it. Only the `+` makes it sure that
/// what stands between the digits is decoration.
pub(super) fn phone(id: &str) -> Option<Phone> {
    if id.contains('@') {
        return phone_of_jid(id);
    }
    match id.strip_prefix('+') {
        Some(written) => written.replace([' ', '\u{a0}', '-', '(', ')', '.'], "").parse().ok(),
        None => id.parse().ok(),
    }
}

fn timestamp(item: &Value, pointer: &str, unit: Unit) -> Option<i64> {
    match unit {
        Unit::Seconds => seconds(item, pointer),
        Unit::Milliseconds => seconds(item, pointer).map(|millis| millis.div_euclid(1000)),
        Unit::Rfc3339 => item.pointer(pointer)?.as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_second),
        Unit::None => None,
    }
}
