//! Parses the response of a generic gateway to a send request.

use http::Response;
use serde_json::Value;

use super::{
    super::{Refusal, SendResult, send_result_by_status},
    source::{Condition, ValueSource, scalars},
    table_reader::{TableReader, status, subtable},
};
use crate::domain::DeliveryFailure;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RuleOutcome {
    RateLimited,
    Refused(Refusal),
}

const OUTCOME_KEYS: [(&str, RuleOutcome); 5] = [
    ("not_on_whatsapp", RuleOutcome::Refused(Refusal::NotOnWhatsApp)),
    ("window_closed", RuleOutcome::Refused(Refusal::WindowClosed)),
    ("rate_limited", RuleOutcome::RateLimited),
    ("unauthorized", RuleOutcome::Refused(Refusal::Unauthorized)),
    ("permanent", RuleOutcome::Refused(Refusal::Permanent)),
];

pub(super) struct ResponseRules {
    /// The statuses that mean success; empty: 200 to 299.
    success: Vec<u16>,
    message_id: Vec<ValueSource>,
    /// The first matching rule decides; rules with a body condition come first.
    rules: Vec<ResponseRule>,
}

struct ResponseRule {
    status: Option<u16>,
    body: Option<Condition>,
    meaning: RuleOutcome,
}

impl ResponseRules {
    pub(super) fn read(table: &mut TableReader<'_>) -> Self {
        let statuses = table.section.values("success");
        let success = statuses.into_iter().filter_map(|(key, value)| status(key, &value, table.faults)).collect();
        let message_id = table.sources("message_id");
        let mut rules = Vec::new();
        for (name, meaning) in OUTCOME_KEYS {
            for (key, value) in table.section.values(name) {
                rules.extend(read_rule(key, value, meaning, table));
            }
        }
        rules.sort_by_key(|rule| rule.body.is_none());
        Self { success, message_id, rules }
    }

    pub(super) fn parse(&self, response: &Response<Vec<u8>>) -> SendResult {
        let status = response.status();
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let applies = |rule: &&ResponseRule| {
            rule.status.is_none_or(|wanted| wanted == status.as_u16())
                && rule.body.as_ref().is_none_or(|condition| condition.holds(&body) == Some(true))
        };
        match self.rules.iter().find(applies).map(|rule| rule.meaning) {
            Some(RuleOutcome::RateLimited) => return SendResult::Retryable { reason: DeliveryFailure::RateLimited },
            Some(RuleOutcome::Refused(refusal)) => return SendResult::Refused(refusal),
            None => {}
        }
        let accepted = SendResult::Accepted { id: scalars(&self.message_id, &body).next() };
        if self.success.contains(&status.as_u16()) {
            return accepted;
        }
        match send_result_by_status(status) {
            SendResult::Accepted { .. } if self.success.is_empty() => accepted,
            // A 2xx that `success` does not list: its meaning is unknown, and a retry could send twice.
            SendResult::Accepted { .. } => SendResult::Refused(Refusal::Permanent),
            other => other,
        }
    }
}

/// A rule: a status, or a table with `status`, `pointer` and a test.
fn read_rule(key: String, value: Value, meaning: RuleOutcome, table: &mut TableReader<'_>) -> Option<ResponseRule> {
    if !value.is_object() {
        return Some(ResponseRule { status: Some(status(key, &value, table.faults)?), body: None, meaning });
    }
    let mut reader = subtable(key, value, "{ status = 400, pointer = \"…\", equals = … }", table.faults)?;
    let (by_status, by_body) = (reader.section.values("status"), reader.section.has("pointer"));
    if by_status.is_empty() && !by_body {
        reader.fault("status", "is missing: give a status, a pointer into the answer, or both");
    }
    let wanted = by_status.into_iter().find_map(|(key, value)| status(key, &value, reader.faults));
    if by_body {
        return Some(ResponseRule { status: wanted, body: Some(reader.condition()?), meaning });
    }
    reader.finish();
    Some(ResponseRule { status: Some(wanted?), body: None, meaning })
}
