//! How each gateway's responses to a send request are classified.

use countersign::gateway::{Refusal, SendResult};
use http::Response;
use serde_json::{Value, json};

use crate::gateways_replies::gateway;

fn accepted(id: &str) -> SendResult {
    SendResult::Accepted { id: (!id.is_empty()).then(|| id.to_owned()) }
}

fn retry(why: &'static str) -> SendResult {
    SendResult::Retryable { reason: why }
}

fn unknown() -> SendResult {
    SendResult::Unknown { reason: "gateway_timeout" }
}

fn refused(refusal: Refusal) -> SendResult {
    SendResult::Refused(refusal)
}

#[track_caller]
fn answers(kind: &str, table: &[(u16, Value, SendResult)]) {
    let gateway = gateway(kind);
    for (status, body, wanted) in table {
        let response = Response::builder().status(*status);
        let response = response.body(body.to_string().into_bytes()).unwrap();
        assert_eq!(gateway.parse_send_response(&response), *wanted, "{kind} {status} {body}");
    }
    for (status, wanted) in [
        (401, refused(Refusal::Unauthorized)),
        (404, refused(Refusal::Permanent)),
        (429, retry("rate_limited")),
        (502, retry("gateway_error")),
        (504, unknown()),
        (524, unknown()),
    ] {
        let html = Response::builder().status(status).body(b"<html>".to_vec()).unwrap();
        assert_eq!(gateway.parse_send_response(&html), wanted, "{kind} {status}");
    }
    let empty = Response::builder().status(200).body(Vec::new()).unwrap();
    assert_eq!(gateway.parse_send_response(&empty), accepted(""), "{kind}");
}

#[test]
fn errors_of_meta_and_its_resellers() {
    let error = |code: i64| json!({ "error": { "message": "m", "type": "OAuthException", "code": code } });
    let sent = json!({ "messaging_product": "whatsapp", "messages": [{ "id": "wamid.X" }] });
    for kind in ["cloud-api", "360dialog", "gupshup-v3"] {
        answers(
            kind,
            &[
                (200, sent.clone(), accepted("wamid.X")),
                (401, error(190), refused(Refusal::Unauthorized)),
                (400, error(190), refused(Refusal::Unauthorized)),
                (403, error(10), refused(Refusal::Unauthorized)),
                (400, error(100), refused(Refusal::Permanent)),
                (400, error(131_008), refused(Refusal::Permanent)),
                (400, error(131_009), refused(Refusal::Permanent)),
                (400, error(4), retry("rate_limited")),
                (400, error(80_007), retry("rate_limited")),
                (400, error(130_429), retry("rate_limited")),
                (400, error(131_056), retry("rate_limited")),
                (400, error(131_026), refused(Refusal::NotOnWhatsApp)),
                (400, error(131_047), refused(Refusal::WindowClosed)),
                (400, error(131_049), refused(Refusal::Permanent)),
                (500, error(131_000), retry("gateway_error")),
                (400, error(131_000), retry("gateway_error")),
            ],
        );
    }
    let words = |text: &str| json!({ "meta": { "success": false, "developer_message": text } });
    answers(
        "360dialog",
        &[
            (400, words("You have exceeded the endpoint rate limit."), retry("rate_limited")),
            (400, words("Could not send message due to lack of payment."), refused(Refusal::Permanent)),
            (403, words("The endpoint is blocked"), refused(Refusal::Unauthorized)),
        ],
    );
}

#[test]
fn errors_of_hypersender_and_wawp() {
    answers(
        "hypersender",
        &[
            (200, json!({ "queued": true, "queued_request_uuid": "u", "queued_request_link": "l" }), accepted("")),
            (201, json!({ "key": { "id": "3EB0" }, "status": "PENDING" }), accepted("3EB0")),
            (422, json!({ "errors": { "exists": false }, "statusCode": 422 }), refused(Refusal::NotOnWhatsApp)),
            (422, json!({ "errors": { "chatId": ["required"] } }), refused(Refusal::Permanent)),
            (423, json!({ "message": "restricted, 3 hours left" }), refused(Refusal::WindowClosed)),
        ],
    );
    answers(
        "wawp",
        &[
            (200, json!({ "id": "true_447700900123@c.us_3EB0" }), accepted("true_447700900123@c.us_3EB0")),
            (200, json!({ "id": { "_serialized": "true_x_3EB0" } }), accepted("true_x_3EB0")),
            (400, json!({ "code": "invalid_instance" }), refused(Refusal::Unauthorized)),
            (400, json!({ "code": "invalid_access_token" }), refused(Refusal::Unauthorized)),
            (403, json!({ "code": "subscription_required" }), refused(Refusal::Unauthorized)),
            (400, json!({ "code": "wawp_upstream_error" }), retry("gateway_error")),
        ],
    );
}

#[test]
fn errors_of_twilio_vonage_bird_and_chatwoot() {
    let twilio = |code: i64| json!({ "code": code, "message": "m", "more_info": "i", "status": 400 });
    answers(
        "twilio",
        &[
            (201, json!({ "sid": "SM1", "status": "queued" }), accepted("SM1")),
            (400, twilio(21_211), refused(Refusal::Permanent)),
            (400, twilio(63_016), refused(Refusal::WindowClosed)),
            (400, twilio(63_018), retry("rate_limited")),
            (429, twilio(20_429), retry("rate_limited")),
            (401, twilio(20_003), refused(Refusal::Unauthorized)),
            (400, twilio(21_610), refused(Refusal::Permanent)),
        ],
    );
    answers(
        "vonage",
        &[
            (202, json!({ "message_uuid": "u" }), accepted("u")),
            (401, json!({ "title": "Unauthorized" }), refused(Refusal::Unauthorized)),
            (402, json!({ "title": "Low balance" }), refused(Refusal::Permanent)),
            (422, json!({ "title": "Invalid params" }), refused(Refusal::Permanent)),
            (429, json!({ "title": "Rate Limit Hit" }), retry("rate_limited")),
        ],
    );
    answers("bird", &[(202, json!({ "id": "m1", "status": "accepted" }), accepted("m1"))]);
    answers("chatwoot", &[(200, json!({ "id": 503, "message_type": 1 }), accepted("503"))]);
}
