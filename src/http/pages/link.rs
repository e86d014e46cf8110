//! `/o/{token}`: the link in the reply, which completes the login. `/d/{token}`: the objection "This wasn't me".

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Data, Path, Payload},
};
use askama::Template;

use super::{
    layout::{PageResponse, PageResult, PageStyle, message_page, message_page_with_dispute, see_other},
    start::unavailable_page,
    texts::PageTexts,
    visitor::{self, Visitor},
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
    texts: &'static PageTexts,
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
    texts: &'static PageTexts,
    code: &'a str,
    subject: String,
    facts: &'a LoginDetails,
}

#[derive(Template)]
#[template(path = "pages/dispute.html")]
struct DisputePage<'a> {
    style: &'a PageStyle<'a>,
    texts: &'static PageTexts,
    lead: String,
    subject: String,
    facts: &'a LoginDetails,
    form_field: &'a str,
}

/// `GET /o/{token}`
pub(crate) async fn open(state: Data<PublicState>, cx: Cx, token: Path<String>, request: HttpRequest) -> PageResult {
    let mut visitor = Visitor::new(&state, &request);
    let Ok(token) = token.parse::<Token>() else { return Ok(unavailable_page(&state, &visitor)) };
    let new_cookie = visitor.ensure_cookie(&state);
    let opened = match state.services.completion.open_reply_link(&cx, &token, &visitor.cookies).await {
        Ok(opened) => opened,
        Err(ServiceError::NotFound) => return Ok(unavailable_page(&state, &visitor)),
        Err(error) => return Err(error.into()),
    };
    let ReplyLinkPage { instance, record, state: now, form_field, may_reveal_code } = &opened;
    let style = PageStyle::for_record(&state, instance, record);
    let texts = style.texts;
    let facts = state.services.shared.login_facts.login_details(instance, record);
    match now {
        ReplyLinkState::Open => {}
        ReplyLinkState::Used => {
            return Ok(message_page_with_dispute(&style, &texts.used_title, &texts.used_lead, &facts.dispute));
        }
        ReplyLinkState::Disputed { late } => return Ok(disputed_page(StatusCode::GONE, &style, *late)),
        ReplyLinkState::Closed => {
            return Ok(message_page(StatusCode::GONE, &style, "late", &texts.invalid_title, &texts.invalid_lead));
        }
    }
    let page = ConfirmPage {
        texts,
        title: texts.confirm_title.replace("<name>", style.name),
        subject: masked_phone(record),
        facts: &facts,
        form_field,
        may_reveal_code: *may_reveal_code,
        style: &style,
    };
    let mut builder = PageResponse::new(&style);
    builder.redirects_to = redirect_target(instance, &record.request);
    // A link without a binding is bound to the browser at its first tap, so that a lost response can be requested
    // again.
    builder.set_cookie = new_cookie;
    Ok(builder.render(StatusCode::OK, &page))
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
    let texts = style.texts;
    if late {
        return message_page(
            status,
            style,
            "ok",
            &texts.late_dispute_title,
            &texts.late_dispute_lead.replace("<name>", style.name),
        );
    }
    message_page(status, style, "ok", &texts.disputed_title, &texts.disputed_lead)
}

/// `POST /o/{token}`: completes the login, once.
pub(crate) async fn complete(
    state: Data<PublicState>,
    cx: Cx,
    token: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> PageResult {
    let visitor = Visitor::new(&state, &request);
    let result = try_complete(&state, &cx, &token, &visitor, &request, payload).await;
    result.or_else(|problem| visitor.error_response(&state, problem, &format!("/o/{token}")))
}

async fn try_complete(
    state: &PublicState,
    cx: &RequestContext,
    token: &str,
    visitor: &Visitor,
    request: &HttpRequest,
    payload: Payload,
) -> PageResult {
    let form = visitor::same_origin_form(state, request, payload, visitor::MAX_FORM_LEN).await?;
    let field = form.get("form").map(String::as_str).unwrap_or_default();
    let token: Token = token.parse().map_err(|_| Problem::not_found())?;
    let elsewhere = form.contains_key("elsewhere");
    let (instance, record, tapped) =
        state.services.completion.complete(cx, &token, visitor.browser(), field, elsewhere).await?;
    let style = PageStyle::for_record(state, &instance, &record);
    let texts = style.texts;
    Ok(match tapped {
        CompletionResult::Completed { redirect: Some(url) } => see_other(url.as_str()),
        CompletionResult::Completed { redirect: None } | CompletionResult::Confirmed => {
            message_page(StatusCode::OK, &style, "ok", &texts.done_title, &texts.done_lead)
        }
        CompletionResult::CodeRevealed { code } => {
            let facts = state.services.shared.login_facts.login_details(&instance, &record);
            let page =
                CodePage { style: &style, texts, code: code.as_str(), subject: masked_phone(&record), facts: &facts };
            PageResponse::new(&style).render(StatusCode::OK, &page)
        }
        CompletionResult::Used => {
            let facts = state.services.shared.login_facts.login_details(&instance, &record);
            message_page_with_dispute(&style, &texts.used_title, &texts.used_lead, &facts.dispute)
        }
        CompletionResult::WrongBrowser => {
            message_page(StatusCode::FORBIDDEN, &style, "late", &texts.wrong_browser_title, &texts.wrong_browser_lead)
        }
    })
}

/// `GET /d/{token}`: the login that the person may object to.
pub(crate) async fn dispute_form(
    state: Data<PublicState>,
    cx: Cx,
    token: Path<String>,
    request: HttpRequest,
) -> PageResult {
    let visitor = Visitor::new(&state, &request);
    let Ok(token) = token.parse::<Token>() else { return Ok(unavailable_page(&state, &visitor)) };
    let (instance, record, now, form_field) = match state.services.completion.open_dispute(&cx, &token).await {
        Ok(found) => found,
        Err(ServiceError::NotFound) => return Ok(unavailable_page(&state, &visitor)),
        Err(error) => return Err(error.into()),
    };
    state.services.completion.count_page_view(&record, "dispute");
    let style = PageStyle::for_record(&state, &instance, &record);
    let texts = style.texts;
    match now {
        ReplyLinkState::Open => {}
        ReplyLinkState::Disputed { late } => return Ok(disputed_page(StatusCode::GONE, &style, late)),
        ReplyLinkState::Used | ReplyLinkState::Closed => {
            return Ok(message_page(StatusCode::GONE, &style, "late", &texts.invalid_title, &texts.invalid_lead));
        }
    }
    let facts = state.services.shared.login_facts.login_details(&instance, &record);
    let page = DisputePage {
        style: &style,
        texts,
        lead: texts.dispute_lead.replace("<name>", style.name),
        subject: masked_phone(&record),
        facts: &facts,
        form_field: &form_field,
    };
    Ok(PageResponse::new(&style).render(StatusCode::OK, &page))
}

/// `POST /d/{token}`: "This wasn't me."
pub(crate) async fn dispute(
    state: Data<PublicState>,
    cx: Cx,
    token: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> PageResult {
    let visitor = Visitor::new(&state, &request);
    let result = try_dispute(&state, &cx, &token, &request, payload).await;
    result.or_else(|problem| visitor.error_response(&state, problem, &format!("/d/{token}")))
}

async fn try_dispute(
    state: &PublicState,
    cx: &RequestContext,
    token: &str,
    request: &HttpRequest,
    payload: Payload,
) -> PageResult {
    let form = visitor::same_origin_form(state, request, payload, visitor::MAX_FORM_LEN).await?;
    let field = form.get("form").map(String::as_str).unwrap_or_default();
    let token: Token = token.parse().map_err(|_| Problem::not_found())?;
    let (instance, record) = state.services.completion.dispute(cx, &token, field).await?;
    let style = PageStyle::for_record(state, &instance, &record);
    let late = matches!(record.details.completion(), Some(Completion::Disputed { after: LoginProgress::Redeemed, .. }));
    Ok(disputed_page(StatusCode::OK, &style, late))
}
