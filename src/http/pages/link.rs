//! `/o/{token}`: the link in the reply. Looking changes nothing, however many robots look.

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Data, Path, Payload},
};
use askama::Template;

use super::{
    device,
    look::{Answer, Look, note, see_other},
    start::gone,
    visitor::{self, Visitor},
    words::Words,
};
use crate::{
    domain::{Subject, Verification, token::Token},
    http::{App, problem::Problem},
    service::{Opened, OpenedAs, ServiceError, Tapped, landing},
};

#[derive(Template)]
#[template(path = "pages/confirm.html")]
struct Confirm<'a> {
    look: &'a Look<'a>,
    w: &'static Words,
    title: String,
    /// Empty where WhatsApp tells no number.
    subject: String,
    device: String,
    place: String,
    form_field: &'a str,
    may_tell: bool,
    dispute: String,
}

#[derive(Template)]
#[template(path = "pages/code.html")]
struct Told<'a> {
    look: &'a Look<'a>,
    w: &'static Words,
    code: &'a str,
}

type Page = Result<HttpResponse, Problem>;

/// `GET /o/{token}`
pub(crate) async fn open(app: Data<App>, token: Path<String>, request: HttpRequest) -> Page {
    let mut visitor = Visitor::new(&app, &request);
    let Ok(token) = token.parse::<Token>() else { return Ok(gone(&app, &visitor)) };
    let fresh = visitor.recognise(&app);
    let opened = match app.service.open(&token, &visitor.cookies).await {
        Ok(opened) => opened,
        Err(ServiceError::NotFound) => return Ok(gone(&app, &visitor)),
        Err(error) => return Err(error.into()),
    };
    let Opened { instance, record, now, form_field, may_tell } = &opened;
    let look = Look::of(&app, instance, record);
    let w = look.words;
    match now {
        OpenedAs::Open => {}
        OpenedAs::Used => return Ok(note(StatusCode::GONE, &look, "ok", &w.used_title, &w.used_lead)),
        OpenedAs::Disputed => return Ok(note(StatusCode::GONE, &look, "late", &w.disputed_title, &w.disputed_lead)),
        OpenedAs::Over => return Ok(note(StatusCode::GONE, &look, "late", &w.over_title, &w.over_lead)),
    }
    let (user_agent, ip) = asked_from(record);
    let page = Confirm {
        w,
        title: w.confirm_title.replace("<name>", look.name),
        subject: record.proof().map(|proof| masked(&proof.subject)).unwrap_or_default(),
        device: user_agent.and_then(device::name).unwrap_or_default(),
        place: ip.and_then(|ip| app.places.as_ref()?.name(ip.parse().ok()?, look.lang)).unwrap_or_default(),
        form_field,
        may_tell: *may_tell,
        dispute: format!("/o/{token}/dispute"),
        look: &look,
    };
    let mut answer = Answer::new(&look);
    answer.redirects_to = landing(instance, record);
    // A link that is bound to nothing binds at its first tap, so that a lost answer can be asked for again.
    answer.set_cookie = fresh;
    Ok(answer.send(StatusCode::OK, &page))
}

/// Of the browser that waits, if it is known, else as the app said.
fn asked_from(record: &Verification) -> (Option<&str>, Option<&str>) {
    match record.binding.as_ref().filter(|binding| binding.user_agent.is_some() || binding.ip.is_some()) {
        Some(binding) => (binding.user_agent.as_deref(), binding.ip.as_deref()),
        None => (record.request.user_agent.as_deref(), record.request.client_ip.as_deref()),
    }
}

/// The phone's ends; other identities say nothing to a person.
fn masked(subject: &Subject) -> String {
    match subject {
        Subject::Phone(phone) => phone.masked(),
        Subject::Lid(_) | Subject::Bsuid(_) => String::new(),
    }
}

/// `POST /o/{token}`: the tap. Completes once.
pub(crate) async fn complete(app: Data<App>, token: Path<String>, request: HttpRequest, payload: Payload) -> Page {
    let visitor = Visitor::new(&app, &request);
    let answer = completed(&app, &token, &visitor, &request, payload).await;
    answer.or_else(|problem| visitor.failure(&app, problem, &format!("/o/{token}")))
}

async fn completed(app: &App, token: &str, visitor: &Visitor, request: &HttpRequest, payload: Payload) -> Page {
    let form = visitor::form(app, request, payload).await?;
    let field = form.get("form").map(String::as_str).unwrap_or_default();
    let token: Token = token.parse().map_err(|_| Problem::not_found())?;
    let elsewhere = form.contains_key("elsewhere");
    let (instance, record, tapped) = app.service.complete(&token, &visitor.cookies, field, elsewhere).await?;
    let look = Look::of(app, &instance, &record);
    let w = look.words;
    Ok(match tapped {
        Tapped::Completed { redirect: Some(url) } => see_other(url.as_str()),
        Tapped::Completed { redirect: None } => note(StatusCode::OK, &look, "ok", &w.done_title, &w.done_lead),
        Tapped::Told { code } => {
            let page = Told { look: &look, w, code: code.as_str() };
            Answer::new(&look).send(StatusCode::OK, &page)
        }
        Tapped::Used => note(StatusCode::GONE, &look, "ok", &w.used_title, &w.used_lead),
        Tapped::WrongBrowser => note(StatusCode::FORBIDDEN, &look, "late", &w.wrong_title, &w.wrong_lead),
    })
}

/// `POST /o/{token}/dispute`: "This wasn't me."
pub(crate) async fn dispute(app: Data<App>, token: Path<String>, request: HttpRequest, payload: Payload) -> Page {
    let visitor = Visitor::new(&app, &request);
    let answer = disputed(&app, &token, &visitor, &request, payload).await;
    answer.or_else(|problem| visitor.failure(&app, problem, &format!("/o/{token}")))
}

async fn disputed(app: &App, token: &str, visitor: &Visitor, request: &HttpRequest, payload: Payload) -> Page {
    let form = visitor::form(app, request, payload).await?;
    let field = form.get("form").map(String::as_str).unwrap_or_default();
    let token: Token = token.parse().map_err(|_| Problem::not_found())?;
    let (instance, record) = app.service.dispute(&token, &visitor.cookies, field).await?;
    let look = Look::of(app, &instance, &record);
    let w = look.words;
    Ok(note(StatusCode::OK, &look, "ok", &w.disputed_title, &w.disputed_lead))
}
