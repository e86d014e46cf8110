//! How a verification is shown to the API's callers.

use actix_web::{HttpResponse, HttpResponseBuilder, http::StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    domain::{
        Kind, Typed, Verification, link::Link, sent_code::SentCode, time::rfc3339, token::Kind as TokenKind, whatsapp,
    },
    service::{Instance, Service, Warning, callback},
};

/// `{"success":true,"message":…,"data":…}`.
pub(super) fn success(message: &str, data: &Value) -> HttpResponse {
    envelope(HttpResponseBuilder::new(StatusCode::OK), message, data)
}

pub(super) fn envelope(mut response: HttpResponseBuilder, message: &str, data: &Value) -> HttpResponse {
    let body = serde_json::to_vec(&Envelope { success: true, message, data }).expect("it has only string keys");
    response.content_type("application/json").insert_header(("cache-control", "no-store")).body(body)
}

#[derive(Serialize)]
struct Envelope<'a> {
    success: bool,
    message: &'a str,
    data: &'a Value,
}

/// Everything the caller needs to hand the link to a person. Made again from the record each time: the code
/// is stored nowhere.
pub(super) fn link(service: &Service, instance: &Instance, record: &Verification<Link>, warnings: &[Warning]) -> Value {
    let mut data = Map::new();
    let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
    put("uuid", json!(record.id));
    put("chat_id", json!(record.chat_id()));
    put("status", json!(record.status(service.now())));
    put("otp_type", json!(record.otp_type()));
    put("expires_at", json!(rfc3339(record.expires_at)));
    put("created_at", json!(rfc3339(record.created_at)));
    if let Some(code) = service.link_code(record) {
        let text = service.prefilled(instance, record, &code);
        put("code", json!(code.as_str()));
        put("whatsapp_link", json!(whatsapp::wa_me(&instance.config.number, &text)));
        put("app_url", json!(whatsapp::app_url(&instance.config.number, &text)));
        put("text", json!(text));
    }
    if let Some(handle) = service.token(record, TokenKind::Handle) {
        put("start_url", json!(service.public(&format!("/l/{handle}"))));
        put("qr_url", json!(service.public(&format!("/l/{handle}/qr.svg"))));
    }
    put("poll_token", json!(service.token(record, TokenKind::Poll).map(|token| token.to_string())));
    put("warnings", json!(warnings));
    Value::Object(data)
}

/// A code that we send, as its caller sees it.
pub(super) fn code(
    service: &Service,
    instance: &Instance,
    record: &Verification<SentCode>,
    warnings: &[Warning],
) -> Value {
    let mut data = json!({
        "uuid": record.id,
        "chat_id": record.chat_id(),
        "status": record.status(service.now()),
        "otp_type": record.otp_type(),
        "expires_at": rfc3339(record.expires_at),
        "created_at": rfc3339(record.created_at),
        "poll_token": service.token(record, TokenKind::Poll).map(|token| token.to_string()),
        "warnings": warnings,
    });
    if let (true, Some(code)) = (instance.config.codes.in_response, service.otp(record)) {
        data["code"] = json!(code.as_str());
    }
    data
}

/// How a verification stands and what has happened to it, without what opens it or names a person.
pub(super) fn brief(service: &Service, record: &Verification) -> Value {
    let mut data = json!({
        "uuid": record.id,
        "otp_type": record.otp_type(),
        "status": record.status(service.now()),
        "reason": record.reason(),
        "created_at": rfc3339(record.created_at),
        "expires_at": rfc3339(record.expires_at),
        "ended_at": record.ended_at().map(rfc3339),
        "attempts": record.attempts,
        "client_ref": record.request.client_ref,
        "timeline": timeline(record),
    });
    put_completion(&mut data, record);
    data
}

/// How it stands, and nothing of the person.
pub(super) fn state(service: &Service, record: &Verification) -> Value {
    let mut data = json!({
        "uuid": record.id,
        "status": record.status(service.now()),
        "expires_at": rfc3339(record.expires_at),
    });
    put_completion(&mut data, record);
    data
}

/// Only a link is completed.
fn put_completion<K: Kind>(data: &mut Value, record: &Verification<K>) {
    if let Some(link) = record.as_link() {
        data["completion"] = callback::completion(link, &record.request);
    }
}

fn timeline<K>(record: &Verification<K>) -> Vec<Value> {
    let entries = record.timeline.iter();
    entries
        .map(|entry| json!({ "at": rfc3339(entry.at), "event": entry.event.to_string(), "reason": entry.reason, "by": entry.by }))
        .collect()
}

/// What lets somebody go on where a person has begun.
const SECRETS: &[&str] = &["code", "whatsapp_link", "app_url", "text", "start_url", "qr_url"];

/// One verification with what has happened to it.
pub(super) fn full(service: &Service, instance: &Instance, record: Verification, secrets: bool) -> Value {
    match record.typed() {
        Typed::Link(record) => extended(link(service, instance, &record, &[]), &record, secrets),
        Typed::Code(record) => {
            let mut data = extended(code(service, instance, &record, &[]), &record, secrets);
            data["send"] = json!(record.kind.otp.send());
            data["channel"] = json!(record.kind.otp.channel());
            data
        }
    }
}

fn extended<K: Kind>(mut data: Value, record: &Verification<K>, secrets: bool) -> Value {
    if let (false, Some(data)) = (secrets, data.as_object_mut()) {
        data.retain(|name, _| !SECRETS.contains(&name.as_str()));
        data.insert("poll_token".to_owned(), Value::Null);
    }
    let proof = record.proof();
    data["reason"] = json!(record.reason());
    data["ended_at"] = json!(record.ended_at().map(rfc3339));
    data["subject"] = callback::subject(record);
    data["push_name"] = json!(proof.and_then(|proof| proof.push_name.as_deref()));
    put_completion(&mut data, record);
    data["attempts"] = json!(record.attempts);
    data["max_attempts"] = json!(record.max_attempts);
    data["renews"] = json!(record.request.renews);
    data["purpose"] = json!(record.request.purpose);
    data["client_ref"] = json!(record.request.client_ref);
    data["metadata"] = callback::metadata(&record.request);
    data["timeline"] = json!(timeline(record));
    data
}
