//! Operations on the callback log.

use serde_json::json;

use super::{
    examples::{callback_entry, callback_json, time},
    operation::{Area, Operation, operation},
    values,
};
use crate::{
    api::{
        callback::{CallbackDetails, CallbackEntry, CallbackPage, CallbackStatus, Header, LastAnswer, Replayed},
        limits,
    },
    domain::scope::Scope,
    http::problem::Code,
};

pub(super) fn operations() -> Vec<Operation> {
    vec![list(), get(), replay(), test()]
}

fn list() -> Operation {
    let about = "In pages: first pending callbacks by their next attempt, then delivered ones, which are kept for an hour, \
        and dead ones, which are kept for seven days, each newest first. A callback that is retried while you read the \
        pages can appear twice.";
    operation(Area::Callbacks, "GET", "/api/otp/v2/{instance}/callbacks", "listCallbacks", "List callbacks")
        .scope(Scope::Read)
        .about(about)
        .query("status", json!({ "type": "string", "enum": CallbackStatus::ALL }), Some("dead"))
        .query("uuid", json!({ "type": "string", "description": "Only those about this request." }), None)
        .query("limit", json!({ "type": "integer", "minimum": limits::PAGE.start(), "maximum": limits::PAGE.end(), "default": limits::CALLBACKS_DEFAULT }), None)
        .query("cursor", json!({ "type": "string", "description": "`next_cursor` of the page before." }), None)
        .envelope("Callbacks", &CallbackPage { callbacks: vec![callback_entry()], next_cursor: None })
        .problems(&[Code::InvalidRequest])
}

fn get() -> Operation {
    let last_answer = LastAnswer {
        at: time(values::GIVEN_UP),
        status: 500,
        headers: vec![Header { name: "content-type".to_owned(), value: "text/plain".to_owned() }],
        body: "database is locked".to_owned(),
    };
    let body = callback_json();
    let example = CallbackDetails { entry: callback_entry(), body, last_answer: Some(last_answer) };
    operation(Area::Callbacks, "GET", "/api/otp/v2/{instance}/callbacks/{id}", "getCallback", "Show one callback")
        .scope(Scope::Read)
        .about("With its body, and what its receiver answered. Another tenant's callback does not exist.")
        .envelope("Callback", &example)
}

fn replay() -> Operation {
    let path = "/api/otp/v2/{instance}/callbacks/{id}/replay";
    operation(Area::Callbacks, "POST", path, "replayCallback", "Send a callback again")
        .scope(Scope::Admin)
        .about("One that was delivered or given up, under the same `webhook-id`, with a fresh schedule of attempts.")
        .envelope("Callback queued again", &Replayed { id: values::CALLBACK.to_owned() })
}

fn test() -> Operation {
    let about = "A signed `callback.test` about nothing, tried once, also where other callbacks are held back: to the \
        instance's `callback_url`, or to `url`. `GET …/callbacks/{id}` returns its outcome.";
    let body = json!({
        "type": "object",
        "properties": {
            "url": { "type": ["string", "null"], "format": "uri", "description": "Under the rules for `callback.*`." },
        },
    });
    let example = CallbackEntry {
        event: "callback.test",
        uuid: None,
        status: CallbackStatus::Pending,
        attempts: 0,
        next_attempt_at: Some(time(values::ENDED)),
        ended_at: None,
        last_error: None,
        ..callback_entry()
    };
    operation(Area::Callbacks, "POST", "/api/otp/v2/{instance}/callbacks/test", "testCallback", "Send a test callback")
        .scope(Scope::Admin)
        .about(about)
        .idempotent("test-7")
        .json(body, json!({}))
        .optional_body()
        .spends()
        .envelope("Test callback queued", &example)
}
