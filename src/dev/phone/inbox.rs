//! The endpoints that the daemon sends to: the gateway's API for messages, and the app's callback URL.

use std::sync::atomic::Ordering;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{Bytes, Data, Json},
};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::{Bubble, ChatSide, FakePhone, ReceivedCallback};
use crate::{
    domain::{Chat, Subject, standard_webhooks},
    random,
};

/// The body of a message, as the `simulator` gateway sends it.
#[derive(Deserialize)]
pub(super) struct OutgoingMessage {
    to: String,
    text: String,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    code: bool,
}

/// `POST /messages`: the gateway's API.
pub(super) async fn message(
    phone: Data<FakePhone>,
    request: HttpRequest,
    reply: Json<OutgoingMessage>,
) -> HttpResponse {
    let OutgoingMessage { to, text, channel, code } = reply.into_inner();
    let sms = channel == "sms";
    let key = if sms { phone.identity.sms_api_key.as_ref() } else { Some(&phone.identity.api_key) };
    let given = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], header::HeaderValue::as_bytes);
    let expected = key.map(|key| format!("Bearer {}", key.expose_secret()));
    if !expected.is_some_and(|expected| given.ct_eq(expected.as_bytes()).into()) {
        return HttpResponse::Unauthorized().finish();
    }
    if code && !sms && phone.no_whatsapp.load(Ordering::Relaxed) {
        return HttpResponse::NotFound().json(json!({ "message": "this number is not on WhatsApp" }));
    }
    let chat = if code { page_chat_id(&to) } else { to };
    phone.record(|history, at| {
        let before = if code { history.code_requested_at } else { history.last_message_at(&chat) };
        let millis = before.and_then(|before| u64::try_from(at - before).ok());
        let side = ChatSide::Business;
        history.add_bubble(|id| Bubble { id, at, side, chat, text, note: None, status: None, millis, sms, code });
    });
    HttpResponse::Ok().json(json!({ "id": format!("SIM{:016X}", u64::from_be_bytes(random::bytes())) }))
}

/// The chat id in the notation of the page. The daemon normalizes ids, so it may differ from what the app sent.
fn page_chat_id(to: &str) -> String {
    match to.parse::<Chat>().map(|chat| chat.subject().clone()) {
        Ok(Subject::Phone(phone)) => phone.e164(),
        Ok(other) => other.chat_id(),
        Err(_) => to.to_owned(),
    }
}

/// `POST /inbox`: the app's callback URL. Callbacks with an invalid signature are recorded too, so that they can be
/// debugged.
pub(super) async fn callback(phone: Data<FakePhone>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let webhook_id = header("webhook-id").to_owned();
    let (at, signed) = (header("webhook-timestamp"), header("webhook-signature"));
    let genuine = standard_webhooks::verify(&phone.identity.callback_secrets, &webhook_id, at, &body, signed);
    let kind =
        serde_json::from_slice::<Value>(&body).ok().and_then(|body| Some(body.get("type")?.as_str()?.to_owned()));
    let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut headers: Vec<(String, String)> =
        request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    headers.sort_unstable();
    let answered = phone.inbox_status();
    phone.record(|history, at| {
        history.add_callback(|id| ReceivedCallback {
            id,
            at,
            kind: kind.unwrap_or_else(|| "unknown".to_owned()),
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
            genuine,
            attempt: 1,
            webhook_id,
            status: answered,
        });
    });
    HttpResponse::build(StatusCode::from_u16(answered).unwrap_or_default()).finish()
}
