//! What a callback says. Built once, when the decision is committed, and sent byte for byte in every attempt.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::domain::{Event, State, Verification, sending::Channel, time::rfc3339, verification::Completion};

/// The body of `event` about a record, at the time of the verdict. Never holds the code or a token.
pub fn body(event: Event, record: &Verification, at: Timestamp) -> String {
    let request = &record.request;
    let proof = record.proof();
    let mut data = Map::new();
    let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
    put("uuid", json!(record.id));
    put("otp_type", json!(record.otp_type()));
    put("status", json!(record.status(at)));
    put("reason", json!(record.reason()));
    put("chat_id", json!(record.chat_id()));
    put("subject", subject(record));
    put("push_name", json!(proof.and_then(|proof| proof.push_name.as_deref())));
    put("purpose", json!(request.purpose));
    put("client_ref", json!(request.client_ref));
    put("metadata", metadata(record));
    if let Some(otp) = &record.otp {
        put("send", json!(otp.send()));
        put("channel", json!(otp.channel().map(Channel::as_str)));
        put("created_at", json!(rfc3339(record.created_at)));
        put("expires_at", json!(rfc3339(record.expires_at)));
        put("ended_at", json!(record.ended_at().map(rfc3339)));
        return envelope(event, at, &Value::Object(data));
    }
    put("renews", json!(request.renews));
    put("text_changed", json!(proof.map(|_| record.text_changed)));
    put("risk", risk(record));
    put("after", json!(reached(record)));
    put("completion", json!({ "mode": record.mode().as_str(), "state": completion_state(record) }));
    put("created_at", json!(rfc3339(record.created_at)));
    put("expires_at", json!(rfc3339(record.expires_at)));
    put("ended_at", json!(record.ended_at().map(rfc3339)));
    envelope(event, at, &Value::Object(data))
}

/// How far the login had come when it was disputed.
fn reached(record: &Verification) -> Option<&'static str> {
    match &record.state {
        State::Verified { completion: Completion::Disputed { after, .. }, .. } => Some(after.as_str()),
        _ => None,
    }
}

/// How the two sides of a login compare; `null` while only one was seen.
pub fn risk(record: &Verification) -> Value {
    let risk = record.risk.as_ref();
    json!(risk.map(|risk| {
        json!({
            "same_network": risk.same_network, "same_country": risk.same_country, "same_device": risk.same_device,
            "started_country": risk.started_country, "finished_country": risk.finished_country,
        })
    }))
}

/// Who proved the chat.
pub fn subject(record: &Verification) -> Value {
    let subject = record.proof().map(|proof| &proof.subject);
    json!(
        subject.map(|subject| {
            json!({ "kind": subject.kind(), "value": subject.value(), "reported": subject.reported() })
        })
    )
}

/// The three members every callback has.
pub fn envelope(event: Event, at: Timestamp, data: &Value) -> String {
    json!({ "type": event.as_str(), "timestamp": rfc3339(at), "data": data }).to_string()
}

/// As the caller gave it.
pub fn metadata(record: &Verification) -> Value {
    record.request.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The word for what became of the link in the reply.
pub fn completion_state(record: &Verification) -> Option<&'static str> {
    let State::Verified { completion, .. } = &record.state else { return None };
    Some(match completion {
        Completion::Offered { .. } => "offered",
        Completion::Released { .. } => "released",
        Completion::Redeemed { .. } => "redeemed",
        Completion::Lapsed { .. } => "lapsed",
        Completion::Disputed { .. } => "disputed",
    })
}
