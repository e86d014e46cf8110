//! Parses the response of a generic gateway to a send request.

use http::Response;
use serde_json::Value;

use super::{
    super::{Refusal, Sent, sent_by_status},
    fields::{Fields, status, within},
    source::{Condition, Source, words},
};

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
    /// The statuses that mean success; empty: 200 to 299.
    success: Vec<u16>,
    message_id: Vec<Source>,
    /// The first matching rule decides; rules with a body condition come first.
    rules: Vec<Rule>,
}

struct Rule {
    status: Option<u16>,
    body: Option<Condition>,
    meaning: Meaning,
}

impl Answers {
    pub(super) fn fields(f: &mut Fields<'_>) -> Self {
        let statuses = f.section.values("success");
        let success = statuses.into_iter().filter_map(|(key, value)| status(key, &value, f.faults)).collect();
        let message_id = f.sources("message_id");
        let mut rules = Vec::new();
        for (name, meaning) in LISTS {
            for (key, value) in f.section.values(name) {
                rules.extend(rule(key, value, meaning, f));
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
            // A 2xx that `success` does not list: its meaning is unknown, and a retry could send twice.
            Sent::Accepted { .. } => Sent::Refused(Refusal::Permanent),
            other => other,
        }
    }
}

/// A rule: a status, or a table with `status`, `pointer` and a test.
fn rule(key: String, value: Value, meaning: Meaning, f: &mut Fields<'_>) -> Option<Rule> {
    if !value.is_object() {
        return Some(Rule { status: Some(status(key, &value, f.faults)?), body: None, meaning });
    }
    let mut fields = within(key, value, "{ status = 400, pointer = \"…\", equals = … }", f.faults)?;
    let (by_status, by_body) = (fields.section.values("status"), fields.section.has("pointer"));
    if by_status.is_empty() && !by_body {
        fields.fault("status", "is missing: give a status, a pointer into the answer, or both");
    }
    let wanted = by_status.into_iter().find_map(|(key, value)| status(key, &value, fields.faults));
    if by_body {
        return Some(Rule { status: wanted, body: Some(fields.condition()?), meaning });
    }
    fields.finish();
    Some(Rule { status: Some(wanted?), body: None, meaning })
}
