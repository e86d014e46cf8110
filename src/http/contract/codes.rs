//! Operations on codes that we send: request, validate and resend.

use serde_json::{Value, json};

use super::{
    examples,
    operation::{Area, Operation, operation},
    schema::language,
    values,
};
use crate::{
    api::limits,
    domain::{Status, scope::Scope},
    http::problem::Code,
};

pub(super) fn operations() -> Vec<Operation> {
    vec![request(), validate(), resend()]
}

fn request() -> Operation {
    let about = "The message is queued; `code.sent` reports that a gateway has accepted it. One code counts per chat: a new \
        one replaces it. `code` is absent where the instance keeps codes from its callers.";
    operation(Area::Codes, "POST", "/api/otp/v2/{instance}/request-code", "requestCode", "Send a code")
        .scope(Scope::Send)
        .about(about)
        .idempotent("code-7")
        .spends()
        .json(request_body(), request_example())
        .envelope("OTP code generated and message queued successfully", &examples::code(Status::Pending))
        .problems(&[Code::InstanceDisabled, Code::InstanceFull])
}

fn request_body() -> Value {
    let flag =
        |default: bool, about: &str| json!({ "type": ["boolean", "null"], "default": default, "description": about });
    let number = |least: u32, most: u32, default: u32, about: &str| {
        json!({
            "type": ["integer", "null"], "minimum": least, "maximum": most, "default": default, "description": about,
        })
    };
    let short =
        |longest: usize, about: &str| json!({ "type": ["string", "null"], "maxLength": longest, "description": about });
    json!({
        "type": "object",
        "required": ["chatId"],
        "properties": {
            "chatId": chat(),
            "length": number(*limits::CODE_LENGTH.start(), *limits::CODE_LENGTH.end(), 6, "Characters."),
            "useLetter": flag(false, "Letters, lower case unless `allCapital`."),
            "useNumber": flag(true, "Digits. Not false together with `useLetter`."),
            "allCapital": flag(false, "Upper-case letters."),
            "name": short(limits::APP_NAME, "The application's name in the message; must not be an address."),
            "expires": number(60, 1800, 1800, "Seconds until it is too old; the instance can change the bounds."),
            "lang": language(),
            "purpose": short(limits::PURPOSE, "A label of yours, echoed."),
            "client_ref": short(limits::CLIENT_REF, "A reference of yours, echoed; lists can filter on it."),
            "metadata": { "description": "Any JSON up to 2 KB, echoed." },
            "client_ip": short(limits::CLIENT_IP, "Where the person's browser is."),
            "user_agent": short(limits::USER_AGENT, "What the person's browser says it is."),
        },
    })
}

fn request_example() -> Value {
    json!({ "chatId": values::CODE_CHAT, "length": 6, "name": "Harbour", "expires": 900 })
}

fn chat() -> Value {
    json!({ "type": "string", "maxLength": limits::CHAT, "description": "`<digits>@c.us`, an E.164 number or `<id>@lid`." })
}

fn validate() -> Operation {
    let about = "What was typed is compared with the code that counts for the chat: in any case, with spaces and \
        hyphens, in the digits of any language. Five wrong tries end a code. Fifteen in fifteen minutes lock the chat \
        (429) for the rest of them, whatever codes are asked for meanwhile; a hundred in a row lock it for a day \
        (`code_locked`), unless it proves itself by a link. A right one forgives all. `attempts_remaining` stands beside \
        `code_wrong`; the last wrong try is `attempts_exhausted`. With `uuid` only the code of that request is compared. \
        A repeat with the same `Idempotency-Key` gets the same answer and counts nothing.";
    let body = json!({
        "type": "object",
        "required": ["code"],
        "properties": {
            "chatId": chat(),
            "uuid": { "type": "string", "format": "uuid", "description": "In the place of `chatId`: the request whose code was typed." },
            "code": { "type": "string", "minLength": 1, "maxLength": limits::TYPED, "description": "What the person typed." },
        },
    });
    operation(Area::Codes, "POST", "/api/otp/v2/{instance}/validate-code", "validateCode", "Check a code")
        .scope(Scope::Validate)
        .about(about)
        .idempotent("try-7")
        .json(body, json!({ "chatId": values::CODE_CHAT, "code": values::OTP }))
        .spends()
        .envelope("OTP code validated successfully", &examples::validated())
        .problems(&[
            Code::CodeWrong,
            Code::AttemptsExhausted,
            Code::CodeExpired,
            Code::CodeUsed,
            Code::CodeNotActive,
            Code::CodeLocked,
        ])
}

fn resend() -> Operation {
    let about = "The same code, to the same chat, at most once a minute. Starts at the first channel that has not \
        failed.";
    operation(Area::Codes, "POST", "/api/otp/v2/{instance}/requests/{uuid}/resend", "resendCode", "Send it again")
        .scope(Scope::Send)
        .about(about)
        .spends()
        .envelope("OTP code queued again", &examples::code(Status::Sent))
        .problems(&[
            Code::InstanceDisabled,
            Code::CodeExpired,
            Code::CodeUsed,
            Code::AttemptsExhausted,
            Code::CodeNotActive,
            Code::NothingToSend,
        ])
}
