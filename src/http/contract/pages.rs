//! Pages that people open in their browsers.

use serde_json::{Value, json};

use super::{
    operation::{Area, Credentials, Operation, operation},
    schema::{streamed, text},
    values,
};
use crate::{domain::Language, http::problem::Code, service::StartPageState};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        start(),
        bind(),
        type_code(),
        code_form(),
        events(),
        go(),
        qr_code(),
        open(),
        complete(),
        open_dispute(),
        dispute(),
        widget(),
    ]
}

fn page(method: &'static str, path: &'static str, id: &'static str, title: &'static str) -> Operation {
    operation(Area::Pages, method, path, id, title).open_to(Credentials::Public).problems(&[Code::RateLimited]).spends()
}

fn start() -> Operation {
    page("GET", "/l/{handle}", "startPage", "The start page")
        .about(
            "Button, QR code and the text to copy, in the person's language; then what the person waits for. Gives the \
            browser a random cookie and writes nothing. The language is the first known one of `lang`, the request's, \
            the browser's (`Accept-Language`) and the instance's.",
        )
        .query("lang", language(), None)
        .without(&[Code::NotFound])
        .page(200, "The page")
        .page(410, "The link is over, or never was")
}

fn state() -> Value {
    json!({
        "type": "string",
        "enum": StartPageState::NAMES,
        "description": "What the page of this browser shows.",
    })
}

fn cookie() -> Value {
    text("What the start page has given the browser; over plain HTTP it has another name.")
}

fn bind() -> Operation {
    let body = json!({
        "type": "object",
        "required": ["form"],
        "properties": {
            "form": text("The hidden field of the page: ties the tap to it and to the browser."),
            "place": { "enum": ["here", "qr"], "description": "Where WhatsApp is: on this device, or on one that scans." },
            "auto": { "enum": ["1"], "description": "The script sends the form without a tap: the tap of another browser stays." },
            "do": { "enum": ["renew", "finish"], "description": "Replace a link that ran out by a new one; go on after `prove_phone`." },
        },
    });
    page("POST", "/l/{handle}", "tapStart", "The tap on the start page")
        .about(
            "Binds the login to this browser. While the message is not there the last tap wins. With \
            `Accept: application/json` the answer is a state.",
        )
        .header("Cookie", cookie(), Some(values::COOKIE))
        .body("application/x-www-form-urlencoded", body, json!({ "form": values::START_FIELD, "place": "here" }))
        .without(&[Code::InvalidRequest])
        .answer(303, "To the page, to the new link, or to the app", "", json!({}), Value::Null)
        .answer(200, "The state, for a script", "application/json", json!({ "type": "object" }), Value::Null)
        .problems(&[Code::CrossSite, Code::TokenRefused, Code::TokenSpent, Code::InstanceDisabled])
}

fn type_code() -> Operation {
    let body = json!({
        "type": "object",
        "required": ["form", "code"],
        "properties": {
            "form": text("The hidden field of the page: ties the tap to it and to the browser."),
            "code": text("The six characters of the reply, in any case."),
        },
    });
    page("POST", "/l/{handle}/code", "typeCode", "The reply's code")
        .about("In the browser that waits, five times at most, for five minutes.")
        .header("Cookie", cookie(), Some(values::COOKIE))
        .body(
            "application/x-www-form-urlencoded",
            body,
            json!({ "form": values::START_FIELD, "code": values::REPLY_CODE }),
        )
        .without(&[Code::InvalidRequest])
        .answer(303, "To the app; or to the page, which says how many tries are left", "", json!({}), Value::Null)
        .problems(&[Code::CrossSite, Code::TokenRefused, Code::TokenSpent])
}

fn code_form() -> Operation {
    page("GET", "/l/{handle}/code", "codeForm", "The address of the code's form")
        .about("Leads to the start page, for browsers that load the address of the form again.")
        .without(&[Code::NotFound])
        .answer(303, "To the start page", "", json!({}), Value::Null)
        .page(410, "No start page has this address")
}

fn events() -> Operation {
    let now = json!({ "enum": ["1"], "description": "Only the present state, and no stream." });
    let one = json!({ "type": "object", "required": ["state"], "properties": { "state": state() } });
    page("GET", "/l/{handle}/events", "watchStart", "What the waiting page waits for")
        .about("Server-Sent Events named `state`, each with `{\"state\": …}` as its data.")
        .query("now", now, Some("1"))
        .answer(200, "The state, or the stream", "application/json", one, json!({ "state": "pending" }))
        .answer(200, "The stream", "text/event-stream", streamed("state", "JSON: `{\"state\": …}`."), Value::Null)
        .problems(&[Code::TemporaryReducedCapacity])
}

fn go() -> Operation {
    page("GET", "/l/{handle}/go", "goStart", "Straight to WhatsApp")
        .about("For SMS and e-mail: to wa.me where nothing needs binding, else to the start page.")
        .without(&[Code::NotFound])
        .answer(303, "To wa.me or the start page", "", json!({}), Value::Null)
        .page(410, "The link is over, or never was")
}

fn widget() -> Operation {
    let store = [Code::NotFound, Code::InternalError, Code::StoreUnavailable, Code::TemporaryReducedCapacity];
    operation(Area::Pages, "GET", "/widget.js", "widget", "The drop-in element")
        .open_to(Credentials::Public)
        .about("Defines `<countersign-login>`: button, QR code, live state and a field for the reply's code, for a page of \
            yours; with the texts of one language, that of `lang` or else the browser's (`Accept-Language`).")
        .query("lang", language(), None)
        .without(&store)
        .answer(200, "The script", "text/javascript", json!({ "type": "string" }), Value::Null)
}

fn qr_code() -> Operation {
    page("GET", "/l/{handle}/qr.svg", "startQrCode", "The QR code")
        .about("Of the wa.me link, black on white with its quiet zone.")
        .answer(200, "The picture", "image/svg+xml", json!({ "type": "string" }), Value::Null)
}

fn open() -> Operation {
    page("GET", "/o/{token}", "openLink", "The link in the reply")
        .about("Shows who is about to sign in, with a button. Changes nothing, however many robots look.")
        .query(
            "tapped",
            json!({ "description": "Show what came of a tap: the code, or that another browser waits." }),
            None,
        )
        .query("lang", language(), None)
        .without(&[Code::NotFound])
        .page(200, "The page; or that it is done")
        .page(403, "Another browser waits, and the instance has `strict_browser`")
        .page(410, "The link is over, or never was")
}

/// The person's choice on the page.
fn language() -> Value {
    let tags: Vec<&str> = Language::all().map(Language::tag).collect();
    json!({ "type": "string", "description": format!("The language of the page: {}.", tags.join(", ")) })
}

fn form() -> Value {
    json!({
        "type": "object",
        "required": ["form"],
        "properties": {
            "form": text("The hidden field of the page: ties the tap to it, and to the browser where one is bound."),
            "elsewhere": { "enum": ["1"], "description": "With a `challenge`: show the code for the device that started." },
        },
    })
}

fn tap(path: &'static str, id: &'static str, title: &'static str, form: Value, field: &str) -> Operation {
    page("POST", path, id, title)
        .body("application/x-www-form-urlencoded", form, json!({ "form": field }))
        .without(&[Code::InvalidRequest])
        .problems(&[Code::CrossSite, Code::TokenRefused, Code::TokenSpent])
}

fn complete() -> Operation {
    tap("/o/{token}", "completeLink", "The tap on Continue", form(), values::FORM_FIELD)
        .about("Works once. Sends the browser to `redirect_url` with `uuid`, `token`, `state`, `iss` (RFC 9207: the daemon's public URL) and `instance`.")
        .answer(303, "To the app, or to the page, which says what came of the tap", "", json!({}), Value::Null)
}

fn open_dispute() -> Operation {
    page("GET", "/d/{token}", "openDispute", "\u{201c}This wasn't me\u{201d}")
        .about("From the reply: says what was begun, where and what for, with a button. Changes nothing.")
        .without(&[Code::NotFound])
        .query("lang", language(), None)
        .page(200, "The page")
        .page(410, "It was disputed already, is erased, or never was")
}

fn dispute() -> Operation {
    let form = json!({
        "type": "object",
        "required": ["form"],
        "properties": { "form": text("The hidden field of the page.") },
    });
    tap("/d/{token}", "disputeLink", "The tap on \u{201c}This wasn't me\u{201d}", form, values::DISPUTE_FIELD)
        .about(
            "Revokes the link's result; the app receives `link.disputed`. Works until the person's data is erased, \
            also after the app has redeemed: `after` says so, and the app can end its session.",
        )
        .answer(303, "To the page, which says that it was stopped", "", json!({}), Value::Null)
}
