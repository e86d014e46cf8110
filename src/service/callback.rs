//! What a callback says. Built once, when the decision is committed, and sent byte for byte in every attempt.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::domain::{
    Event, Kind, KindRef, Request, Verification,
    link::{Completion, Link, Reached},
    time::rfc3339,
};

/// The body of `event` about a record, at the time of the verdict. Never holds the code or a token.
pub fn body<K: Kind>(event: Event, record: &Verification<K>, at: Timestamp) -> String {
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
    put("metadata", metadata(request));
    match record.kind.by_ref() {
        KindRef::Code(code) => {
            put("send", json!(code.otp.send()));
            put("channel", json!(code.otp.channel()));
        }
        KindRef::Link(link) => {
            put("renews", json!(request.renews));
            put("text_changed", json!(proof.map(|_| link.text_changed)));
            put("risk", risk(link));
            put("after", json!(reached(link)));
            put("completion", completion(link, request));
        }
    }
    put("created_at", json!(rfc3339(record.created_at)));
    put("expires_at", json!(rfc3339(record.expires_at)));
    put("ended_at", json!(record.ended_at().map(rfc3339)));
    envelope(event, at, &Value::Object(data))
}

/// How far the login had come when it was disputed.
fn reached(link: &Link) -> Option<Reached> {
    match link.completion()? {
        Completion::Disputed { after, .. } => Some(*after),
        Completion::Offered { .. }
        | Completion::Released { .. }
        | Completion::Redeemed { .. }
        | Completion::Lapsed { .. } => None,
    }
}

/// How the two sides of a login compare; `null` while only one was seen.
pub fn risk(link: &Link) -> Value {
    let risk = link.risk.as_ref();
    json!(risk.map(|risk| {
        json!({
            "same_network": risk.same_network, "same_country": risk.same_country, "same_device": risk.same_device,
            "started_country": risk.started_country, "finished_country": risk.finished_country,
        })
    }))
}

/// Who proved the chat.
pub fn subject<K: Kind>(record: &Verification<K>) -> Value {
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
pub fn metadata(request: &Request) -> Value {
    request.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// How a link completes, and what became of it.
pub fn completion(link: &Link, request: &Request) -> Value {
    json!({ "mode": link.mode(request), "state": link.completion().map(Completion::as_str) })
}
