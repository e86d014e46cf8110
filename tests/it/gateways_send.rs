//! The request that each self-hosted gateway is sent for a text message, and how its responses are classified.

use std::sync::Arc;

use countersign::{
    domain::{DeliveryFailure, Subject},
    gateway::{self, Gateway, LidLookup, Purpose, Refusal, SendResult},
    reader::Table,
};
use http::{Request, Response};
use serde_json::{Value, json};

const SECRET: &str = "a-webhook-secret-of-more-than-24-bytes";
const PHONE: &str = "447700900123@s.whatsapp.net";
const LID: &str = "190000000000117@lid";
const TEXT: &str = "Welcome: https://app.example.test/?a=1&b=é";

pub(crate) fn build(mut settings: Value) -> Arc<dyn Gateway> {
    settings["webhook_secret"] = json!(SECRET);
    let table = Table::new("gateway", settings.as_object().unwrap().clone());
    gateway::build(&table, Purpose::Serve, "https://verify.example.test/hook")
        .unwrap_or_else(|faults| panic!("{faults}"))
}

fn settings(kind: &str) -> Value {
    match kind {
        "waha" => json!({ "kind": kind, "url": "http://gw.test/", "api_key": "k", "session": "a b" }),
        "evolution" => json!({ "kind": kind, "url": "http://gw.test", "api_key": "k", "instance": "My Shop/1" }),
        "gowa" => json!({ "kind": kind, "url": "http://gw.test", "basic_auth": "user:pass", "device": "one" }),
        "wppconnect" => json!({ "kind": kind, "url": "http://gw.test", "api_key": "k", "session": "main" }),
        "wuzapi" => json!({ "kind": kind, "url": "http://gw.test/base/", "api_key": "k" }),
        "green-api" => json!({ "kind": kind, "instance": "1100000777", "api_key": "k" }),
        "whapi" => json!({ "kind": kind, "api_key": "k" }),
        _ => unreachable!(),
    }
}

fn header<'a>(request: &'a Request<Vec<u8>>, name: &str) -> &'a str {
    request.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Kind, chat, URL, a header, body.
type ExpectedRequest = (&'static str, &'static str, &'static str, (&'static str, &'static str), Value);

fn requests() -> Vec<ExpectedRequest> {
    let waha = |chat| json!({ "session": "a b", "chatId": chat, "text": TEXT, "linkPreview": false });
    let evolution = |number| json!({ "number": number, "text": TEXT, "linkPreview": false });
    let wpp = |phone, is_lid| json!({ "phone": phone, "isGroup": false, "isNewsletter": false, "isLid": is_lid, "message": TEXT });
    let wuzapi = |phone| json!({ "Phone": phone, "Body": TEXT, "LinkPreview": false });
    let green = |chat| json!({ "chatId": chat, "message": TEXT, "linkPreview": false });
    let whapi = |to| json!({ "to": to, "body": TEXT, "no_link_preview": true });
    let green_url = "https://api.green-api.com/waInstance1100000777/sendMessage/k";
    let whapi_url = "https://gate.whapi.cloud/messages/text";
    let evolution_url = "http://gw.test/message/sendText/My%20Shop%2F1";
    let (apikey, bearer, basic) = (("apikey", "k"), ("authorization", "Bearer k"), "Basic dXNlcjpwYXNz");
    let (wpp_url, gowa_url) = ("http://gw.test/api/main/send-message", "http://gw.test/send/message");
    let wuzapi_url = "http://gw.test/base/chat/send/text";
    vec![
        ("waha", "447700900123@c.us", "http://gw.test/api/sendText", ("x-api-key", "k"), waha("447700900123@c.us")),
        ("waha", LID, "http://gw.test/api/sendText", ("x-api-key", "k"), waha(LID)),
        ("evolution", PHONE, evolution_url, apikey, evolution(PHONE)),
        ("evolution", "447700900123@c.us", evolution_url, apikey, evolution(PHONE)),
        ("evolution", LID, evolution_url, apikey, evolution(LID)),
        ("gowa", PHONE, gowa_url, ("authorization", basic), json!({ "phone": PHONE, "message": TEXT })),
        ("gowa", LID, gowa_url, ("x-device-id", "one"), json!({ "phone": LID, "message": TEXT })),
        ("wppconnect", "447700900123@c.us", wpp_url, bearer, wpp("447700900123", false)),
        ("wppconnect", "447700900123:7@c.us", wpp_url, bearer, wpp("447700900123", false)),
        ("wppconnect", LID, wpp_url, bearer, wpp("190000000000117", true)),
        ("wuzapi", "447700900123:12@s.whatsapp.net", wuzapi_url, ("token", "k"), wuzapi("447700900123")),
        ("wuzapi", LID, wuzapi_url, ("token", "k"), wuzapi(LID)),
        ("green-api", "447700900123@c.us", green_url, ("authorization", ""), green("447700900123@c.us")),
        ("green-api", PHONE, green_url, ("authorization", ""), green("447700900123@c.us")),
        ("green-api", LID, green_url, ("authorization", ""), green(LID)),
        ("whapi", PHONE, whapi_url, bearer, whapi(PHONE)),
        ("whapi", LID, whapi_url, bearer, whapi(LID)),
    ]
}

#[test]
fn every_gateway_is_sent_its_documented_request() {
    for (kind, chat, url, (name, value), body) in requests() {
        let request = build(settings(kind)).text_message(chat, None, TEXT);
        assert_eq!(request.method(), "POST", "{kind} {chat}");
        assert_eq!(request.uri().to_string(), url, "{kind} {chat}");
        assert_eq!(header(&request, name), value, "{kind} {chat}");
        assert_eq!(header(&request, "content-type"), "application/json", "{kind} {chat}");
        assert_eq!(serde_json::from_slice::<Value>(request.body()).unwrap(), body, "{kind} {chat}");
    }
}

#[test]
fn a_known_phone_is_preferred_to_a_lid() {
    let phone = Subject::Phone("447700900123".parse().unwrap());
    for (kind, pointer, address) in [
        ("evolution", "/number", PHONE),
        ("gowa", "/phone", PHONE),
        ("wppconnect", "/phone", "447700900123"),
        ("wuzapi", "/Phone", "447700900123"),
        ("green-api", "/chatId", "447700900123@c.us"),
        ("whapi", "/to", PHONE),
    ] {
        let request = build(settings(kind)).text_message(LID, Some(&phone), TEXT);
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body.pointer(pointer), Some(&json!(address)), "{kind}");
    }
}

/// Kind, status, body, meaning.
fn answers() -> Vec<(&'static str, u16, Value, SendResult)> {
    let accepted = |id: &str| SendResult::Accepted { id: Some(id.to_owned()) };
    let retry = |why| SendResult::Retryable { reason: why };
    let (busy, broken, offline) = (
        retry(DeliveryFailure::RateLimited),
        retry(DeliveryFailure::GatewayError),
        retry(DeliveryFailure::NotConnected),
    );
    let perhaps = SendResult::Unknown { reason: DeliveryFailure::GatewayTimeout };
    let absent = SendResult::Refused(Refusal::NotOnWhatsApp);
    let locked = SendResult::Refused(Refusal::WindowClosed);
    let denied = SendResult::Refused(Refusal::Unauthorized);
    let permanent = SendResult::Refused(Refusal::Permanent);
    let unknown = json!({ "response": { "message": [{ "exists": false, "jid": PHONE, "number": "447700900123" }] } });
    let closed = json!({ "status": 400, "response": { "message": ["Error: Connection Closed"] } });
    let invalid = json!({ "status": 400, "response": { "message": [["instance requires property \"text\""]] } });
    let gowa = |code: &str, message: &str| json!({ "code": code, "message": message });
    let wuzapi = |code: u16, error: &str| json!({ "code": code, "error": error, "success": false });
    let wpp = |status: &str| json!({ "response": null, "status": status, "message": "O número 1 não existe." });
    vec![
        ("waha", 201, json!({ "id": { "_serialized": "true_1@c.us_A" } }), accepted("true_1@c.us_A")),
        ("waha", 201, json!({ "key": { "id": "A" } }), accepted("A")),
        ("waha", 201, json!({ "id": "A" }), accepted("A")),
        ("waha", 401, json!({ "message": "Unauthorized" }), denied.clone()),
        ("waha", 422, json!({ "status": "SCAN_QR_CODE" }), denied.clone()),
        ("waha", 422, json!({ "status": "STARTING" }), offline.clone()),
        ("waha", 422, json!({ "message": "no such session" }), permanent.clone()),
        ("waha", 500, json!({ "exception": { "message": "server returned error 463" } }), locked.clone()),
        ("waha", 500, json!({}), broken.clone()),
        ("evolution", 201, json!({ "key": { "id": "A", "remoteJid": PHONE }, "status": "PENDING" }), accepted("A")),
        ("evolution", 400, unknown, absent.clone()),
        ("evolution", 400, closed, offline.clone()),
        ("evolution", 400, invalid, permanent.clone()),
        ("evolution", 401, json!({ "response": { "message": "Unauthorized" } }), denied.clone()),
        ("evolution", 404, json!({ "response": { "message": ["The \"x\" instance does not exist"] } }), denied.clone()),
        ("evolution", 500, json!({}), broken.clone()),
        ("evolution", 503, json!({ "error": "LICENSE_REQUIRED" }), denied.clone()),
        ("evolution", 503, json!("upstream"), broken.clone()),
        ("gowa", 200, json!({ "code": "SUCCESS", "results": { "message_id": "A", "status": "sent" } }), accepted("A")),
        ("gowa", 400, gowa("INVALID_JID", "Phone 1 is not on whatsapp"), absent.clone()),
        ("gowa", 400, gowa("VALIDATION_ERROR", "message: cannot be blank."), permanent.clone()),
        ("gowa", 400, gowa("DEVICE_ID_REQUIRED", "device_id is required"), denied.clone()),
        ("gowa", 401, json!("Unauthorized"), denied.clone()),
        ("gowa", 401, gowa("AUTHENTICATION_ERROR", "you are not logged in"), denied.clone()),
        ("gowa", 401, gowa("AUTHENTICATION_ERROR", "you are not connect to services server"), offline.clone()),
        ("gowa", 429, gowa("WA_REACHOUT_TIMELOCK", "WhatsApp rejected this send with error 463"), locked.clone()),
        ("gowa", 500, gowa("INTERNAL_SERVER_ERROR", "server returned error 463"), locked.clone()),
        ("gowa", 500, gowa("INTERNAL_SERVER_ERROR", "websocket not connected"), broken.clone()),
        ("gowa", 504, gowa("GATEWAY_TIMEOUT", "Request timed out"), perhaps),
        (
            "wppconnect",
            201,
            json!({ "status": "success", "response": [{ "id": "true_1@c.us_A" }] }),
            accepted("true_1@c.us_A"),
        ),
        ("wppconnect", 201, json!({ "response": [{ "id": { "_serialized": "A" } }] }), accepted("A")),
        ("wppconnect", 400, wpp("Connected"), absent),
        ("wppconnect", 401, json!({ "message": "Token is not present" }), denied.clone()),
        ("wppconnect", 404, wpp("Disconnected"), offline.clone()),
        ("wppconnect", 404, json!("Cannot POST"), permanent.clone()),
        ("wppconnect", 500, json!({ "status": "Error", "message": "Erro ao enviar a mensagem." }), broken.clone()),
        (
            "wuzapi",
            200,
            json!({ "code": 200, "data": { "Details": "Sent", "Id": "A" }, "success": true }),
            accepted("A"),
        ),
        ("wuzapi", 200, json!({ "success": false }), retry(DeliveryFailure::NotSent)),
        ("wuzapi", 400, wuzapi(400, "Could not parse Phone"), permanent.clone()),
        ("wuzapi", 401, wuzapi(401, "Unauthorized"), denied.clone()),
        ("wuzapi", 500, wuzapi(500, "Error sending message: server returned error 463"), locked),
        ("wuzapi", 500, wuzapi(500, "No session"), offline.clone()),
        ("green-api", 200, json!({ "idMessage": "A" }), accepted("A")),
        ("green-api", 400, json!("instance in starting process try later"), offline.clone()),
        ("green-api", 400, json!("instance is starting or not authorized"), offline),
        ("green-api", 400, json!("Instance account is expired. Renew your instance"), denied.clone()),
        ("green-api", 400, json!({ "message": "Validation failed. Details: 'chatId' is required" }), permanent.clone()),
        ("green-api", 401, json!({}), denied.clone()),
        ("green-api", 403, json!({}), denied.clone()),
        ("green-api", 429, json!({}), busy.clone()),
        (
            "green-api",
            466,
            json!({ "correspondentsStatus": { "status": "QUOTE_EXCEEDED" } }),
            SendResult::Refused(Refusal::Quota),
        ),
        ("whapi", 200, json!({ "sent": true, "message": { "id": "A" } }), accepted("A")),
        ("whapi", 200, json!({ "sent": false }), retry(DeliveryFailure::NotSent)),
        ("whapi", 400, json!({ "error": { "code": 400 } }), permanent),
        ("whapi", 402, json!({ "error": { "code": 402 } }), denied.clone()),
        ("whapi", 403, json!({}), denied),
        ("whapi", 429, json!({}), busy),
        ("whapi", 503, json!({}), broken),
    ]
}

#[test]
fn every_response_is_classified() {
    for (kind, status, body, meaning) in answers() {
        let response = Response::builder().status(status).body(body.to_string().into_bytes()).unwrap();
        assert_eq!(build(settings(kind)).parse_send_response(&response), meaning, "{kind} {status} {body}");
    }
    for kind in ["waha", "evolution", "gowa", "wppconnect", "wuzapi", "green-api", "whapi"] {
        let busy = Response::builder().status(429).body(b"<html>".to_vec()).unwrap();
        assert_eq!(
            build(settings(kind)).parse_send_response(&busy),
            SendResult::Retryable { reason: DeliveryFailure::RateLimited },
            "{kind}"
        );
        let empty = Response::builder().status(200).body(Vec::new()).unwrap();
        assert_eq!(build(settings(kind)).parse_send_response(&empty), SendResult::Accepted { id: None }, "{kind}");
    }
}

#[test]
fn the_phone_of_a_lid_is_looked_up() {
    let known = json!({ "lid": LID, "pn": "447700900123@c.us" });
    let entry = json!({ "lid": { "_serialized": LID }, "phoneNumber": { "_serialized": "447700900123@c.us" } });
    let serialized = |jid: &Value| json!({ "lid": { "_serialized": LID }, "phoneNumber": jid });
    for (kind, url, key, answer, unknown, hidden) in [
        (
            "waha",
            "http://gw.test/api/a%20b/lids/190000000000117",
            ("x-api-key", "k"),
            known,
            json!({ "lid": LID, "pn": null }),
            json!({ "lid": LID, "pn": LID }),
        ),
        (
            "wppconnect",
            "http://gw.test/api/main/contact/pn-lid/190000000000117@lid",
            ("authorization", "Bearer k"),
            entry,
            serialized(&Value::Null),
            serialized(&json!({ "_serialized": LID })),
        ),
    ] {
        let gateway = build(settings(kind));
        for lid in ["190000000000117", LID] {
            let request = gateway.lid_lookup(lid).unwrap();
            assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("GET", url));
            assert_eq!(header(&request, key.0), key.1);
        }
        let respond = |status: u16, body: &Value| {
            let response = Response::builder().status(status).body(body.to_string().into_bytes()).unwrap();
            gateway.parse_lid_lookup(&response)
        };
        assert_eq!(respond(200, &answer), LidLookup::Resolved("447700900123".parse().unwrap()), "{kind}");
        assert_eq!(respond(200, &unknown), LidLookup::Pending, "{kind}");
        assert_eq!(respond(200, &hidden), LidLookup::NotResolvable, "{kind}");
        for status in [401, 403, 404, 422, 429, 500, 503] {
            assert_eq!(respond(status, &answer), LidLookup::Failed, "{kind}");
        }
        assert_eq!(respond(200, &json!("a page of a proxy")), LidLookup::Failed, "{kind}");
        let older = json!({ "statusCode": 404, "message": "Cannot GET /api/default/lids/1", "error": "Not Found" });
        assert_eq!(respond(404, &older) == LidLookup::NotResolvable, kind == "waha");
    }
    for kind in ["evolution", "gowa", "wuzapi", "green-api", "whapi"] {
        assert!(build(settings(kind)).lid_lookup(LID).is_none(), "{kind}");
    }
}
