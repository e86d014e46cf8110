//! Operations that answer questions about a person.

use serde_json::{Value, json};

use super::{
    examples::{callback_entry, completion, parsed, time},
    operation::{Area, Operation, operation},
    schema::text,
    values,
};
use crate::{
    api::explanation::{Erased, ExplainedEvent, ExplainedMessage, ExplainedRequest, ExplanationView, Removed},
    domain::{OtpType, Status, scope::Scope},
    http::problem::Code,
    service::Outcome,
};

pub(super) fn operations() -> Vec<Operation> {
    vec![explain(), erase()]
}

fn explain() -> Operation {
    let about = "Takes a `uuid`, a gateway's message id, a chat id or the last two to six digits of a phone, and answers \
        in one sentence, with what it rests on. Also for messages that matched nothing: the message log keeps an entry \
        of each for a day, without text, code or number. `malformed` shows the webhooks of the last day that could \
        not be parsed.";
    let message = ExplainedMessage {
        at: time(values::ENDED),
        outcome: "verified".to_owned(),
        phone_ending: Some("0123".to_owned()),
        uuid: Some(values::UUID.to_owned()),
        meaning: "held a live code and proved its chat.".to_owned(),
        webhook: None,
    };
    let created = ExplainedEvent { at: time(values::CREATED), event: "created".to_owned(), reason: None, by: None };
    let request = ExplainedRequest {
        uuid: parsed(values::UUID),
        otp_type: OtpType::Link,
        status: Status::Verified,
        reason: None,
        created_at: time(values::CREATED),
        expires_at: time(values::EXPIRES),
        ended_at: Some(time(values::ENDED)),
        attempts: 0,
        client_ref: None,
        timeline: vec![created],
        completion: Some(completion(Some("offered"))),
        callbacks: vec![callback_entry()],
    };
    let sentence = format!("Request {} is verified; the link in the reply waits to be tapped.", values::UUID);
    let example = ExplanationView { read_as: "request", sentence, messages: vec![message], requests: vec![request] };
    operation(Area::People, "GET", "/api/otp/v2/{instance}/explain", "explain", "Explain what became of a message")
        .scope(Scope::Read)
        .about(about)
        .required_query("q", text("What to explain."), values::UUID)
        .envelope("Explanation", &example)
        .narrow("/properties/data/properties/messages/items/properties/outcome", outcomes())
        .problems(&[Code::InvalidRequest])
}

/// Every outcome of a message. The struct in `crate::api` says only `string`, because some outcomes come from the
/// gateways, which that module does not depend on.
fn outcomes() -> Value {
    json!({
        "enum": Outcome::all().map(Outcome::as_str).collect::<Vec<&str>>(),
        "description": "`verified`, a reason, or why it was ignored.",
    })
}

fn erase() -> Operation {
    operation(Area::People, "DELETE", "/api/otp/v2/{instance}/subjects/{chat_id}", "eraseSubject", "Erase a chat")
        .scope(Scope::Admin)
        .about(
            "Everything that is kept about it, at once: requests with their timelines, callbacks, replies, entries of the \
             message log. What was pending is gone without a callback. Harmless to repeat; a chat that is not known is \
             answered alike.",
        )
        .envelope("Erased", &Erased { erased: Removed { requests: 1, jobs: 0, messages: 1 } })
        .problems(&[Code::InvalidRequest])
}
