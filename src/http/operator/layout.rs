//! Layout and response headers shared by the operator's pages.

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use askama::Template;
use jiff::{Timestamp, tz::TimeZone};

use super::session::Session;
use crate::{
    domain::{KeyRing, OtpType, Status, Subject, Verification},
    http::{
        pages,
        problem::{Code, Problem},
    },
};

pub(super) const CSS: &str = include_str!("../../../templates/operator/style.css");
/// Local times, copy buttons, and fresh figures; every page works without it.
const SCRIPT: &str = include_str!("../../../templates/operator/desk.js");

/// What every page behind the login shows.
pub(super) struct Frame {
    pub(super) css: &'static str,
    pub(super) script: &'static str,
    pub(super) form_field: String,
    /// The entry of the menu that this page belongs to.
    pub(super) page: MenuEntry,
    /// The operator who is logged in.
    pub(super) name: String,
}

impl Frame {
    pub(super) fn new(session: &Session, keys: &KeyRing, page: MenuEntry) -> Self {
        let form_field = session.csrf_token(keys);
        Self { css: CSS, script: SCRIPT, form_field, page, name: session.name().to_owned() }
    }
}

/// The entries of the menu.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MenuEntry {
    Overview,
    Requests,
    Callbacks,
}

impl MenuEntry {
    pub(super) const ALL: [Self; 3] = [Self::Overview, Self::Requests, Self::Callbacks];

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Requests => "Requests",
            Self::Callbacks => "Callbacks",
        }
    }

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/requests/overview",
            Self::Requests => "/requests",
            Self::Callbacks => "/requests/callbacks",
        }
    }
}

/// How something is coloured. Its words say the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    Plain,
    Good,
    Wait,
    Bad,
}

impl Tone {
    /// The class in the style sheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Wait => "wait",
            Self::Bad => "bad",
        }
    }
}

/// A duration with its largest unit, such as `3.2 s`, `12 min` or `3 d`.
pub(super) fn short_duration(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{:.0} ms", seconds * 1000.0),
        ..10.0 => format!("{seconds:.1} s"),
        ..100.0 => format!("{seconds:.0} s"),
        ..6000.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.0} h", seconds / 3600.0),
        _ => format!("{:.0} d", seconds / 86_400.0),
    }
}

/// A number with commas between its thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[derive(Template)]
#[template(path = "operator/failure.html")]
struct FailurePage<'a> {
    css: &'static str,
    title: &'a str,
    detail: &'a str,
}

/// A page behind the login.
pub(super) fn render(status: StatusCode, page: &impl Template) -> HttpResponse {
    respond(status, page, Some(SCRIPT))
}

/// A page without a script.
pub(super) fn render_plain(status: StatusCode, page: &impl Template) -> HttpResponse {
    respond(status, page, None)
}

fn respond(status: StatusCode, page: &impl Template, script: Option<&str>) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    pages::set_security_headers(&mut response, &[CSS], script, None);
    let body = page.render().expect("a compiled template of plain values renders");
    response.content_type("text/html; charset=utf-8").body(body)
}

/// What the handler of a page behind the login returns.
pub(super) type OperatorResult = Result<HttpResponse, ProblemPage>;

/// A problem, shown as a page.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ProblemPage(Problem);

impl<E: Into<Problem>> From<E> for ProblemPage {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl ResponseError for ProblemPage {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let page = FailurePage { css: CSS, title: self.0.code.title(), detail: &self.0.detail };
        render_plain(self.status_code(), &page)
    }
}

/// The response for unknown paths below `/requests`.
pub(super) async fn not_found() -> OperatorResult {
    Err(Problem::new(Code::NotFound, "no such page, instance or request").into())
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
    /// Why it ended without success; empty if it did not.
    pub(super) reason: String,
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
            reason: record.reason().map(|reason| reason.as_str().replace('_', " ")).unwrap_or_default(),
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
