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
        wawp::{WawpSent, WawpVerified},
    },
    domain::scope::Scope,
    http::problem::Code,
};

const SEND: &str = "/v2/auth/otp/send";
const VERIFY: &str = "/v2/auth/otp/verify";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        in_query(send("GET", "wawpSendByQuery")),
        in_body(send("POST", "wawpSend"), &[("lang", "en"), ("footer", "Sent by Harbour")]),
        in_query(verify("GET", "wawpVerifyByQuery")).query("code", code(), Some(values::OTP)),
        in_body(verify("POST", "wawpVerify"), &[("code", values::OTP)]),
    ]
}

fn send(method: &'static str, id: &'static str) -> Operation {
    let about = "Six digits, for five minutes, in the language asked for; one code per recipient and minute. Parameters \
        may stand in the query, a JSON body or a form; the token also in `Authorization: Bearer` or `access-token`, the \
        instance in `X-Instance-ID`. The GET acts: it is refused where a browser sends it by itself.";
    let example = WawpSent::new(300, parsed(values::CODE_UUID));
    wawp(operation(Area::Wawp, method, SEND, id, "Send a code").scope(Scope::Send).about(about), &example)
        .problems(&[Code::InstanceDisabled, Code::InstanceFull])
}

fn verify(method: &'static str, id: &'static str) -> Operation {
    let about = "Five wrong tries lock the recipient for fifteen minutes. Parameters stand where those of sending do.";
    let example = WawpVerified::new(false);
    wawp(operation(Area::Wawp, method, VERIFY, id, "Check a code").scope(Scope::Validate).about(about), &example)
        .problems(&[Code::CodeWrong, Code::CodeExpired, Code::CodeUsed, Code::CodeNotActive])
}

fn wawp<T: Schema + Serialize>(operation: Operation, example: &T) -> Operation {
    operation
        .open_to(Credentials::Wawp)
        .spends()
        .answer(200, "It worked", "application/json", T::schema(), json!(example))
        .problems(&[Code::Unauthenticated, Code::RateLimited, Code::CrossSite, Code::InvalidRequest])
        // The body of a GET is read, too.
        .problems(&[Code::MalformedBody, Code::BodyTimeout, Code::BodyTooLarge, Code::UnsupportedMediaType])
}

fn code() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": limits::TYPED, "description": "What the person typed." })
}

fn in_query(operation: Operation) -> Operation {
    operation
        .query("instance_id", text("The instance's id."), Some(values::INSTANCE))
        .query("access_token", text("An API token of the instance."), Some(values::ACCESS_TOKEN))
        .query("chatId", text("A phone number, country code first."), Some(values::CODE_NUMBER))
}

fn in_body(operation: Operation, more: &[(&str, &str)]) -> Operation {
    let mut example = json!({
        "instance_id": values::INSTANCE,
        "access_token": values::ACCESS_TOKEN,
        "chatId": values::CODE_NUMBER,
    });
    let mut properties = json!({
        "instance_id": text("The instance's id."),
        "access_token": text("An API token of the instance."),
        "chatId": text("A phone number, country code first."),
    });
    for (name, value) in more {
        example[*name] = json!(value);
        properties[*name] = match *name {
            "code" => code(),
            "lang" => text("A built-in language; an unknown one becomes English."),
            _ => json!({ "type": "string", "maxLength": limits::FOOTER, "description": "Appended to the message." }),
        };
    }
    operation.json(json!({ "type": "object", "properties": properties }), example)
}
