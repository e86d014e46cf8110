//! Operations on Wawp's paths.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    examples::parsed,
    operation::{Area, Credentials, Operation, operation},
    schema::text,
    values,
};
use crate::{
    api::{
        limits,
        schema::Schema,
        wawp::{WawpListSent, WawpListVerified, WawpSent, WawpVerified},
    },
    domain::{Reason, Status, scope::Scope},
    http::problem::Code,
    service::approval_request::LIFETIME_SECS,
};

const SEND: &str = "/v2/auth/otp/send";
const VERIFY: &str = "/v2/auth/otp/verify";
const SEND_LIST: &str = "/v2/auth/list/send";
const VERIFY_LIST: &str = "/v2/auth/list/verify";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        in_query(send("GET", "wawpSendByQuery")),
        in_body(send("POST", "wawpSend"), &[("lang", "en"), ("footer", "Sent by Harbour")]),
        in_query(verify("GET", "wawpVerifyByQuery")).query("code", code(), Some(values::OTP)),
        in_body(verify("POST", "wawpVerify"), &[("code", values::OTP)]),
        in_query(send_list("GET", "wawpSendListByQuery"))
            .query("title", shown("title"), Some("Log in to Harbour"))
            .query("item1", shown("item1"), Some("Yes, it is me"))
            .query("item2", shown("item2"), Some("No")),
        in_body(
            send_list("POST", "wawpSendList"),
            &[
                ("title", "Log in to Harbour"),
                ("description", "From a computer in Hamburg"),
                ("item1", "Yes, it is me"),
                ("item2", "No"),
                ("button", "Answer"),
                ("footer", "Sent by Harbour"),
                ("lang", "en"),
            ],
        ),
        credentials_in_query(verify_list("GET", "wawpVerifyListByQuery")).query(
            "auth_id",
            auth_id(),
            Some(values::AUTH_ID),
        ),
        credentials_in_body(verify_list("POST", "wawpVerifyList"), &[("auth_id", values::AUTH_ID)]),
    ]
}

fn send(method: &'static str, id: &'static str) -> Operation {
    let about = "Six digits, for five minutes, in the language asked for; one code per recipient and minute. Parameters \
        may stand in the query, a JSON body or a form; the token also in `Authorization: Bearer` or `access-token`, the \
        instance in `X-Instance-ID`. The GET acts: it is refused where a browser sends it by itself.";
    let example = WawpSent::new(300, parsed(values::CODE_UUID));
    wawp(operation(Area::Wawp, method, SEND, id, "Send a code").scope(Scope::Send).about(about).spends(), &example)
        .problems(&[Code::InstanceDisabled, Code::InstanceFull])
}

fn verify(method: &'static str, id: &'static str) -> Operation {
    let about = "Five wrong tries lock the recipient for fifteen minutes. Parameters stand where those of sending do.";
    let example = WawpVerified::new(false);
    wawp(
        operation(Area::Wawp, method, VERIFY, id, "Check a code").scope(Scope::Validate).about(about).spends(),
        &example,
    )
    .problems(&[Code::CodeWrong, Code::CodeExpired, Code::CodeUsed, Code::CodeNotActive])
}

fn send_list(method: &'static str, id: &'static str) -> Operation {
    let about = "Asks a person to approve something: a message with one link for each of two answers, of which the person \
        sends one. Only the chat it was sent to can answer, only with the text of a link, and only once. It needs a \
        gateway that starts a conversation with a text; any other is refused with the reason. The person can answer for \
        fifteen minutes; one request per recipient and minute. The replies are in `lang`, or else in the instance's \
        language. Parameters stand where those of sending a code do.";
    let example = WawpListSent::new(LIFETIME_SECS, parsed(values::AUTH_ID));
    let operation = operation(Area::Wawp, method, SEND_LIST, id, "Ask for an approval").scope(Scope::Send).about(about);
    wawp(operation.spends(), &example).problems(&[Code::InstanceDisabled, Code::InstanceFull])
}

fn verify_list(method: &'static str, id: &'static str) -> Operation {
    let about = "The answer, if there is one. To be asked every two seconds, until the status is no longer `pending`.";
    let example = WawpListVerified::new(Status::Pending, None::<Reason>);
    let operation = operation(Area::Wawp, method, VERIFY_LIST, id, "Show the answer").scope(Scope::Validate);
    wawp(operation.about(about), &example).problems(&[Code::NotFound])
}

fn wawp<T: Schema + Serialize>(operation: Operation, example: &T) -> Operation {
    operation
        .open_to(Credentials::Wawp)
        .answer(200, "It worked", "application/json", T::schema(), json!(example))
        .problems(&[Code::Unauthenticated, Code::RateLimited, Code::CrossSite, Code::InvalidRequest])
        // The body of a GET is read, too.
        .problems(&[Code::MalformedBody, Code::BodyTimeout, Code::BodyTooLarge, Code::UnsupportedMediaType])
}

fn code() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": limits::TYPED, "description": "What the person typed." })
}

fn auth_id() -> Value {
    text("As `send` answered it; `code` is another name for it.")
}

fn shown(name: &str) -> Value {
    let (longest, description) = match name {
        "title" => (limits::PURPOSE, "What the person approves; by default the name of the app."),
        "description" => (limits::DESCRIPTION, "More about it."),
        "item1" => (limits::ANSWER, "The answer that approves. It contains a letter or a digit."),
        "item2" => (limits::ANSWER, "The answer that rejects. It differs from `item1` in a letter or a digit."),
        _ => (limits::FOOTER, "Appended to the message."),
    };
    json!({ "type": "string", "maxLength": longest, "description": description })
}

fn credentials_in_query(operation: Operation) -> Operation {
    operation.query("instance_id", text("The instance's id."), Some(values::INSTANCE)).query(
        "access_token",
        text("An API token of the instance."),
        Some(values::ACCESS_TOKEN),
    )
}

fn in_query(operation: Operation) -> Operation {
    credentials_in_query(operation).query("chatId", chat(), Some(values::CODE_NUMBER))
}

fn chat() -> Value {
    text("A phone number, country code first.")
}

fn in_body(operation: Operation, more: &[(&str, &str)]) -> Operation {
    credentials_in_body(operation, &[&[("chatId", values::CODE_NUMBER)], more].concat())
}

fn credentials_in_body(operation: Operation, more: &[(&str, &str)]) -> Operation {
    let mut example = json!({ "instance_id": values::INSTANCE, "access_token": values::ACCESS_TOKEN });
    let mut properties = json!({
        "instance_id": text("The instance's id."),
        "access_token": text("An API token of the instance."),
    });
    for (name, value) in more {
        example[*name] = json!(value);
        properties[*name] = match *name {
            "chatId" => chat(),
            "code" => code(),
            "auth_id" => auth_id(),
            "lang" => text("A built-in language. For codes, an unknown one becomes English."),
            "button" => text("Ignored: a list would open with it."),
            name => shown(name),
        };
    }
    operation.json(json!({ "type": "object", "properties": properties }), example)
}
