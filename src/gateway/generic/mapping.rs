//! The validated `mapping` table: which pointers lead to which field of an event.

use serde_json::Value;

use super::{
    source::{Condition, ValueSource},
    table_reader::{condition, conditions, pointer, required_sources, scalars, sources, subtable},
};
use crate::{gateway::Refusal, reader::Reader};

pub(super) struct Mapping {
    /// Pointer to the message or the list of messages.
    pub(super) select: String,
    pub(super) event: Option<EventFilter>,
    pub(super) message_id: Vec<ValueSource>,
    /// Whether only the part of the id after the last `_` is equal in repeated deliveries.
    pub(super) last_component: bool,
    pub(super) chat_id: Vec<ValueSource>,
    pub(super) sender: Vec<ValueSource>,
    /// The receiving number.
    pub(super) to: Vec<ValueSource>,
    /// The account or instance at the gateway, compared with the key `account`.
    pub(super) account: Vec<ValueSource>,
    pub(super) lid: Vec<ValueSource>,
    pub(super) bsuid: Vec<ValueSource>,
    pub(super) text: Vec<ValueSource>,
    pub(super) timestamp: Option<(String, TimeUnit)>,
    pub(super) from_me: FromMeRule,
    pub(super) group: Vec<Condition>,
    pub(super) edit: Vec<Condition>,
    pub(super) broadcast: Vec<Condition>,
    pub(super) push_name: Vec<ValueSource>,
    /// The id of the message that a status is about.
    pub(super) receipt_id: Vec<ValueSource>,
    /// The status word.
    pub(super) receipt: Vec<ValueSource>,
    /// Conditions that mean "delivered", for statuses without a word.
    pub(super) delivered: Vec<Condition>,
    /// Why a message was not delivered, if one of the conditions holds.
    pub(super) failures: Vec<(Refusal, Vec<Condition>)>,
}

const FAILURES: &[(&str, Refusal)] = &[
    ("receipt_not_on_whatsapp", Refusal::NotOnWhatsApp),
    ("receipt_window_closed", Refusal::WindowClosed),
    ("receipt_quota", Refusal::Quota),
];

/// Which event kinds are messages, and which are delivery statuses.
pub(super) struct EventFilter {
    pub(super) pointer: String,
    pub(super) accept: Vec<String>,
    pub(super) status: Vec<String>,
}

/// The format of a timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TimeUnit {
    Seconds,
    Milliseconds,
    Rfc3339,
    /// The gateway sends no usable time.
    None,
}

/// How messages sent from the own number are recognised.
pub(super) enum FromMeRule {
    /// The operator states that they are never posted.
    Never,
    /// With `optional`, a message for which no condition can be tested is a person's.
    When { conditions: Vec<Condition>, optional: bool },
}

impl Mapping {
    pub(super) fn read(table: &mut Reader<'_>) -> Self {
        const DEDUPE: &[(&str, bool)] = &[("whole", false), ("last_component", true)];
        Self {
            select: pointer(table, "select").unwrap_or_default(),
            event: events(table),
            message_id: required_sources(table, "message_id", "the pointer to a message's id"),
            last_component: table.choice("dedupe", DEDUPE).unwrap_or_default(),
            chat_id: required_sources(table, "chat_id", "the pointer to the chat that replies are sent to"),
            sender: required_sources(
                table,
                "sender",
                "the pointer to the sender's phone; if several are present, they must agree",
            ),
            to: sources(table, "to"),
            account: sources(table, "account"),
            lid: sources(table, "lid"),
            bsuid: sources(table, "bsuid"),
            text: required_sources(table, "text", "the pointer to a message's text"),
            timestamp: timestamp(table),
            from_me: from_me(table),
            group: conditions(table, "group"),
            edit: conditions(table, "edit"),
            broadcast: conditions(table, "broadcast"),
            push_name: sources(table, "push_name"),
            receipt_id: sources(table, "receipt_id"),
            receipt: sources(table, "receipt"),
            delivered: conditions(table, "delivered"),
            failures: FAILURES.iter().map(|(key, refusal)| (*refusal, conditions(table, key))).collect(),
        }
    }
}

fn events(table: &mut Reader<'_>) -> Option<EventFilter> {
    let (key, value) = table.values("event").into_iter().next()?;
    subtable(table, key, value, "{ pointer = \"…\", accept = [\"…\"] }", |event| {
        let at = event.required("pointer", "the pointer to the kind of an event", |event| pointer(event, "pointer"));
        let (accept, status) = (scalars(event, "accept"), scalars(event, "status"));
        if accept.is_empty() {
            event.fault("accept", "is empty: list the event kinds that are messages");
        }
        Some(EventFilter { pointer: at?, accept, status })
    })?
}

fn timestamp(table: &mut Reader<'_>) -> Option<(String, TimeUnit)> {
    const UNITS: &[(&str, TimeUnit)] = &[
        ("s", TimeUnit::Seconds),
        ("ms", TimeUnit::Milliseconds),
        ("rfc3339", TimeUnit::Rfc3339),
        ("none", TimeUnit::None),
    ];
    let (key, value) = table.values("timestamp").into_iter().next()?;
    subtable(table, key, value, "{ pointer = \"…\", unit = \"s\" }", |timestamp| {
        let at = pointer(timestamp, "pointer");
        let unit = timestamp.required("unit", "s, ms, rfc3339 or none", |timestamp| timestamp.choice("unit", UNITS));
        if !timestamp.has("pointer") && unit.is_some_and(|unit| unit != TimeUnit::None) {
            timestamp.fault("pointer", "is missing: the pointer to the time of a message");
        }
        Some((at?, unit?))
    })?
}

/// `from_me` is required: messages sent from the own number contain codes.
fn from_me(table: &mut Reader<'_>) -> FromMeRule {
    const SHAPE: &str = "{ pointer = \"…\" }, or \"never\"";
    let values = table.values("from_me");
    if let [(_, Value::String(word))] = values.as_slice()
        && word == "never"
    {
        return FromMeRule::Never;
    }
    if values.is_empty() {
        table.fault(
            "from_me",
            "is missing: what marks messages sent from the own number, or \"never\" if they are never posted",
        );
    }
    let mut optional = false;
    let mut conditions = Vec::new();
    for (key, value) in values {
        let condition = subtable(table, key, value, SHAPE, |table| {
            optional |= table.flag("optional", false);
            condition(table)
        });
        conditions.extend(condition.flatten());
    }
    FromMeRule::When { conditions, optional }
}
