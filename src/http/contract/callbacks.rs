//! The log of callbacks.

use serde_json::{Value, json};

use super::{
    operation::{Area, Operation, operation},
    schema::{named, object, text},
    values,
};

pub(super) fn operations() -> Vec<Operation> {
    vec![list(), replay()]
}

fn list() -> Operation {
    let data = object(&json!({ "callbacks": { "type": "array", "items": named("CallbackEntry") } }));
    operation(Area::Callbacks, "GET", "/api/otp/v2/{instance}/callbacks", "listCallbacks", "List given-up callbacks")
        .about("At most 200, newest first. They are kept for seven days.")
        .envelope("Callbacks given up", &data, &json!({ "callbacks": [entry_example()] }))
}

fn entry_example() -> Value {
    json!({
        "id": values::CALLBACK,
        "webhook_id": values::WEBHOOK_ID,
        "type": "link.verified",
        "uuid": values::UUID,
        "url": "https://app.example.org",
        "status": "dead",
        "attempts": 13,
        "dead_at": "2026-11-23T14:00:00+00:00",
        "last_error": "answered 500",
    })
}

fn replay() -> Operation {
    let path = "/api/otp/v2/{instance}/callbacks/{id}/replay";
    let data = object(&json!({ "id": text("As asked.") }));
    operation(Area::Callbacks, "POST", path, "replayCallback", "Send a callback again")
        .about("Under the same `webhook-id`, with a fresh schedule of attempts.")
        .envelope("Callback queued again", &data, &json!({ "id": values::CALLBACK }))
}
