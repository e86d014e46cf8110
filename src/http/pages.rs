//! What a person sees in the browser. GET changes nothing; only a POST with this page's field does.

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
    web::{Data, Path, Payload},
};
use askama::Template;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::{Url, form_urlencoded};

use super::{
    App, body,
    problem::{Code, Problem},
    qr,
};
use crate::{
    domain::{Subject, Verification, keys::sha256, token::Token, whatsapp},
    service::{Instance, ServiceError},
};

const CSS: &str = include_str!("../../templates/pages/style.css");
static CSS_HASH: LazyLock<String> = LazyLock::new(|| format!("sha256-{}", STANDARD.encode(sha256(CSS.as_bytes()))));

#[derive(Template)]
#[template(path = "pages/start.html")]
struct Start<'a> {
    css: &'a str,
    lang: &'a str,
    dir: &'a str,
    name: &'a str,
    status: &'a str,
    whatsapp_link: &'a str,
    text: &'a str,
    number: String,
    qr: String,
}

#[derive(Template)]
#[template(path = "pages/open.html")]
struct Open<'a> {
    css: &'a str,
    name: &'a str,
    subject: String,
    device: &'a str,
    form_field: &'a str,
    dispute: String,
}

#[derive(Template)]
#[template(path = "pages/note.html")]
struct Note<'a> {
    css: &'a str,
    title: &'a str,
    text: &'a str,
}

/// `GET /l/{handle}`
pub(super) async fn start(app: Data<App>, handle: Path<String>) -> Result<HttpResponse, Problem> {
    let Some((instance, record)) = by_handle(&app, &handle).await? else { return Ok(gone()) };
    let Some(code) = app.service.code(&record) else { return Ok(gone()) };
    app.service.looked_at(&record, "start");
    let text = app.service.prefilled(&instance, &record, &code);
    let whatsapp_link = whatsapp::wa_me(&instance.config.number, &text);
    let language = instance.language(Some(&record));
    let page = Start {
        css: CSS,
        lang: language.tag(),
        dir: if language.right_to_left() { "rtl" } else { "ltr" },
        name: &record.request.name,
        status: record.status(app.service.now()),
        whatsapp_link: &whatsapp_link,
        text: &text,
        number: instance.config.number.e164(),
        qr: qr::svg(&whatsapp_link),
    };
    Ok(html(StatusCode::OK, &page, None))
}

/// `GET /l/{handle}/qr.svg`
pub(super) async fn qr_code(app: Data<App>, handle: Path<String>) -> Result<HttpResponse, Problem> {
    let found = by_handle(&app, &handle).await?;
    let (instance, record) = found.ok_or_else(Problem::not_found)?;
    let code = app.service.code(&record).ok_or_else(Problem::not_found)?;
    let text = app.service.prefilled(&instance, &record, &code);
    let mut response = HttpResponse::Ok();
    policy(&mut response, None);
    Ok(response.content_type("image/svg+xml").body(qr::svg(&whatsapp::wa_me(&instance.config.number, &text))))
}

async fn by_handle(app: &App, handle: &str) -> Result<Option<(std::sync::Arc<Instance>, Verification)>, Problem> {
    let Ok(handle) = handle.parse::<Token>() else { return Ok(None) };
    let record = match app.service.by_handle(&handle).await {
        Ok(record) => record,
        Err(ServiceError::NotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(app.service.instances.get(record.instance).map(|instance| (instance, record)))
}

/// `GET /o/{token}`: shows, and changes nothing, however many robots look.
pub(super) async fn open(app: Data<App>, token: Path<String>) -> Result<HttpResponse, Problem> {
    let Ok(token) = token.parse::<Token>() else { return Ok(gone()) };
    let opened = match app.service.open(&token).await {
        Ok(opened) => opened,
        Err(ServiceError::NotFound) => return Ok(gone()),
        Err(error) => return Err(error.into()),
    };
    let Some(instance) = app.service.instances.get(opened.record.instance) else { return Ok(gone()) };
    if opened.disputed {
        return Ok(note(StatusCode::GONE, "Stopped", "This sign-in was reported and stopped. Nobody got in with it."));
    }
    if opened.completed {
        return Ok(note(
            StatusCode::GONE,
            "Already used",
            "This link was used. Go back to the page where you started.",
        ));
    }
    if !opened.open {
        return Ok(gone());
    }
    let page = Open {
        css: CSS,
        name: &opened.record.request.name,
        subject: opened.record.proof().map(|proof| masked(&proof.subject)).unwrap_or_default(),
        device: opened.record.request.user_agent.as_deref().unwrap_or_default(),
        form_field: &opened.form_field,
        dispute: format!("/o/{token}/dispute"),
    };
    let target = target(&instance, &opened.record);
    Ok(html(StatusCode::OK, &page, target.as_ref()))
}

/// `POST /o/{token}`: the tap. Works once.
pub(super) async fn complete(
    app: Data<App>,
    token: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (token, instance, field) = tapped(&app, &token, &request, payload).await?;
    match app.service.complete(&instance, &token, &field).await {
        Ok(completed) => Ok(match completed.redirect {
            Some(url) => see_other(&url),
            None => note(StatusCode::OK, "Done", "You can go back to the page where you started."),
        }),
        Err(ServiceError::NotFound | ServiceError::Spent) => Ok(gone()),
        Err(error) => Err(error.into()),
    }
}

/// `POST /o/{token}/dispute`: "This wasn't me."
pub(super) async fn dispute(
    app: Data<App>,
    token: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (token, instance, field) = tapped(&app, &token, &request, payload).await?;
    match app.service.dispute(&instance, &token, &field).await {
        Ok(()) => {
            Ok(note(StatusCode::OK, "Stopped", "Thank you. This sign-in was stopped, and nobody got in with it."))
        }
        Err(ServiceError::NotFound | ServiceError::Spent) => Ok(gone()),
        Err(error) => Err(error.into()),
    }
}

async fn tapped(
    app: &App,
    token: &str,
    request: &HttpRequest,
    payload: Payload,
) -> Result<(Token, std::sync::Arc<Instance>, String), Problem> {
    same_site(app, request)?;
    let body = body::read(request, payload, 4096).await?;
    let field = form_urlencoded::parse(&body).find(|(name, _)| name == "form").map(|(_, value)| value.into_owned());
    let token: Token = token.parse().map_err(|_| Problem::not_found())?;
    let instance = app.service.instance_of(&token).await?;
    Ok((token, instance, field.unwrap_or_default()))
}

/// Browsers say where a form came from; when they do, it must be from here.
fn same_site(app: &App, request: &HttpRequest) -> Result<(), Problem> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let foreign_site = header("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site");
    let own = app.service.public_url.origin().ascii_serialization();
    if foreign_site || header("origin").is_some_and(|origin| origin != own) {
        return Err(Problem::new(Code::CrossSite, "open the link again and use its button"));
    }
    Ok(())
}

fn target(instance: &Instance, record: &Verification) -> Option<Url> {
    let requested = record.request.redirect_url.as_deref().and_then(|text| Url::parse(text).ok());
    requested.or_else(|| instance.config.redirect_urls.first().cloned())
}

/// The phone's ends; other identities say nothing to a person.
fn masked(subject: &Subject) -> String {
    match subject {
        Subject::Phone(phone) => phone.masked(),
        Subject::Lid(_) | Subject::Bsuid(_) => "your WhatsApp account".to_owned(),
    }
}

fn gone() -> HttpResponse {
    note(StatusCode::GONE, "This link is over", "It was used, or it is too old. Go back and start again.")
}

fn note(status: StatusCode, title: &str, text: &str) -> HttpResponse {
    html(status, &Note { css: CSS, title, text }, None)
}

fn see_other(url: &Url) -> HttpResponse {
    let mut response = HttpResponse::SeeOther();
    policy(&mut response, Some(url));
    response.insert_header((header::LOCATION, url.as_str())).finish()
}

fn html(status: StatusCode, page: &impl Template, redirects_to: Option<&Url>) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    policy(&mut response, redirects_to);
    let body = page.render().expect("a compiled template of plain values renders");
    response.content_type("text/html; charset=utf-8").body(body)
}

/// No script, no foreign asset, no frame, no cache, no robot. The form may lead to where its redirect goes.
fn policy(response: &mut HttpResponseBuilder, redirects_to: Option<&Url>) {
    let target = redirects_to.map(|url| format!(" {}", url.origin().ascii_serialization())).unwrap_or_default();
    let style = &*CSS_HASH;
    response
        .insert_header((
            "content-security-policy",
            format!(
                "default-src 'none'; style-src '{style}'; img-src 'self' data:; form-action 'self'{target}; \
                 base-uri 'none'; frame-ancestors 'none'"
            ),
        ))
        .insert_header(("referrer-policy", "same-origin"))
        .insert_header(("cache-control", "no-store"))
        .insert_header(("x-robots-tag", "noindex"))
        .insert_header(("x-content-type-options", "nosniff"));
}
