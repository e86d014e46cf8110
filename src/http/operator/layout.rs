//! Layout and response headers shared by the operator's pages.

use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use jiff::{Timestamp, tz::TimeZone};

use super::session::Session;
use crate::{
    domain::{KeyRing, OtpType, Status, Subject, Verification},
    http::{pages, problem::Problem},
};

pub(super) const CSS: &str = include_str!("../../../templates/operator/style.css");

/// What every page behind the login shows.
pub(super) struct Frame {
    pub(super) css: &'static str,
    pub(super) form_field: String,
    /// The operator who is logged in.
    pub(super) name: String,
}

impl Frame {
    pub(super) fn new(session: &Session, keys: &KeyRing) -> Self {
        Self { css: CSS, form_field: session.csrf_token(keys), name: session.name().to_owned() }
    }
}

#[derive(Template)]
#[template(path = "operator/failure.html")]
struct FailurePage<'a> {
    css: &'static str,
    title: &'a str,
    detail: &'a str,
}

pub(super) fn render(status: StatusCode, page: &impl Template) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    pages::set_security_headers(&mut response, &[CSS], None, None);
    let body = page.render().expect("a compiled template of plain values renders");
    response.content_type("text/html; charset=utf-8").body(body)
}

pub(super) fn problem_page(problem: &Problem) -> HttpResponse {
    let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    render(status, &FailurePage { css: CSS, title: problem.code.title(), detail: &problem.detail })
}

/// The response for unknown paths below `/requests`.
pub(super) async fn not_found() -> HttpResponse {
    problem_page(&Problem::new(crate::http::problem::Code::NotFound, "no such page, instance or request"))
}

/// A time in UTC: RFC 3339 for the `datetime` attribute, and the displayed text.
pub(super) struct DisplayTime {
    pub(super) rfc3339: String,
    pub(super) text: String,
}

impl From<Timestamp> for DisplayTime {
    fn from(at: Timestamp) -> Self {
        let text = at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string();
        Self { rfc3339: crate::domain::time::rfc3339(at), text }
    }
}

/// One request in a list.
pub(super) struct RequestRow {
    pub(super) path: String,
    pub(super) otp_type: OtpType,
    pub(super) status: Status,
    pub(super) created: DisplayTime,
    pub(super) expires: DisplayTime,
    pub(super) number: String,
    pub(super) client_ref: String,
    pub(super) purpose: String,
}

impl RequestRow {
    pub(super) fn for_record(record: &Verification, now: Timestamp) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Self {
            path: request_path(record),
            otp_type: record.otp_type(),
            status: record.status(now),
            created: record.created_at.into(),
            expires: record.expires_at.into(),
            number: masked_number(record),
            client_ref: text(&record.request.client_ref),
            purpose: text(&record.request.purpose),
        }
    }
}

pub(super) fn request_path(record: &Verification) -> String {
    format!("/requests/{}/{}", record.instance, record.id)
}

/// The masked number of the proved or, before that, the requested chat; empty if there is none (yet, or any more).
pub(super) fn masked_number(record: &Verification) -> String {
    let proved = record.proof().map(|proof| &proof.subject);
    let requested = record.request.chat.as_ref().map(crate::domain::Chat::subject);
    match proved.or(requested) {
        Some(Subject::Phone(phone)) => phone.masked(),
        Some(Subject::Lid(_)) => "hidden (LID)".to_owned(),
        Some(Subject::Bsuid(_)) => "hidden (user id)".to_owned(),
        None => String::new(),
    }
}
