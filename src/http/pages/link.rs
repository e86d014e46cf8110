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
    domain::{
        Subject, Verification,
        link::{Completion, Link, LoginProgress},
        login_details::LoginDetails,
        token::Token,
    },
    http::{PublicState, context::Cx, problem::Problem},
    service::{CompletionResult, ReplyLinkPage, ReplyLinkState, RequestContext, ServiceError, redirect_target},
};

#[derive(Template)]
#[template(path = "pages/confirm.html")]
struct ConfirmPage<'a> {
    style: &'a PageStyle<'a>,
    w: &'static Words,
    title: String,
    /// The masked number; empty when WhatsApp hides it.
    subject: String,
    facts: &'a LoginDetails,
    form_field: &'a str,
    may_reveal_code: bool,
}

#[derive(Template)]
#[template(path = "pages/code.html")]
struct CodePage<'a> {
    style: &'a PageStyle<'a>,
    w: &'static Words,
    code: &'a str,
    subject: String,
    facts: &'a LoginDetails,
}

#[derive(Template)]
#[template(path = "pages/dispute.html")]
struct DisputePage<'a> {
    style: &'a PageStyle<'a>,
    w: &'static Words,
    lead: String,
    subject: String,
    facts: &'a LoginDetails,
    form_field: &'a str,
}

type PageResult = Result<HttpResponse, Problem>;

/// `GET /o/{token}`
pub(crate) async fn open(app: Data<PublicState>, cx: Cx, token: Path<String>, request: HttpRequest) -> PageResult {
    let mut visitor = Visitor::new(&app, &request);
    let Ok(token) = token.parse::<Token>() else { return Ok(gone_page(&app, &visitor)) };
    let fresh = visitor.ensure_cookie(&app);
    let opened = match app.service.open_reply_link(&cx, &token, &visitor.cookies).await {
        Ok(opened) => opened,
        Err(ServiceError::NotFound) => return Ok(gone_page(&app, &visitor)),
        Err(error) => return Err(error.into()),
    };
    let ReplyLinkPage { instance, record, state: now, form_field, may_reveal_code } = &opened;
    let style = PageStyle::for_record(&app, instance, record);
    let w = style.words;
    let facts = app.service.login_details(instance, record);
    match now {
        ReplyLinkState::Open => {}
        ReplyLinkState::Used => return Ok(note_page_with_dispute(&style, &w.used_title, &w.used_lead, &facts.dispute)),
        ReplyLinkState::Disputed { late } => return Ok(disputed_page(StatusCode::GONE, &style, *late)),
        ReplyLinkState::Closed => return Ok(note_page(StatusCode::GONE, &style, "late", &w.over_title, &w.over_lead)),
    }
    let page = ConfirmPage {
        w,
        title: w.confirm_title.replace("<name>", style.name),
        subject: masked_phone(record),
        facts: &facts,
        form_field,
        may_reveal_code: *may_reveal_code,
        style: &style,
    };
    let mut answer = PageResponse::new(&style);
    answer.redirects_to = redirect_target(instance, &record.request);
    // A link without a binding is bound to the browser at its first tap, so that a lost response can be requested
    // again.
    answer.set_cookie = fresh;
    Ok(answer.render(StatusCode::OK, &page))
}

/// The masked phone number. Other identities mean nothing to a person and are left out.
fn masked_phone(record: &Verification<Link>) -> String {
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
    cx: Cx,
    token: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> PageResult {
    let visitor = Visitor::new(&app, &request);
    let answer = try_complete(&app, &cx, &token, &visitor, &request, payload).await;
    answer.or_else(|problem| visitor.error_response(&app, problem, &format!("/o/{token}")))
}

async fn try_complete(
    app: &PublicState,
    cx: &RequestContext,
    token: &str,
    visitor: &Visitor,
    request: &HttpRequest,
    payload: Payload,
) -> PageResult {
    let form = visitor::same_origin_form(app, request, payload).await?;
    let field = form.get("form").map(String::as_str).unwrap_or_default();
    let token: Token = token.parse().map_err(|_| Problem::not_found())?;
    let elsewhere = form.contains_key("elsewhere");
    let (instance, record, tapped) = app.service.complete(cx, &token, visitor.browser(), field, elsewhere).await?;
    let style = PageStyle::for_record(app, &instance, &record);
    let w = style.words;
    Ok(match tapped {
        CompletionResult::Completed { redirect: Some(url) } => see_other(url.as_str()),
        CompletionResult::Completed { redirect: None } | CompletionResult::Confirmed => {
            note_page(StatusCode::OK, &style, "ok", &w.done_title, &w.done_lead)
        }
        CompletionResult::CodeRevealed { code } => {
            let facts = app.service.login_details(&instance, &record);
            let page =
                CodePage { style: &style, w, code: code.as_str(), subject: masked_phone(&record), facts: &facts };
            PageResponse::new(&style).render(StatusCode::OK, &page)
        }
        CompletionResult::Used => {
            let facts = app.service.login_details(&instance, &record);
            note_page_with_dispute(&style, &w.used_title, &w.used_lead, &facts.dispute)
        }
        CompletionResult::WrongBrowser => {
            note_page(StatusCode::FORBIDDEN, &style, "late", &w.wrong_title, &w.wrong_lead)
        }
    })
}

/// `GET /d/{token}`: the login that the person may object to.
pub(crate) async fn dispute_form(
    app: Data<PublicState>,
    cx: Cx,
    token: Path<String>,
    request: HttpRequest,
) -> PageResult {
    let visitor = Visitor::new(&app, &request);
    let Ok(token) = token.parse::<Token>() else { return Ok(gone_page(&app, &visitor)) };
    let (instance, record, now, form_field) = match app.service.open_dispute(&cx, &token).await {
        Ok(found) => found,
        Err(ServiceError::NotFound) => return Ok(gone_page(&app, &visitor)),
        Err(error) => return Err(error.into()),
    };
    app.service.count_page_view(&record, "dispute");
    let style = PageStyle::for_record(&app, &instance, &record);
    let w = style.words;
    match now {
        ReplyLinkState::Open => {}
        ReplyLinkState::Disputed { late } => return Ok(disputed_page(StatusCode::GONE, &style, late)),
        ReplyLinkState::Used | ReplyLinkState::Closed => {
            return Ok(note_page(StatusCode::GONE, &style, "late", &w.over_title, &w.over_lead));
        }
    }
    let facts = app.service.login_details(&instance, &record);
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
    cx: Cx,
    token: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> PageResult {
    let visitor = Visitor::new(&app, &request);
    let answer = try_dispute(&app, &cx, &token, &request, payload).await;
    answer.or_else(|problem| visitor.error_response(&app, problem, &format!("/d/{token}")))
}

async fn try_dispute(
    app: &PublicState,
    cx: &RequestContext,
    token: &str,
    request: &HttpRequest,
    payload: Payload,
) -> PageResult {
    let form = visitor::same_origin_form(app, request, payload).await?;
    let field = form.get("form").map(String::as_str).unwrap_or_default();
    let token: Token = token.parse().map_err(|_| Problem::not_found())?;
    let (instance, record) = app.service.dispute(cx, &token, field).await?;
    let style = PageStyle::for_record(app, &instance, &record);
    let late = matches!(record.details.completion(), Some(Completion::Disputed { after: LoginProgress::Redeemed, .. }));
    Ok(disputed_page(StatusCode::OK, &style, late))
}
