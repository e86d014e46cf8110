//! Reads what a generic gateway says to a message we sent.

use http::Response;
use serde_json::Value;

use super::{
    super::{Refusal, Sent, sent_by_status},
    fields::{condition, sources, status, within},
    source::{Condition, Source, words},
};
use crate::reader::Reader;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Meaning {
    RateLimited,
    Refused(Refusal),
}

const LISTS: [(&str, Meaning); 5] = [
    ("not_on_whatsapp", Meaning::Refused(Refusal::NotOnWhatsApp)),
    ("window_closed", Meaning::Refused(Refusal::WindowClosed)),
    ("rate_limited", Meaning::RateLimited),
    ("unauthorized", Meaning::Refused(Refusal::Unauthorized)),
    ("permanent", Meaning::Refused(Refusal::Permanent)),
];

pub(super) struct Answers {
    /// Statuses that mean yes; empty: all of 200 to 299.
    success: Vec<u16>,
    message_id: Vec<Source>,
    /// The first that applies counts; those that look into the body come first.
    rules: Vec<Rule>,
}

struct Rule {
    status: Option<u16>,
    body: Option<Condition>,
    meaning: Meaning,
}

impl Answers {
    pub(super) fn fields(f: &mut Reader<'_>) -> Self {
        let statuses = f.values("success");
        let success = statuses.into_iter().filter_map(|(key, value)| status(f, key, value)).collect();
        let message_id = sources(f, "message_id");
        let mut rules = Vec::new();
        for (name, meaning) in LISTS {
            for (key, value) in f.values(name) {
                rules.extend(rule(f, key, value, meaning));
            }
        }
        rules.sort_by_key(|rule| rule.body.is_none());
        Self { success, message_id, rules }
    }

    pub(super) fn read(&self, response: &Response<Vec<u8>>) -> Sent {
        let status = response.status();
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let applies = |rule: &&Rule| {
            rule.status.is_none_or(|wanted| wanted == status.as_u16())
                && rule.body.as_ref().is_none_or(|condition| condition.holds(&body) == Some(true))
        };
        match self.rules.iter().find(applies).map(|rule| rule.meaning) {
            Some(Meaning::RateLimited) => return Sent::NotSent { why: "rate_limited" },
            Some(Meaning::Refused(refusal)) => return Sent::Refused(refusal),
            None => {}
        }
        let accepted = Sent::Accepted { id: words(&self.message_id, &body).next() };
        if self.success.contains(&status.as_u16()) {
            return accepted;
        }
        match sent_by_status(status) {
            Sent::Accepted { .. } if self.success.is_empty() => accepted,
            // Nobody said what it means; sending again could send twice.
            Sent::Accepted { .. } => Sent::Refused(Refusal::Permanent),
            other => other,
        }
    }
}

/// A status, or a table of `status`, `pointer` and what must stand there.
fn rule(f: &mut Reader<'_>, key: String, value: &Value, meaning: Meaning) -> Option<Rule> {
    if !value.is_object() {
        return Some(Rule { status: Some(status(f, key, value)?), body: None, meaning });
    }
    within(f, key, value, "{ status = 400, pointer = \"…\", equals = … }", |f| {
        let (by_status, by_body) = (f.values("status"), f.has("pointer"));
        if by_status.is_empty() && !by_body {
            f.fault("status", "is missing: give a status, a pointer into the answer, or both");
        }
        let wanted = by_status.into_iter().find_map(|(key, value)| status(f, key, value));
        if by_body {
            return Some(Rule { status: wanted, body: Some(condition(f)?), meaning });
        }
        Some(Rule { status: Some(wanted?), body: None, meaning })
    })?
}
