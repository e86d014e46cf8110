//! The errors that each gateway documents, and the resulting `result` label of the replies metric.

use serde_json::{Value, json};

type FakeResponse = (u16, Value, &'static str);

const GONE: &str = "not_on_whatsapp";
const CLOSED: &str = "window_closed";
const DENIED: &str = "unauthorized";
const NEVER: &str = "permanent";
const USED_UP: &str = "quota";
const AGAIN: &str = "retried";
const UNKNOWN: &str = "unknown";

pub(super) fn of(kind: &str) -> Vec<FakeResponse> {
    let twilio = |code: i64| json!({ "code": code, "message": "m", "status": 400 });
    let gowa = |code: &str, message: &str| json!({ "code": code, "message": message });
    let message = |text: &str| json!({ "message": text });
    let own: Vec<FakeResponse> = match kind {
        "cloud-api" | "360dialog" | "gupshup-v3" => of_meta(),
        "twilio" => vec![
            (400, twilio(21_211), NEVER),
            (400, twilio(63_016), CLOSED),
            (400, twilio(63_018), AGAIN),
            (429, twilio(20_429), AGAIN),
            (401, twilio(20_003), DENIED),
            (400, twilio(63_024), GONE),
            (400, twilio(63_112), DENIED),
            (429, twilio(63_038), USED_UP),
        ],
        "vonage" => vec![(402, json!({ "title": "Low balance" }), NEVER), (422, json!({ "title": "Invalid" }), NEVER)],
        "waha" => vec![
            (422, json!({ "status": "SCAN_QR_CODE" }), DENIED),
            (422, json!({ "status": "STARTING" }), AGAIN),
            (422, message("no such session"), NEVER),
            (404, message("Session \"main\" does not exist"), DENIED),
            (404, message("Cannot POST /api/sendText"), NEVER),
            (500, json!({ "exception": { "message": "server returned error 463" } }), CLOSED),
        ],
        "hypersender" => vec![
            (422, json!({ "errors": { "exists": false } }), GONE),
            (422, json!({ "errors": { "chatId": ["required"] } }), NEVER),
            (423, message("restricted, 3 hours left"), CLOSED),
        ],
        "wawp" => vec![
            (403, json!({ "code": "subscription_required" }), DENIED),
            (400, json!({ "code": "invalid_access_token" }), DENIED),
            (400, json!({ "code": "wawp_upstream_error" }), AGAIN),
        ],
        "evolution" => vec![
            (400, json!({ "response": { "message": [{ "exists": false, "number": "1" }] } }), GONE),
            (400, json!({ "response": { "message": ["Error: Connection Closed"] } }), AGAIN),
            (400, json!({ "response": { "message": ["Error: Timed Out"] } }), UNKNOWN),
            (400, json!({ "response": { "message": ["SessionError: No sessions"] } }), AGAIN),
            (400, json!({ "response": { "message": ["text is required"] } }), NEVER),
            (404, json!({ "response": { "message": ["The \"main\" instance does not exist"] } }), DENIED),
            (503, json!({ "error": "LICENSE_REQUIRED" }), DENIED),
        ],
        "gowa" => vec![
            (400, gowa("INVALID_JID", "Phone 1 is not on whatsapp"), GONE),
            (400, gowa("VALIDATION_ERROR", "message: cannot be blank."), NEVER),
            (401, gowa("AUTHENTICATION_ERROR", "you are not logged in"), DENIED),
            (401, gowa("AUTHENTICATION_ERROR", "you are not connect to services server"), AGAIN),
            (500, gowa("INTERNAL_SERVER_ERROR", "server returned error 463"), CLOSED),
            (504, gowa("GATEWAY_TIMEOUT", "Request timed out"), UNKNOWN),
            (404, gowa("DEVICE_NOT_FOUND", "device not found"), DENIED),
            (400, gowa("DEVICE_ID_REQUIRED", "device_id is required"), DENIED),
        ],
        "wppconnect" => vec![
            (400, json!({ "status": "Connected", "message": "O número 1 não existe." }), GONE),
            (404, json!({ "status": "Disconnected" }), AGAIN),
            (500, json!({ "status": "Error", "message": "Erro ao enviar a mensagem." }), AGAIN),
        ],
        "wuzapi" => vec![
            (400, json!({ "code": 400, "error": "Could not parse Phone", "success": false }), NEVER),
            (500, json!({ "code": 500, "error": "server returned error 463", "success": false }), CLOSED),
            (500, json!({ "code": 500, "error": "No session", "success": false }), AGAIN),
        ],
        "green-api" => vec![
            (400, message("Validation failed"), NEVER),
            (400, json!("instance in starting process try later"), AGAIN),
            (400, json!("Instance account is expired"), DENIED),
            (403, json!({}), DENIED),
            (466, json!({ "correspondentsStatus": {} }), USED_UP),
        ],
        "whapi" => vec![(402, json!({ "error": { "code": 402 } }), DENIED), (403, json!({}), DENIED)],
        "infobip" => vec![
            (200, json!({ "messageId": "A", "status": { "groupName": "REJECTED" } }), NEVER),
            (200, json!({ "messages": [{ "messageId": "A", "status": { "groupName": "REJECTED" } }] }), NEVER),
        ],
        "evolution-go" => vec![
            (400, json!({ "error": "phone number is required" }), NEVER),
            (500, json!({ "error": "client disconnected" }), AGAIN),
        ],
        "ultramsg" => vec![(200, json!({ "error": [{ "to": "is invalid" }] }), NEVER)],
        "generic" => vec![
            (400, json!({ "error": { "code": "no_account" } }), GONE),
            (409, json!({ "error": { "code": 470 } }), CLOSED),
        ],
        "bird" | "chatwoot" | "gupshup" | "z-api" => vec![(422, message("invalid"), NEVER)],
        other => panic!("{other} documents no errors"),
    };
    own.into_iter().chain(of_whatsapp(kind)).chain(of_every_kind()).collect()
}

/// The errors of WhatsApp's own client, which gateways that are clients pass on.
fn of_whatsapp(kind: &str) -> Vec<FakeResponse> {
    match kind {
        "waha" | "evolution" | "evolution-go" | "gowa" | "wppconnect" | "wuzapi" | "whapi" | "hypersender" | "wawp" => {
            vec![
                (500, json!({ "error": "server returned error 463" }), CLOSED),
                (500, json!({ "error": "no LID found for 447700900123@s.whatsapp.net from server" }), GONE),
            ]
        }
        _ => Vec::new(),
    }
}

/// A text that begins with `<` is sent as it is.
fn of_every_kind() -> Vec<FakeResponse> {
    vec![
        (401, json!({}), DENIED),
        (429, json!({}), AGAIN),
        (500, json!({}), AGAIN),
        (404, json!({}), NEVER),
        (200, json!("<!doctype html><title>Log in</title>"), AGAIN),
        (403, json!("<html>blocked</html>"), AGAIN),
        (200, json!({ "error": "something went wrong" }), NEVER),
        (200, json!({ "status": "error", "message": "x" }), NEVER),
    ]
}

fn of_meta() -> Vec<FakeResponse> {
    let meta = |code: i64| json!({ "error": { "message": "m", "code": code } });
    vec![
        (401, meta(190), DENIED),
        (400, meta(100), NEVER),
        (400, meta(131_008), NEVER),
        (400, meta(131_009), NEVER),
        (400, meta(4), AGAIN),
        (400, meta(80_007), AGAIN),
        (400, meta(130_429), AGAIN),
        (400, meta(131_056), AGAIN),
        (400, meta(131_026), GONE),
        (400, meta(131_047), CLOSED),
        (400, meta(131_049), NEVER),
        (500, meta(131_000), AGAIN),
        (400, meta(131_042), DENIED),
        (400, meta(131_048), AGAIN),
        (400, meta(132_001), NEVER),
        (400, meta(133_010), DENIED),
    ]
}
