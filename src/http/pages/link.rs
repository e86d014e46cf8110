//! `/o/{token}`: the link in the reply, which completes the login. `/d/{token}`: the objection "This wasn't me".

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Data, Path, Payload},
};
use askama::Template;

use super::{
    layout::{PageResponse, PageStyle, note_page, note_page_with_dispute, see_other},
    start::gone_page,
    visitor::{self, Visitor},
    words::Words,
};
use crate::{
    domain::{Completion, State, Subject, Verification, facts::Facts, token::Token, verification::Reached},
    http::{PublicState, problem::Problem},
    service::{Opened, OpenedAs, ServiceError, Tapped, landing},
};

#[derive(Template)]
#[template(path = "pages/confirm.html")]
struct ConfirmPage<'a> {
    style: &'a PageStyle<'a>,
    w: &'static Words,
    title: String,
    /// The masked number; empty when WhatsApp hides it.
    subject: String,
    facts: &'a Facts,
    form_field: &'a str,
    may_tell: bool,
}

#[derive(Template)]
#[template(path = "pages/code.html")]
struct CodePage<'a> {
    style: &'a PageStyle<'a>,
    w: &'static Words,
    code: &'a str,
    subject: String,
    facts: &'a Facts,
}

#[derive(Template)]
#[template(path = "pages/dispute.html")]
struct DisputePage<'a> {
    style: &'a PageStyle<'a>,
    w: &'static Words,
    lead: String,
    subject: String,
    facts: &'a Facts,
    form_field: &'a str,
}

type PageResult = Result<HttpResponse, Problem>;

/// `GET /o/{token}`
pub(crate) async fn open(app: Data<PublicState>, token: Path<String>, request: HttpRequest) -> PageResult {
    let mut visitor = Visitor::new(&app, &request);
    let Ok(token) = token.parse::<Token>() else { return Ok(gone_page(&app, &visitor)) };
    let fresh = visitor.ensure_cookie(&app);
    let opened = match app.service.open(&token, &visitor.cookies).await {
        Ok(opened) => opened,
        Err(ServiceError::NotFound) => return Ok(gone_page(&app, &visitor)),
        Err(error) => return Err(error.into()),
    };
    let Opened { instance, record, now, form_field, may_tell } = &opened;
    let style = PageStyle::for_record(&app, instance, record);
    let w = style.words;
    let facts = app.service.facts(instance, record);
    match now {
        OpenedAs::Open => {}
        OpenedAs::Used => return Ok(note_page_with_dispute(&style, &w.used_title, &w.used_lead, &facts.dispute)),
        OpenedAs::Disputed { late } => return Ok(disputed_page(StatusCode::GONE, &style, *late)),
        OpenedAs::Over => return Ok(note_page(StatusCode::GONE, &style, "late", &w.over_title, &w.over_lead)),
    }
    let page = ConfirmPage {
        w,
        title: w.confirm_title.replace("<name>", style.name),
        subject: masked_phone(record),
        facts: &facts,
        form_field,
        may_tell: *may_tell,
        style: &style,
    };
    let mut answer = PageResponse::new(&style);
    answer.redirects_to = landing(instance, record);
    // A link without a binding is bound to the browser at its first tap, so that a lost response can be requested
    // again.
    answer.set_cookie = fresh;
    Ok(answer.render(StatusCode::OK, &page))
}

/// The masked phone number. Other identities mean nothing to a person and are left out.
fn masked_phone(record: &Verification) -> String {
    match record.proof().map(|proof| &proof.subject) {
        Some(Subject::Phone(phone)) => phone.masked(),
        Some(Subject::Lid(_) | Subject::Bsuid(_)) | None => String::new(),
    }
}

/// The page after an objection. `late`: the app had already redeemed the login.
fn disputed_page(status: StatusCode, style: &PageStyle<'_>, late: bool) -> HttpResponse {
    let w = style.words;
    if late {
        return note_page(status, style, "ok", &w.reported_title, &w.reported_lead.replace("<name>", style.name));
    }
    note_page(status, style, "ok", &w.disputed_title, &w.disputed_lead)
}

/// `POST /o/{token}`: completes the login, once.
pub(crate) async fn complete(
    app: Data<PublicState>,
    token: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> PageResult {
    let visitor = Visitor::new(&app, &request);
    let answer = try_complete(&app, &token, &visitor, &request, payload).await;
    answer.or_else(|problem| visitor.error_response(&app, problem, &format!("/o/{token}")))
}

async fn try_complete(
    app: &PublicState,
    token: &str,
    visitor: &Visitor,
    request: &HttpRequest,
    payload: Payload,
) -> PageResult {
    let form = visitor::same_origin_form(app, request, payload).await?;
    let field = form.get("form").map(String::as_str).unwrap_or_default();
    let token: Token = token.parse().map_err(|_| Problem::not_found())?;
    let elsewhere = form.contains_key("elsewhere");
    let (instance, record, tapped) = app.service.complete(&token, visitor.browser(), field, elsewhere).await?;
    let style = PageStyle::for_record(app, &instance, &record);
    let w = style.words;
    Ok(match tapped {
        Tapped::Completed { redirect: Some(url) } => see_other(url.as_str()),
        Tapped::Completed { redirect: None } | Tapped::Agreed => {
            note_page(StatusCode::OK, &style, "ok", &w.done_title, &w.done_lead)
        }
        Tapped::Told { code } => {
            let facts = app.service.facts(&instance, &record);
            let page =
                CodePage { style: &style, w, code: code.as_str(), subject: masked_phone(&record), facts: &facts };
            PageResponse::new(&style).render(StatusCode::OK, &page)
        }
        Tapped::Used => {
            let facts = app.service.facts(&instance, &record);
            note_page_with_dispute(&style, &w.used_title, &w.used_lead, &facts.dispute)
        }
        Tapped::WrongBrowser => note_page(StatusCode::FORBIDDEN, &style, "late", &w.wrong_title, &w.wrong_lead),
    })
}

/// `GET /d/{token}`: the login that the person may object to.
pub(crate) async fn dispute_form(app: Data<PublicState>, token: Path<String>, request: HttpRequest) -> PageResult {
    let visitor = Visitor::new(&app, &request);
    let Ok(token) = token.parse::<Token>() else { return Ok(gone_page(&app, &visitor)) };
    let (instance, record, now, form_field) = match app.service.disputable(&token).await {
        Ok(found) => found,
        Err(ServiceError::NotFound) => return Ok(gone_page(&app, &visitor)),
        Err(error) => return Err(error.into()),
    };
    app.service.looked_at(&record, "dispute");
    let style = PageStyle::for_record(&app, &instance, &record);
    let w = style.words;
    match now {
        OpenedAs::Open => {}
        OpenedAs::Disputed { late } => return Ok(disputed_page(StatusCode::GONE, &style, late)),
        OpenedAs::Used | OpenedAs::Over => {
            return Ok(note_page(StatusCode::GONE, &style, "late", &w.over_title, &w.over_lead));
        }
    }
    let facts = app.service.facts(&instance, &record);
    let page = DisputePage {
        style: &style,
        w,
        lead: w.dispute_lead.replace("<name>", style.name),
        subject: masked_phone(&record),
        facts: &facts,
        form_field: &form_field,
    };
    Ok(PageResponse::new(&style).render(StatusCode::OK, &page))
}

/// `POST /d/{token}`: "This wasn't me."
pub(crate) async fn dispute(
    app: Data<PublicState>,
    token: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> PageResult {
    let visitor = Visitor::new(&app, &request);
    let answer = try_dispute(&app, &token, &request, payload).await;
    answer.or_else(|problem| visitor.error_response(&app, problem, &format!("/d/{token}")))
}

async fn try_dispute(app: &PublicState, token: &str, request: &HttpRequest, payload: Payload) -> PageResult {
    let form = visitor::same_origin_form(app, request, payload).await?;
    let field = form.get("form").map(String::as_str).unwrap_or_default();
    let token: Token = token.parse().map_err(|_| Problem::not_found())?;
    let (instance, record) = app.service.dispute(&token, field).await?;
    let style = PageStyle::for_record(app, &instance, &record);
    let late = matches!(
        &record.state,
        State::Verified { completion: Completion::Disputed { after: Reached::Redeemed, .. }, .. }
    );
    Ok(disputed_page(StatusCode::OK, &style, late))
}
