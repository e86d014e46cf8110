//! What people's browsers open.

use serde_json::{Value, json};

use super::{
    operation::{Access, Area, Operation, operation},
    schema::text,
    values,
};
use crate::http::problem::Code;

pub(super) fn operations() -> Vec<Operation> {
    vec![start(), qr_code(), open(), complete(), dispute()]
}

fn page(method: &'static str, path: &'static str, id: &'static str, title: &'static str) -> Operation {
    operation(Area::Pages, method, path, id, title).open_to(Access::Nobody)
}

fn start() -> Operation {
    page("GET", "/l/{handle}", "startPage", "The start page")
        .about("Button, QR code and the text to copy, in the request's language.")
        .without(&[Code::NotFound])
        .page(200, "The page")
        .page(410, "The link is over, or never was")
}

fn qr_code() -> Operation {
    page("GET", "/l/{handle}/qr.svg", "startQrCode", "The QR code")
        .about("Of the wa.me link, black on white with its quiet zone.")
        .answer(200, "The picture", "image/svg+xml", json!({ "type": "string" }), Value::Null)
}

fn open() -> Operation {
    page("GET", "/o/{token}", "openLink", "The link in the reply")
        .about("Shows who is about to sign in, with a button. Changes nothing, however many robots look.")
        .without(&[Code::NotFound])
        .page(200, "The page")
        .page(410, "The link is over, or never was")
}

fn form() -> Value {
    json!({
        "type": "object",
        "required": ["form"],
        "properties": { "form": text("The hidden field of the page: ties the tap to it.") },
    })
}

fn tap(path: &'static str, id: &'static str, title: &'static str) -> Operation {
    page("POST", path, id, title)
        .body("application/x-www-form-urlencoded", form(), json!({ "form": values::FORM_FIELD }))
        .without(&[Code::InvalidRequest])
        .problems(&[Code::CrossSite, Code::TokenRefused])
}

fn complete() -> Operation {
    tap("/o/{token}", "completeLink", "The tap on Continue")
        .about("Works once. Sends the browser to `redirect_url` with `uuid`, `token` and `state`.")
        .answer(303, "To the app", "", json!({}), Value::Null)
        .page(200, "Done, where the app has no `redirect_url`")
        .page(410, "The link is over")
}

fn dispute() -> Operation {
    tap("/o/{token}/dispute", "disputeLink", "\u{201c}This wasn't me\u{201d}")
        .about("Revokes what the link was worth; the app hears `link.disputed`.")
        .page(200, "Stopped")
        .page(410, "The link is over")
}
