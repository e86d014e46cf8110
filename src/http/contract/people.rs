//! Questions about people.

use serde_json::json;

use super::{
    callbacks::entry_example,
    operation::{Area, Operation, operation},
    schema::{named, nullable, object, text, time, timeline_event},
    values,
};
use crate::{
    domain::{Status, scope::Scope},
    http::problem::Code,
    service::Outcome,
};

pub(super) fn operations() -> Vec<Operation> {
    vec![explain(), erase()]
}

fn explain() -> Operation {
    let about = "Takes a `uuid`, a gateway's message id, a chat id or the last two to six digits of a phone, and answers \
        in one sentence, with what it rests on. Also for messages that matched nothing: of each a trace without text, \
        code or number is kept for a day.";
    let reason = json!({ "type": ["string", "null"], "description": "Why it did not succeed." });
    let by = nullable(text("Who did it, where the configuration names him."));
    let event = object(&json!({ "at": time("When."), "event": timeline_event(), "reason": reason, "by": by }));
    let message = object(&json!({
        "at": time("When it came."),
        "outcome": {
            "enum": Outcome::all().map(Outcome::as_str).collect::<Vec<&str>>(),
            "description": "`verified`, a reason, or why it was ignored.",
        },
        "phone_ending": nullable(text("The last four digits of its sender.")),
        "uuid": nullable(text("The request whose code it held.")),
        "meaning": text("What that means, after \"the message\"."),
    }));
    let mut request = object(&json!({
        "uuid": { "type": "string", "format": "uuid" },
        "otp_type": { "enum": ["link", "code"] },
        "status": { "enum": Status::ALL, "description": "How it stands." },
        "reason": reason,
        "created_at": time("When it was made."),
        "expires_at": time("After this the code counts as expired."),
        "ended_at": nullable(time("When it ended.")),
        "attempts": { "type": "integer", "minimum": 0 },
        "client_ref": nullable(text("As given.")),
        "timeline": { "type": "array", "items": event },
        "callbacks": { "type": "array", "items": named("CallbackEntry") },
    }));
    request["properties"]["completion"] = named("Completion");
    let data = object(&json!({
        "read_as": { "enum": ["request", "message", "phone_ending", "chat"] },
        "sentence": text("The answer, for people."),
        "messages": { "type": "array", "items": message },
        "requests": { "type": "array", "items": request },
    }));
    let message = json!({
        "at": values::ENDED, "outcome": "verified", "phone_ending": "0123", "uuid": values::UUID,
        "meaning": "held a live code and proved its chat.",
    });
    let request = json!({
        "uuid": values::UUID, "otp_type": "link", "status": "verified", "reason": null,
        "created_at": values::CREATED, "expires_at": values::EXPIRES, "ended_at": values::ENDED,
        "completion": { "mode": "same_browser", "state": "offered" }, "attempts": 0, "client_ref": null,
        "timeline": [{ "at": values::CREATED, "event": "created", "reason": null, "by": null }],
        "callbacks": [entry_example()],
    });
    let sentence = format!("Request {} is verified; the link in the reply waits to be tapped.", values::UUID);
    let example = json!({ "read_as": "request", "sentence": sentence, "messages": [message], "requests": [request] });
    operation(Area::People, "GET", "/api/otp/v2/{instance}/explain", "explain", "Explain what became of a message")
        .scope(Scope::Read)
        .about(about)
        .required_query("q", text("What to explain."), values::UUID)
        .envelope("Explanation", &data, &example)
        .problems(&[Code::InvalidRequest])
}

fn erase() -> Operation {
    let count = json!({ "type": "integer", "minimum": 0 });
    let erased = object(&json!({ "requests": count, "jobs": count, "traces": count }));
    operation(Area::People, "DELETE", "/api/otp/v2/{instance}/subjects/{chat_id}", "eraseSubject", "Erase a chat")
        .scope(Scope::Admin)
        .about(
            "Everything that is kept about it, at once: requests with their timelines, callbacks, replies, traces. What \
             was pending is gone without a callback. Harmless to repeat; a chat that is not known is answered alike.",
        )
        .envelope(
            "Erased",
            &object(&json!({ "erased": erased })),
            &json!({ "erased": { "requests": 1, "jobs": 0, "traces": 1 } }),
        )
        .problems(&[Code::InvalidRequest])
}
