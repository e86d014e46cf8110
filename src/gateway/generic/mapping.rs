//! The validated `mapping` table: which pointers lead to which field of an event.

use serde_json::Value;

use super::{
    source::{Condition, ValueSource},
    table_reader::{TableReader, subtable},
};
use crate::config::{Faults, Section};

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
}

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
    pub(super) fn read(section: Section, faults: &mut Faults) -> Self {
        const DEDUPE: &[(&str, bool)] = &[("whole", false), ("last_component", true)];
        let mut reader = TableReader::new(section, faults);
        let table = &mut reader;
        let mapping = Self {
            select: table.pointer("select").unwrap_or_default(),
            event: events(table),
            message_id: table.required("message_id", "the pointer to a message's id"),
            last_component: table.section.choice("dedupe", DEDUPE, table.faults).unwrap_or_default(),
            chat_id: table.required("chat_id", "the pointer to the chat that replies are sent to"),
            sender: table
                .required("sender", "the pointer to the sender's phone; if several are present, they must agree"),
            to: table.sources("to"),
            account: table.sources("account"),
            lid: table.sources("lid"),
            bsuid: table.sources("bsuid"),
            text: table.required("text", "the pointer to a message's text"),
            timestamp: timestamp(table),
            from_me: from_me(table),
            group: table.conditions("group"),
            edit: table.conditions("edit"),
            broadcast: table.conditions("broadcast"),
            push_name: table.sources("push_name"),
            receipt_id: table.sources("receipt_id"),
            receipt: table.sources("receipt"),
            delivered: table.conditions("delivered"),
        };
        reader.finish();
        mapping
    }
}

fn events(table: &mut TableReader<'_>) -> Option<EventFilter> {
    let (key, value) = table.section.values("event").into_iter().next()?;
    let mut event = subtable(key, value, "{ pointer = \"…\", accept = [\"…\"] }", table.faults)?;
    if !event.section.has("pointer") {
        event.fault("pointer", "is missing: the pointer to the kind of an event");
    }
    let (pointer, accept, status) = (event.pointer("pointer"), event.scalars("accept"), event.scalars("status"));
    if accept.is_empty() {
        event.fault("accept", "is empty: list the event kinds that are messages");
    }
    event.finish();
    Some(EventFilter { pointer: pointer?, accept, status })
}

fn timestamp(table: &mut TableReader<'_>) -> Option<(String, TimeUnit)> {
    const UNITS: &[(&str, TimeUnit)] = &[
        ("s", TimeUnit::Seconds),
        ("ms", TimeUnit::Milliseconds),
        ("rfc3339", TimeUnit::Rfc3339),
        ("none", TimeUnit::None),
    ];
    let (key, value) = table.section.values("timestamp").into_iter().next()?;
    let mut timestamp = subtable(key, value, "{ pointer = \"…\", unit = \"s\" }", table.faults)?;
    let pointer = timestamp.pointer("pointer");
    let unit = timestamp.section.choice("unit", UNITS, timestamp.faults);
    if !timestamp.section.has("unit") {
        timestamp.fault("unit", "is missing: s, ms, rfc3339 or none");
    }
    if !timestamp.section.has("pointer") && unit.is_some_and(|unit| unit != TimeUnit::None) {
        timestamp.fault("pointer", "is missing: the pointer to the time of a message");
    }
    timestamp.finish();
    Some((pointer?, unit?))
}

/// `from_me` is required: messages sent from the own number contain codes.
fn from_me(table: &mut TableReader<'_>) -> FromMeRule {
    let values = table.section.values("from_me");
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
        let shape = "{ pointer = \"…\" }, or \"never\"";
        let Some(mut reader) = subtable(key, value, shape, table.faults) else { continue };
        optional |= reader.section.flag("optional", reader.faults);
        conditions.extend(reader.condition());
    }
    FromMeRule::When { conditions, optional }
}
