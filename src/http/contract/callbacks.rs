//! The log of callbacks.

use serde_json::{Value, json};

use super::{
    openapi::event_example,
    operation::{Area, Operation, operation},
    schema::{extended, named, object, text, time},
    values,
};
use crate::{domain::scope::Scope, http::problem::Code};

pub(super) fn operations() -> Vec<Operation> {
    vec![list(), get(), replay(), test()]
}

fn list() -> Operation {
    let next =
        json!({ "type": ["string", "null"], "description": "`cursor` of the next page; `null` after the last." });
    let callbacks = json!({ "type": "array", "items": named("CallbackEntry") });
    let data = object(&json!({ "callbacks": callbacks, "next_cursor": next }));
    let about = "In pages. First those on their way, `pending`, by their next attempt; then those that were taken, which \
        are remembered for an hour, and those that were given up, for seven, each newest first. One that is retried \
        while you read is met again.";
    operation(Area::Callbacks, "GET", "/api/otp/v2/{instance}/callbacks", "listCallbacks", "List callbacks")
        .scope(Scope::Read)
        .about(about)
        .query("status", json!({ "type": "string", "enum": ["pending", "delivered", "dead"] }), Some("dead"))
        .query("uuid", json!({ "type": "string", "description": "Only those about this request." }), None)
        .query("limit", json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 100 }), None)
        .query("cursor", json!({ "type": "string", "description": "`next_cursor` of the page before." }), None)
        .envelope("Callbacks", &data, &json!({ "callbacks": [entry_example()], "next_cursor": null }))
        .problems(&[Code::InvalidRequest])
}

pub(super) fn entry_example() -> Value {
    json!({
        "id": values::CALLBACK,
        "webhook_id": values::WEBHOOK_ID,
        "type": "link.verified",
        "uuid": values::UUID,
        "url": "https://app.example.org",
        "status": "dead",
        "attempts": 13,
        "created_at": values::ENDED,
        "next_attempt_at": null,
        "ended_at": "2026-11-23T14:00:00+00:00",
        "last_error": "app.example.org: status 500",
    })
}

fn get() -> Operation {
    let body = json!({ "type": "object", "description": "As it is sent, byte for byte but for the spaces." });
    let mut example = entry_example();
    example["body"] = event_example();
    example["last_answer"] = json!({
        "at": "2026-11-23T14:00:00+00:00",
        "status": 500,
        "headers": [{ "name": "content-type", "value": "text/plain" }],
        "body": "database is locked",
    });
    let headers = object(&json!({ "name": text("In lower case."), "value": text("As it came.") }));
    let answer = object(&json!({
        "at": time("When it came."),
        "status": { "type": "integer" },
        "headers": { "type": "array", "items": headers, "description": "The first 4 KiB of them." },
        "body": text("Its first 2 KiB."),
    }));
    let about =
        "To the last attempt that was answered and failed. Of each receiver the latest 256 are kept, for a day.";
    let answer = json!({ "anyOf": [answer, { "type": "null" }], "description": about });
    let entry = &super::schema::components()["CallbackEntry"];
    let data = extended(entry, &json!({ "body": body, "last_answer": answer }));
    operation(Area::Callbacks, "GET", "/api/otp/v2/{instance}/callbacks/{id}", "getCallback", "Show one callback")
        .scope(Scope::Read)
        .about("With its body, and what its receiver answered. Another tenant's callback does not exist.")
        .envelope("Callback", &data, &example)
}

fn replay() -> Operation {
    let path = "/api/otp/v2/{instance}/callbacks/{id}/replay";
    let data = object(&json!({ "id": text("As asked.") }));
    operation(Area::Callbacks, "POST", path, "replayCallback", "Send a callback again")
        .scope(Scope::Admin)
        .about("One that was delivered or given up, under the same `webhook-id`, with a fresh schedule of attempts.")
        .envelope("Callback queued again", &data, &json!({ "id": values::CALLBACK }))
}

fn test() -> Operation {
    let about = "A signed `callback.test` about nothing, tried once, also where other callbacks are held back: to the \
        instance's `callback_url`, or to `url`. `GET …/callbacks/{id}` tells what became of it.";
    let body = json!({
        "type": "object",
        "properties": {
            "url": { "type": ["string", "null"], "format": "uri", "description": "Under the rules for `callback.*`." },
        },
    });
    let mut example = entry_example();
    for (name, value) in [
        ("type", json!("callback.test")),
        ("uuid", Value::Null),
        ("status", json!("pending")),
        ("attempts", json!(0)),
        ("next_attempt_at", json!(values::ENDED)),
        ("ended_at", Value::Null),
        ("last_error", Value::Null),
    ] {
        example[name] = value;
    }
    operation(Area::Callbacks, "POST", "/api/otp/v2/{instance}/callbacks/test", "testCallback", "Send a test callback")
        .scope(Scope::Admin)
        .about(about)
        .idempotent()
        .json(body, json!({}))
        .optional_body()
        .spends()
        .envelope("Test callback queued", &named("CallbackEntry"), &example)
}
