//! Parses JSON into events according to a mapping.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    super::{Event, Ignored, Malformed, Progress, addressee::Addressee, ids::Ids, json::seconds},
    mapping::{FromMe, Mapping, Unit},
    source::{any, text, word, words},
};
use crate::domain::{Phone, subject::phone_of_jid};

/// The events in `body`. `account` is the configured account at the gateway, or empty.
pub(super) fn events(mapping: &Mapping, body: &Value, account: &str) -> Result<Vec<Event>, Malformed> {
    let read = |item: &Value| {
        let event = event(mapping, item, body)?;
        let addressee = addressee(mapping, item, body, account);
        // A delivery status has the person's number where a message has the receiving number.
        Ok(if event.ignored.is_none() { event.to(&addressee) } else { event })
    };
    match body.pointer(&mapping.select) {
        Some(Value::Array(items)) => items.iter().map(read).collect(),
        Some(item @ Value::Object(_)) => Ok(vec![read(item)?]),
        _ => match other(mapping, &Value::Null, body) {
            Some(why) => Ok(vec![Event::ignored(why)]),
            None => Err(Malformed(format!("no message at {:?}", mapping.select))),
        },
    }
}

/// The recipient, which is in the item or, for all items, in the body.
fn addressee(mapping: &Mapping, item: &Value, body: &Value, account: &str) -> Addressee {
    let named = |sources| [item, body].into_iter().find_map(|value| words(sources, value).next());
    let id = named(&mapping.account).map(Value::from);
    Addressee::default().id(id.as_ref(), account).phone(named(&mapping.to).as_deref())
}

/// Why an item is not a message, by its event kind, which is in the item or, for all items, in the body.
fn other(mapping: &Mapping, item: &Value, body: &Value) -> Option<Ignored> {
    let rule = mapping.event.as_ref()?;
    let kind = [item, body].iter().find_map(|value| value.pointer(&rule.pointer).and_then(word));
    match kind {
        Some(kind) if rule.accept.contains(&kind) => None,
        Some(kind) if rule.status.contains(&kind) => Some(Ignored::Status),
        // A delivery status without an event kind is recognised by its fields.
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
    let event = Event {
        ignored,
        dedupe_key: message_id.as_ref().filter(|_| mapping.last_component).and_then(last),
        message_id,
        chat_id,
        push_name: words(&mapping.push_name, item).next(),
        text: text.map(str::to_owned),
        timestamp: mapping.timestamp.as_ref().and_then(|(pointer, unit)| timestamp(item, pointer, *unit)),
        from_me,
        group,
        ..Event::default()
    };
    Ok(event.sent_by(sender(mapping, item)))
}

/// A status event, with a receipt if the mapping has the fields for one.
fn status(mapping: &Mapping, item: &Value) -> Event {
    Event::status(words(&mapping.receipt_id, item).next().as_deref(), progress(mapping, item))
}

/// Whether an item has a field that only a delivery status has.
fn reports(mapping: &Mapping, item: &Value) -> bool {
    words(&mapping.receipt, item).next().is_some() || any(&mapping.delivered, item)
}

fn progress(mapping: &Mapping, item: &Value) -> Option<Progress> {
    match words(&mapping.receipt, item).next() {
        Some(word) => Progress::of(&word),
        None => any(&mapping.delivered, item).then_some(Progress::Delivered),
    }
}

/// Whether the message was sent from the own number. If no condition can be tested, the message is malformed unless the
/// rule is optional: with a wrong pointer, a sent message would count as a person's.
fn from_me(rule: &FromMe, item: &Value) -> Result<bool, Malformed> {
    let FromMe::When { conditions, optional } = rule else { return Ok(false) };
    let results: Vec<bool> = conditions.iter().filter_map(|condition| condition.holds(item)).collect();
    if results.is_empty() && !optional {
        return Err(Malformed("no field of from_me in the message".to_owned()));
    }
    Ok(results.contains(&true))
}

fn sender(mapping: &Mapping, item: &Value) -> Ids {
    let ids = words(&mapping.sender, item).fold(Ids::default(), |ids, id| match phone(&id) {
        Some(phone) => ids.phone(Some(phone)),
        None => ids.jid(&id),
    });
    let ids = words(&mapping.lid, item).fold(ids, |ids, id| ids.lid(Some(&id)));
    words(&mapping.bsuid, item).fold(ids, |ids, id| ids.bsuid(Some(&id)))
}

/// A phone number from a JID, from bare digits, or from an E.164 number with separators. Separators are dropped only
/// after a `+`: without it, the text may be another kind of id.
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
