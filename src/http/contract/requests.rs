//! Operations that read and cancel requests.

use serde_json::{Value, json};

use super::{
    examples,
    operation::{Area, Credentials, Operation, operation},
    schema::{streamed, text, time},
};
use crate::{
    api::{
        limits,
        verification::{Requests, Watched},
    },
    domain::{OtpType, Status, scope::Scope},
    http::problem::Code,
};

pub(super) fn operations() -> Vec<Operation> {
    vec![list(), get(), watch(), cancel()]
}

fn list() -> Operation {
    let about = "Newest first. Filters can be combined. A page can be short, even empty, while more follow: only a \
        missing `next_cursor` means the end. Codes and links are shown to tokens with the scope `read_secrets`.";
    operation(Area::Requests, "GET", "/api/otp/v2/{instance}/requests", "listRequests", "List requests")
        .scope(Scope::Read)
        .about(about)
        .query(
            "status",
            json!({ "enum": Status::ALL, "type": "string" }),
            Some("pending"),
        )
        .query("otp_type", json!({ "enum": OtpType::ALL, "type": "string" }), None)
        .query(
            "chat_id",
            text("`<digits>@c.us`, an E.164 number or `<id>@lid`: one chat, however it is written."),
            None,
        )
        .query("client_ref", text("Exactly as it was given."), None)
        .query(
            "phone_last",
            json!({ "type": "string", "pattern": "^[0-9]{4,8}$",
                "description": "Last digits of the phone that was asked for, or that proved itself. Nothing hidden \
                    behind a LID or a BSUID is found, nor what is erased." }),
            None,
        )
        .query("created_after", time("Not older than this."), None)
        .query("created_before", time("Older than this."), None)
        .query("cursor", text("`next_cursor` of the page before."), None)
        .query("limit", json!({ "type": "integer", "minimum": limits::PAGE.start(), "maximum": limits::PAGE.end(), "default": limits::REQUESTS_DEFAULT }), Some("20"))
        .envelope("OTP requests", &Requests { requests: vec![examples::pending()], next_cursor: None })
        .problems(&[Code::InvalidRequest])
}

fn get() -> Operation {
    operation(Area::Requests, "GET", "/api/otp/v2/{instance}/requests/{uuid}", "getRequest", "Show one request")
        .scope(Scope::Read)
        .about("With its timeline. Another tenant's request does not exist.")
        .envelope("OTP request", &examples::pending())
}

fn watch() -> Operation {
    let about = "A stream of Server-Sent Events, one for each change, until nothing more will come; with `wait` one \
        JSON answer as soon as something changes. With the request's own `poll_token` as the bearer a browser may ask: \
        it sees the state and nothing of the person, and pages of any origin may read it.";
    let seconds = json!({ "type": "integer", "minimum": limits::WAIT.start(), "maximum": limits::WAIT.end(), "description": "Seconds to wait at most." });
    let stream = streamed("status", "JSON: what `data` holds in the long-poll's answer.");
    operation(Area::Requests, "GET", "/api/otp/v2/{instance}/requests/{uuid}/events", "watchRequest", "Wait for news")
        .scope(Scope::Read)
        .about(about)
        .open_to(Credentials::PollToken)
        .query("wait", seconds, Some("5"))
        .header("Last-Event-ID", text("Sent by browsers that come back."), None)
        .envelope("OTP request", &Watched::Request(examples::pending()))
        .answer(200, "The stream, one object for each event", "text/event-stream", stream, Value::Null)
        .answer(204, "To a browser that comes back: nothing more will come", "", json!({}), Value::Null)
        .problems(&[Code::Unauthenticated, Code::RateLimited, Code::InvalidRequest])
}

fn cancel() -> Operation {
    operation(Area::Requests, "POST", "/api/otp/v2/{instance}/requests/{uuid}/cancel", "cancelRequest", "Cancel")
        .scope(Scope::Admin)
        .about("Ends what is pending; what had ended before stays as it is. Harmless to repeat.")
        .envelope("OTP request canceled", &examples::canceled())
}
