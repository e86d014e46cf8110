//! How verifications are presented to callers of the API.

use actix_web::{HttpResponse, HttpResponseBuilder, http::StatusCode};
use serde::Serialize;

use crate::{
    api::{
        Rfc3339Time, Warning,
        callback::CallbackEntry,
        explanation::{ExplainedEvent, ExplainedRequest},
        verification::{
            CodeRequestView, CodeView, CompletionView, Details, LinkRequestView, LinkView, Progress, RequestView,
        },
    },
    config::LinkStyle,
    domain::{
        Channel, Kind, OtpType, TypedVerification, Verification, link, sent_code::SentCode, token::TokenKind, whatsapp,
    },
    service::{Instance, Services},
};

/// `{"success":true,"message":…,"data":…}`.
pub(super) fn success(message: &str, data: &impl Serialize) -> HttpResponse {
    envelope(HttpResponseBuilder::new(StatusCode::OK), message, data)
}

pub(super) fn envelope(mut response: HttpResponseBuilder, message: &str, data: &impl Serialize) -> HttpResponse {
    let body = to_json(&Envelope { success: true, message, data });
    response.content_type("application/json").insert_header(("cache-control", "no-store")).body(body)
}

/// Serializes a type of the wire as JSON.
pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("types of the wire have only string keys")
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    success: bool,
    message: &'a str,
    data: &'a T,
}

/// Everything the caller needs to hand the link to a person. It is derived from the record each time: the code is not
/// stored.
pub(super) fn link(
    services: &Services,
    instance: &Instance,
    record: &Verification<link::Link>,
    warnings: &[Warning],
) -> LinkView {
    let number = &instance.config.number;
    let code = record.link_code(&services.env.keys);
    let text = code.as_ref().map(|code| instance.prefilled(record, code));
    // An approval has no pages.
    let handle = record.token(&services.env.keys, TokenKind::Handle).filter(|_| record.request.approval.is_none());
    let on_whatsapp = instance.gateway.channel() == Channel::WhatsApp;
    LinkView {
        uuid: record.id,
        chat_id: record.chat_id(),
        status: record.status(services.env.store.now()),
        otp_type: OtpType::Link,
        expires_at: record.expires_at.into(),
        created_at: record.created_at.into(),
        code: code.map(|code| code.as_str().to_owned()),
        whatsapp_link: match (instance.config.link_style, &handle) {
            (LinkStyle::Go, Some(handle)) => Some(services.env.public_url.absolute(&format!("/l/{handle}/go"))),
            _ => text.as_deref().filter(|_| on_whatsapp).map(|text| whatsapp::wa_me(number, text)),
        },
        app_url: text
            .as_deref()
            .map(|text| if on_whatsapp { whatsapp::app_url(number, text) } else { whatsapp::sms_url(number, text) }),
        text,
        start_url: handle.as_ref().map(|handle| services.env.public_url.absolute(&format!("/l/{handle}"))),
        qr_url: handle.as_ref().map(|handle| services.env.public_url.absolute(&format!("/l/{handle}/qr.svg"))),
        poll_token: record.token(&services.env.keys, TokenKind::Poll).map(|token| token.to_string()),
        warnings: warnings.to_vec(),
    }
}

/// A code that we send, as presented to the caller.
pub(super) fn code(
    services: &Services,
    instance: &Instance,
    record: &Verification<SentCode>,
    warnings: &[Warning],
) -> CodeView {
    let code =
        instance.config.codes.in_response.then(|| services.codes.otp_code(record, services.env.store.now())).flatten();
    CodeView {
        uuid: record.id,
        chat_id: record.chat_id(),
        status: record.status(services.env.store.now()),
        otp_type: OtpType::Code,
        expires_at: record.expires_at.into(),
        created_at: record.created_at.into(),
        code: code.map(|code| code.as_str().to_owned()),
        poll_token: record.token(&services.env.keys, TokenKind::Poll).map(|token| token.to_string()),
        warnings: warnings.to_vec(),
    }
}

/// Status and history of a verification, without secrets and without anything that names a person.
pub(super) fn explained_request<K: Kind>(
    services: &Services,
    record: &Verification<K>,
    callbacks: Vec<CallbackEntry>,
) -> ExplainedRequest {
    ExplainedRequest {
        uuid: record.id,
        otp_type: record.otp_type(),
        status: record.status(services.env.store.now()),
        reason: record.reason(),
        created_at: record.created_at.into(),
        expires_at: record.expires_at.into(),
        ended_at: record.ended_at().map(Rfc3339Time),
        attempts: record.attempts,
        client_ref: record.request.client_ref.clone(),
        timeline: record.timeline.iter().map(ExplainedEvent::from).collect(),
        completion: completion(record),
        callbacks,
    }
}

/// Status of a verification, without personal data.
pub(super) fn progress<K: Kind>(services: &Services, record: &Verification<K>) -> Progress {
    Progress {
        uuid: record.id,
        status: record.status(services.env.store.now()),
        expires_at: record.expires_at.into(),
        completion: completion(record),
    }
}

/// Only links have a completion.
fn completion<K: Kind>(record: &Verification<K>) -> Option<CompletionView> {
    record.as_link().map(|link| CompletionView::of(link, &record.request))
}

/// A verification with its details. `secrets` includes everything with which its reader could continue a login that a
/// person has begun.
pub(super) fn request(services: &Services, instance: &Instance, record: Verification, secrets: bool) -> RequestView {
    let details = Details::of(&record);
    match record.into_typed() {
        TypedVerification::Link(record) => {
            let link = link(services, instance, &record, &[]);
            let link = if secrets { link } else { without_secrets(link) };
            let completion = CompletionView::of(&record.details, &record.request);
            RequestView::Link(Box::new(LinkRequestView { link, details, completion }))
        }
        TypedVerification::Code(record) => {
            let code = code(services, instance, &record, &[]);
            let otp = &record.details.delivery;
            RequestView::Code(Box::new(CodeRequestView {
                code: if secrets { code } else { CodeView { code: None, poll_token: None, ..code } },
                details,
                send: otp.send(),
                channel: otp.channel(),
                test: record.request.test.then_some(true),
            }))
        }
    }
}

fn without_secrets(link: LinkView) -> LinkView {
    LinkView {
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
