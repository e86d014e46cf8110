//! Parses JSON into events according to a mapping.

use serde_json::Value;

use super::{
    super::{
        IgnoreReason, Malformed, ReceiptStatus, WebhookEvent,
        addressee::Addressee,
        json::{scalar, time_at},
        sender_ids::SenderIds,
    },
    mapping::{FromMeRule, Mapping, TimeUnit},
    source::{all_scalars, any_holds, scalars, text},
};
use crate::domain::{Phone, subject::phone_from_jid};

/// The events in `body`. `account` is the configured account at the gateway, or empty.
pub(super) fn parse_events(mapping: &Mapping, body: &Value, account: &str) -> Result<Vec<WebhookEvent>, Malformed> {
    let read = |item: &Value| {
        let mut events = parse_item(mapping, item, body).unwrap_or_else(|why| vec![WebhookEvent::malformed(&why)]);
        let addressee = addressee(mapping, item, body, account);
        // A delivery status has the person's number where a message has the receiving number.
        for event in events.iter_mut().filter(|event| event.ignored.is_none()) {
            *event = std::mem::take(event).addressed_to(&addressee);
        }
        events
    };
    match body.pointer(&mapping.select) {
        Some(Value::Array(items)) => Ok(items.iter().flat_map(read).collect()),
        Some(item @ Value::Object(_)) => Ok(read(item)),
        _ => match ignore_reason(mapping, &Value::Null, body) {
            Some(why) => Ok(vec![WebhookEvent::ignored(why)]),
            None => Err(Malformed(format!("no message at {:?}", mapping.select))),
        },
    }
}

/// The recipient, which is in the item or, for all items, in the body.
fn addressee(mapping: &Mapping, item: &Value, body: &Value, account: &str) -> Addressee {
    let named = |sources| [item, body].into_iter().find_map(|value| scalars(sources, value).next());
    let id = named(&mapping.account).map(Value::from);
    Addressee::default().check_id(id.as_ref(), account).with_phone(named(&mapping.to).as_deref())
}

/// Why an item is not a message, by its event kind, which is in the item or, for all items, in the body.
fn ignore_reason(mapping: &Mapping, item: &Value, body: &Value) -> Option<IgnoreReason> {
    let rule = mapping.event.as_ref()?;
    let kind = [item, body].iter().find_map(|value| value.pointer(&rule.pointer).and_then(scalar));
    match kind {
        Some(kind) if rule.accept.contains(&kind) => None,
        Some(kind) if rule.status.contains(&kind) => Some(IgnoreReason::Status),
        // A delivery status without an event kind is recognised by its fields.
        None if is_status(mapping, item) => Some(IgnoreReason::Status),
        _ => Some(IgnoreReason::Event),
    }
}

/// The events of an item: one, except for a status of several messages.
fn parse_item(mapping: &Mapping, item: &Value, body: &Value) -> Result<Vec<WebhookEvent>, Malformed> {
    match ignore_reason(mapping, item, body) {
        Some(IgnoreReason::Status) => Ok(statuses(mapping, item)),
        Some(why) => Ok(vec![WebhookEvent::ignored(why)]),
        None => Ok(vec![parse_message(mapping, item)?]),
    }
}

fn parse_message(mapping: &Mapping, item: &Value) -> Result<WebhookEvent, Malformed> {
    let chat_id = scalars(&mapping.chat_id, item).next();
    let chat_ends = |ends: &[&str]| chat_id.iter().any(|chat| ends.iter().any(|end| chat.ends_with(end)));
    let from_me = from_me(&mapping.from_me, item)?;
    let group = any_holds(&mapping.group, item) || chat_ends(&["@g.us"]);
    let broadcast = any_holds(&mapping.broadcast, item) || chat_ends(&["@broadcast", "@newsletter"]);
    let text = text(&mapping.text, item);
    let ignored = if from_me {
        Some(IgnoreReason::FromMe)
    } else if group {
        Some(IgnoreReason::Group)
    } else if broadcast {
        Some(IgnoreReason::Broadcast)
    } else if any_holds(&mapping.edit, item) {
        Some(IgnoreReason::Edit)
    } else if text.is_none() {
        Some(IgnoreReason::NonText)
    } else {
        None
    };
    let message_id = scalars(&mapping.message_id, item).next();
    if ignored.is_none() && message_id.is_none() {
        return Err(Malformed("a message has no id".to_owned()));
    }
    let last = |id: &String| id.rsplit('_').next().filter(|last| !last.is_empty()).map(str::to_owned);
    let event = WebhookEvent {
        ignored,
        dedupe_key: message_id.as_ref().filter(|_| mapping.last_component).and_then(last),
        message_id,
        chat_id,
        push_name: scalars(&mapping.push_name, item).next(),
        text: text.map(str::to_owned),
        timestamp: mapping.timestamp.as_ref().and_then(|(pointer, unit)| timestamp(item, pointer, *unit)),
        from_me,
        group,
        ..WebhookEvent::default()
    };
    Ok(event.with_sender(sender(mapping, item)))
}

/// The status events of an item, with receipts if the mapping has the fields for them.
fn statuses(mapping: &Mapping, item: &Value) -> Vec<WebhookEvent> {
    let ids = all_scalars(&mapping.receipt_id, item);
    WebhookEvent::statuses(ids.iter().map(String::as_str), receipt_status(mapping, item))
}

/// Whether an item has a field that only a delivery status has.
fn is_status(mapping: &Mapping, item: &Value) -> bool {
    scalars(&mapping.receipt, item).next().is_some() || any_holds(&mapping.delivered, item)
}

fn receipt_status(mapping: &Mapping, item: &Value) -> Option<ReceiptStatus> {
    let status = match scalars(&mapping.receipt, item).next() {
        Some(word) => ReceiptStatus::from_word(&word)?,
        None => any_holds(&mapping.delivered, item).then_some(ReceiptStatus::Delivered)?,
    };
    let mut failures = mapping.failures.iter().filter(|(_, conditions)| any_holds(conditions, item));
    let refusal = failures.next().filter(|_| matches!(status, ReceiptStatus::Failed(_)));
    Some(refusal.map_or(status, |(refusal, _)| ReceiptStatus::Failed(*refusal)))
}

/// Whether the message was sent from the own number. If no condition can be tested, the message is malformed unless the
/// rule is optional: with a wrong pointer, a sent message would count as a person's.
fn from_me(rule: &FromMeRule, item: &Value) -> Result<bool, Malformed> {
    let FromMeRule::When { conditions, optional } = rule else { return Ok(false) };
    let results: Vec<bool> = conditions.iter().filter_map(|condition| condition.holds(item)).collect();
    if results.is_empty() && !optional {
        return Err(Malformed("no field of from_me in the message".to_owned()));
    }
    Ok(results.contains(&true))
}

fn sender(mapping: &Mapping, item: &Value) -> SenderIds {
    let ids = scalars(&mapping.sender, item).fold(SenderIds::default(), |ids, id| match phone(&id) {
        Some(phone) => ids.phone(Some(phone)),
        None => ids.jid(&id),
    });
    let ids = scalars(&mapping.lid, item).fold(ids, |ids, id| ids.lid(Some(&id)));
    scalars(&mapping.bsuid, item).fold(ids, |ids, id| ids.bsuid(Some(&id)))
}

/// A phone number from a JID, from bare digits, or from an E.164 number with separators. Separators are dropped only
/// after a `+`: without it, the text may be another kind of id.
pub(super) fn phone(id: &str) -> Option<Phone> {
    if id.contains('@') {
        return phone_from_jid(id);
    }
    match id.strip_prefix('+') {
        Some(written) => written.replace([' ', '\u{a0}', '-', '(', ')', '.'], "").parse().ok(),
        None => id.parse().ok(),
    }
}

fn timestamp(item: &Value, pointer: &str, unit: TimeUnit) -> Option<i64> {
    match unit {
        // The value shows its unit.
        TimeUnit::Seconds | TimeUnit::Milliseconds | TimeUnit::Rfc3339 => time_at(item, pointer),
        TimeUnit::None => None,
    }
}
