//! The validated mapping: where in a body each thing stands.

use serde_json::Value;

use super::{
    fields::{condition, conditions, pointer, required_sources, sources, within, words},
    source::{Condition, Source},
};
use crate::reader::Reader;

pub(super) struct Mapping {
    /// The message or the list of messages.
    pub(super) select: String,
    pub(super) event: Option<Events>,
    pub(super) message_id: Vec<Source>,
    /// Whether only what follows the last `_` stays the same when a message comes again.
    pub(super) last_component: bool,
    pub(super) chat_id: Vec<Source>,
    pub(super) sender: Vec<Source>,
    /// Our own number.
    pub(super) to: Vec<Source>,
    /// The account or instance at the gateway, as `account` names it.
    pub(super) account: Vec<Source>,
    pub(super) lid: Vec<Source>,
    pub(super) bsuid: Vec<Source>,
    pub(super) text: Vec<Source>,
    pub(super) timestamp: Option<(String, Unit)>,
    pub(super) from_me: FromMe,
    pub(super) group: Vec<Condition>,
    pub(super) edit: Vec<Condition>,
    pub(super) broadcast: Vec<Condition>,
    pub(super) push_name: Vec<Source>,
    /// Of a status: which of our messages, and what became of it.
    pub(super) receipt_id: Vec<Source>,
    pub(super) receipt: Vec<Source>,
    /// What marks, without a word, that the phone has it.
    pub(super) delivered: Vec<Condition>,
}

/// Which events are messages, and which tell what became of ours.
pub(super) struct Events {
    pub(super) pointer: String,
    pub(super) accept: Vec<String>,
    pub(super) status: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
    Rfc3339,
    /// The gateway tells no time, or none that means anything.
    None,
}

/// How our own messages are told from a person's.
pub(super) enum FromMe {
    /// The operator states that they never come.
    Never,
    /// If `optional`, a message that says nothing is a person's.
    When { conditions: Vec<Condition>, optional: bool },
}

impl Mapping {
    pub(super) fn read(f: &mut Reader<'_>) -> Self {
        const DEDUPE: &[(&str, bool)] = &[("whole", false), ("last_component", true)];
        Self {
            select: pointer(f, "select").unwrap_or_default(),
            event: events(f),
            message_id: required_sources(f, "message_id", "where a message's id stands"),
            last_component: f.choice("dedupe", DEDUPE).unwrap_or_default(),
            chat_id: required_sources(f, "chat_id", "where the chat stands that a reply is addressed to"),
            sender: required_sources(f, "sender", "where the sender's phone stands; if several do, they must agree"),
            to: sources(f, "to"),
            account: sources(f, "account"),
            lid: sources(f, "lid"),
            bsuid: sources(f, "bsuid"),
            text: required_sources(f, "text", "where a message's text stands"),
            timestamp: timestamp(f),
            from_me: from_me(f),
            group: conditions(f, "group"),
            edit: conditions(f, "edit"),
            broadcast: conditions(f, "broadcast"),
            push_name: sources(f, "push_name"),
            receipt_id: sources(f, "receipt_id"),
            receipt: sources(f, "receipt"),
            delivered: conditions(f, "delivered"),
        }
    }
}

fn events(f: &mut Reader<'_>) -> Option<Events> {
    let (key, value) = f.values("event").into_iter().next()?;
    within(f, key, value, "{ pointer = \"…\", accept = [\"…\"] }", |f| {
        let at = f.required("pointer", "where the kind of an event stands", |f| pointer(f, "pointer"));
        let (accept, status) = (words(f, "accept"), words(f, "status"));
        if accept.is_empty() {
            f.fault("accept", "is empty: no event would be a message");
        }
        Some(Events { pointer: at?, accept, status })
    })?
}

fn timestamp(f: &mut Reader<'_>) -> Option<(String, Unit)> {
    const UNITS: &[(&str, Unit)] =
        &[("s", Unit::Seconds), ("ms", Unit::Milliseconds), ("rfc3339", Unit::Rfc3339), ("none", Unit::None)];
    let (key, value) = f.values("timestamp").into_iter().next()?;
    within(f, key, value, "{ pointer = \"…\", unit = \"s\" }", |f| {
        let at = pointer(f, "pointer");
        let unit = f.required("unit", "s, ms, rfc3339 or none", |f| f.choice("unit", UNITS));
        if !f.has("pointer") && unit.is_some_and(|unit| unit != Unit::None) {
            f.fault("pointer", "is missing: where the time of a message stands");
        }
        Some((at?, unit?))
    })?
}

/// Unset is a fault: our own messages hold codes.
fn from_me(f: &mut Reader<'_>) -> FromMe {
    let values = f.values("from_me");
    if let [(_, Value::String(word))] = values.as_slice()
        && word == "never"
    {
        return FromMe::Never;
    }
    if values.is_empty() {
        f.fault("from_me", "is missing: what marks our own messages, or \"never\" if they are never posted here");
    }
    let mut optional = false;
    let mut conditions = Vec::new();
    for (key, value) in values {
        conditions.extend(
            within(f, key, value, "{ pointer = \"…\" }, or \"never\"", |f| {
                optional |= f.flag("optional", false);
                condition(f)
            })
            .flatten(),
        );
    }
    FromMe::When { conditions, optional }
}
