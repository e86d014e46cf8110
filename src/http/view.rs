//! How a verification is shown to the API's callers.

use actix_web::{HttpResponse, HttpResponseBuilder, http::StatusCode};
use serde::Serialize;

use crate::{
    api::{
        Time, Warning,
        callback::CallbackEntry,
        explanation::{ExplainedEvent, ExplainedRequest},
        verification::{Code, CodeRequest, Completion, Details, Link, LinkRequest, Progress, Request},
    },
    domain::{Verification, sending::Channel, token::Kind, whatsapp},
    service::{Instance, Service},
};

/// `{"success":true,"message":…,"data":…}`.
pub(super) fn success(message: &str, data: &impl Serialize) -> HttpResponse {
    envelope(HttpResponseBuilder::new(StatusCode::OK), message, data)
}

pub(super) fn envelope(mut response: HttpResponseBuilder, message: &str, data: &impl Serialize) -> HttpResponse {
    let body = written(&Envelope { success: true, message, data });
    response.content_type("application/json").insert_header(("cache-control", "no-store")).body(body)
}

/// JSON of a type of the wire.
pub(super) fn written(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("types of the wire have only string keys")
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    success: bool,
    message: &'a str,
    data: &'a T,
}

/// Everything the caller needs to hand the link to a person. Made again from the record each time: the code
/// is stored nowhere.
pub(super) fn link(service: &Service, instance: &Instance, record: &Verification, warnings: &[Warning]) -> Link {
    let number = &instance.config.number;
    let code = service.code(record);
    let text = code.as_ref().map(|code| service.prefilled(instance, record, code));
    let handle = service.token(record, Kind::Handle);
    Link {
        uuid: record.id,
        chat_id: record.chat_id(),
        status: record.status(service.now()),
        otp_type: "link",
        expires_at: record.expires_at.into(),
        created_at: record.created_at.into(),
        code: code.map(|code| code.as_str().to_owned()),
        whatsapp_link: text.as_deref().map(|text| whatsapp::wa_me(number, text)),
        app_url: text.as_deref().map(|text| whatsapp::app_url(number, text)),
        text,
        start_url: handle.as_ref().map(|handle| service.public(&format!("/l/{handle}"))),
        qr_url: handle.as_ref().map(|handle| service.public(&format!("/l/{handle}/qr.svg"))),
        poll_token: service.token(record, Kind::Poll).map(|token| token.to_string()),
        warnings: warnings.to_vec(),
    }
}

/// A code that we send, as its caller sees it.
pub(super) fn code(service: &Service, instance: &Instance, record: &Verification, warnings: &[Warning]) -> Code {
    let code = instance.config.codes.in_response.then(|| service.otp(record)).flatten();
    Code {
        uuid: record.id,
        chat_id: record.chat_id(),
        status: record.status(service.now()),
        otp_type: "code",
        expires_at: record.expires_at.into(),
        created_at: record.created_at.into(),
        code: code.map(|code| code.as_str().to_owned()),
        poll_token: service.token(record, Kind::Poll).map(|token| token.to_string()),
        warnings: warnings.to_vec(),
    }
}

/// How a verification stands and what has happened to it, without what opens it or names a person.
pub(super) fn brief(service: &Service, record: &Verification, callbacks: Vec<CallbackEntry>) -> ExplainedRequest {
    ExplainedRequest {
        uuid: record.id,
        otp_type: record.otp_type(),
        status: record.status(service.now()),
        reason: record.reason(),
        created_at: record.created_at.into(),
        expires_at: record.expires_at.into(),
        ended_at: record.ended_at().map(Time),
        attempts: record.attempts,
        client_ref: record.request.client_ref.clone(),
        timeline: record.timeline.iter().map(ExplainedEvent::from).collect(),
        completion: completion(record),
        callbacks,
    }
}

/// How it stands, and nothing of the person.
pub(super) fn progress(service: &Service, record: &Verification) -> Progress {
    Progress {
        uuid: record.id,
        status: record.status(service.now()),
        expires_at: record.expires_at.into(),
        completion: completion(record),
    }
}

/// Only a link is completed.
fn completion(record: &Verification) -> Option<Completion> {
    record.otp.is_none().then(|| Completion::of(record))
}

/// One verification with what has happened to it; `secrets` are what lets its reader go on where a person has begun.
pub(super) fn full(service: &Service, instance: &Instance, record: &Verification, secrets: bool) -> Request {
    let details = Details::of(record);
    if let Some(otp) = &record.otp {
        let code = code(service, instance, record, &[]);
        return Request::Code(Box::new(CodeRequest {
            code: if secrets { code } else { Code { code: None, poll_token: None, ..code } },
            details,
            send: otp.send(),
            channel: otp.channel().map(Channel::as_str),
        }));
    }
    let link = link(service, instance, record, &[]);
    let link = if secrets { link } else { without_secrets(link) };
    Request::Link(Box::new(LinkRequest { link, details, completion: Completion::of(record) }))
}

fn without_secrets(link: Link) -> Link {
    Link {
        code: None,
        whatsapp_link: None,
        app_url: None,
        text: None,
        start_url: None,
        qr_url: None,
        poll_token: None,
        ..link
    }
}
