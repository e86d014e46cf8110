//! Parses the response of a generic gateway to a send request.

use http::Response;
use serde_json::Value;

use super::{
    super::{Refusal, SendResult, answers},
    source::{Condition, ValueSource, scalars},
    table_reader::{condition, sources, status, subtable},
};
use crate::{domain::DeliveryFailure, reader::Reader};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RuleOutcome {
    RateLimited,
    Refused(Refusal),
}

const OUTCOME_KEYS: [(&str, RuleOutcome); 6] = [
    ("not_on_whatsapp", RuleOutcome::Refused(Refusal::NotOnWhatsApp)),
    ("window_closed", RuleOutcome::Refused(Refusal::WindowClosed)),
    ("rate_limited", RuleOutcome::RateLimited),
    ("unauthorized", RuleOutcome::Refused(Refusal::Unauthorized)),
    ("quota", RuleOutcome::Refused(Refusal::Quota)),
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
    pub(super) fn read(table: &mut Reader<'_>) -> Self {
        let statuses = table.values("success");
        let success = statuses.into_iter().filter_map(|(key, value)| status(table, key, value)).collect();
        let message_id = sources(table, "message_id");
        let mut rules = Vec::new();
        for (name, meaning) in OUTCOME_KEYS {
            for (key, value) in table.values(name) {
                rules.extend(read_rule(table, key, value, meaning));
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
        let id = scalars(&self.message_id, &body).next();
        if self.success.contains(&status.as_u16()) {
            return SendResult::Accepted { id };
        }
        match answers::by_status(response, &body, id) {
            accepted @ SendResult::Accepted { .. } if self.success.is_empty() => accepted,
            // A 2xx that `success` does not list: its meaning is unknown, and a retry could send twice.
            SendResult::Accepted { .. } => SendResult::Refused(Refusal::Permanent),
            other => other,
        }
    }
}

/// A rule: a status, or a table with `status`, `pointer` and a test.
fn read_rule(table: &mut Reader<'_>, key: String, value: &Value, meaning: RuleOutcome) -> Option<ResponseRule> {
    if !value.is_object() {
        return Some(ResponseRule { status: Some(status(table, key, value)?), body: None, meaning });
    }
    subtable(table, key, value, "{ status = 400, pointer = \"…\", equals = … }", |table| {
        let (by_status, by_body) = (table.values("status"), table.has("pointer"));
        if by_status.is_empty() && !by_body {
            table.fault("status", "is missing: give a status, a pointer into the answer, or both");
        }
        let wanted = by_status.into_iter().find_map(|(key, value)| status(table, key, value));
        if by_body {
            return Some(ResponseRule { status: wanted, body: Some(condition(table)?), meaning });
        }
        Some(ResponseRule { status: Some(wanted?), body: None, meaning })
    })?
}
