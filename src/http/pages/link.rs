//! `/o/{token}`: the link in the reply, which completes the login. `/d/{token}`: the objection "This wasn't me".

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Data, Path, Payload},
};
use askama::Template;

use super::{
    errors::{unavailable_page, wrong_browser_page},
    layout::{MessagePage, PageResponse, PageResult, PageStyle, SCRIPT, see_other},
    texts::PageTexts,
    visitor::{self, Visitor},
};
use crate::{
    domain::{Subject, Verification, link::Link, login_details::LoginDetails, token::Token},
    http::{PublicState, context::Cx, problem::Problem},
    service::{
        CompletionResult, DisputeState, ReplyLinkPage, ReplyLinkState, RequestContext, ServiceError, redirect_target,
    },
};

#[derive(Template)]
#[template(path = "pages/confirm.html")]
struct ConfirmPage<'a> {
    style: &'a PageStyle<'a>,
    texts: &'static PageTexts,
    script: &'static str,
    title: String,
    /// The masked number; empty when WhatsApp hides it.
    subject: String,
    facts: &'a LoginDetails,
    dispute: &'a str,
    form_field: &'a str,
    may_reveal_code: bool,
}

#[derive(Template)]
#[template(path = "pages/code.html")]
struct CodePage<'a> {
    style: &'a PageStyle<'a>,
    texts: &'static PageTexts,
    script: &'static str,
    code: &'a str,
    subject: String,
    facts: &'a LoginDetails,
    dispute: &'a str,
}

#[derive(Template)]
#[template(path = "pages/dispute.html")]
struct DisputePage<'a> {
    style: &'a PageStyle<'a>,
    texts: &'static PageTexts,
    script: &'static str,
    lead: String,
    subject: String,
    facts: &'a LoginDetails,
    form_field: &'a str,
}

/// In the query of `/o/{token}`: show what came of a tap.
const TAPPED: &str = "tapped";

/// `GET /o/{token}`
pub(crate) async fn open(state: Data<PublicState>, cx: Cx, token: Path<String>, request: HttpRequest) -> PageResult {
    let mut visitor = Visitor::new(&state, &request);
    let Ok(token) = token.parse::<Token>() else { return Ok(unavailable_page(&state, &visitor)) };
    let new_cookie = visitor.ensure_cookie(&state);
    let tapped = visitor::query_value(&request, TAPPED).is_some();
    let opened = match state.services.completion.open_reply_link(&cx, &token, &visitor.cookies, tapped).await {
        Ok(opened) => opened,
        Err(ServiceError::NotFound) => return Ok(unavailable_page(&state, &visitor)),
        Err(error) => return Err(error.into()),
    };
    let ReplyLinkPage { instance, record, state: now, form_field, may_reveal_code } = &opened;
    let mut style = PageStyle::for_record(&state, instance, record, &visitor);
    let texts = style.texts;
    let facts = state.services.shared.login_facts.login_details_in(record, style.language);
    let dispute = with_language(&visitor, &facts.dispute);
    match now {
        ReplyLinkState::Open => {}
        ReplyLinkState::CodeRevealed { code } => {
            style.language_query = "?tapped&";
            let page = CodePage {
                style: &style,
                texts,
                script: &SCRIPT,
                code: code.as_str(),
                subject: masked_phone(record),
                facts: &facts,
                dispute: &dispute,
            };
            return Ok(scripted(&style).render(StatusCode::OK, &page));
        }
        ReplyLinkState::Confirmed | ReplyLinkState::Done => {
            let page = MessagePage::new(&style, "tick", &texts.done_title, &texts.done_lead);
            return Ok(MessagePage { dispute: &dispute, ..page }.respond(StatusCode::OK));
        }
        ReplyLinkState::Used => {
            let page = MessagePage::new(&style, "used", &texts.used_title, &texts.used_lead);
            return Ok(MessagePage { dispute: &dispute, ..page }.respond(StatusCode::GONE));
        }
        ReplyLinkState::WrongBrowser => return Ok(wrong_browser_page(&style)),
        ReplyLinkState::Disputed { late } => return Ok(disputed_page(&style, *late)),
        ReplyLinkState::Lapsed => {
            let page = MessagePage::failed(&style, "clock", &texts.lapsed_title, &texts.lapsed_lead);
            return Ok(page.respond(StatusCode::GONE));
        }
        ReplyLinkState::Closed => return Ok(MessagePage::invalid(&style).respond(StatusCode::GONE)),
    }
    let page = ConfirmPage {
        texts,
        script: &SCRIPT,
        title: style.with_name(&texts.confirm_title),
        subject: masked_phone(record),
        facts: &facts,
        dispute: &dispute,
        form_field,
        may_reveal_code: *may_reveal_code,
        style: &style,
    };
    let mut builder = scripted(&style);
    builder.redirects_to = redirect_target(instance, &record.request);
    // A link without a binding is bound to the browser at its first tap, so that a lost response can be requested
    // again.
    builder.set_cookie = new_cookie;
    Ok(builder.render(StatusCode::OK, &page))
}

fn scripted<'a>(style: &'a PageStyle<'a>) -> PageResponse<'a> {
    let mut builder = PageResponse::new(style);
    builder.script = Some(&SCRIPT);
    builder
}

/// The URL of another page, in the language that the visitor has chosen.
fn with_language(visitor: &Visitor, url: &str) -> String {
    match visitor.chosen {
        Some(language) if !url.is_empty() => format!("{url}?lang={}", language.tag()),
        _ => url.to_owned(),
    }
}

/// The masked phone number. Other identities mean nothing to a person and are left out.
fn masked_phone(record: &Verification<Link>) -> String {
    match record.proof().map(|proof| &proof.subject) {
        Some(Subject::Phone(phone)) => phone.masked(),
        Some(Subject::Lid(_) | Subject::Bsuid(_)) | None => String::new(),
    }
}

/// The page after an objection. `late`: the app had already redeemed the login.
fn disputed_page(style: &PageStyle<'_>, late: bool) -> HttpResponse {
    let texts = style.texts;
    let (title, text) = if late {
        (&texts.late_dispute_title, style.with_name(&texts.late_dispute_lead))
    } else {
        (&texts.disputed_title, texts.disputed_lead.clone())
    };
    MessagePage::new(style, "shield", title, &text).respond(StatusCode::GONE)
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
    result.or_else(|problem| visitor.form_error(&state, problem, &format!("/o/{token}")))
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
    let page = |flag| see_other(&visitor.path(state, &format!("/o/{token}"), flag));
    Ok(match state.services.completion.complete(cx, &token, visitor.browser(), field, elsewhere).await? {
        CompletionResult::Completed { redirect: Some(url) } => see_other(url.as_str()),
        CompletionResult::CodeRevealed | CompletionResult::WrongBrowser => page(TAPPED),
        CompletionResult::Completed { redirect: None } | CompletionResult::Confirmed | CompletionResult::Used => {
            page("")
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
    let style = PageStyle::for_record(&state, &instance, &record, &visitor);
    let texts = style.texts;
    match now {
        DisputeState::Open => {}
        DisputeState::Disputed { late } => return Ok(disputed_page(&style, late)),
        DisputeState::Closed => return Ok(MessagePage::invalid(&style).respond(StatusCode::GONE)),
    }
    let facts = state.services.shared.login_facts.login_details_in(&record, style.language);
    let page = DisputePage {
        style: &style,
        texts,
        script: &SCRIPT,
        lead: style.with_name(&texts.dispute_lead),
        subject: masked_phone(&record),
        facts: &facts,
        form_field: &form_field,
    };
    Ok(scripted(&style).render(StatusCode::OK, &page))
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
    let result = try_dispute(&state, &cx, &token, &visitor, &request, payload).await;
    result.or_else(|problem| visitor.form_error(&state, problem, &format!("/d/{token}")))
}

async fn try_dispute(
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
    state.services.completion.dispute(cx, &token, field).await?;
    Ok(see_other(&visitor.path(state, &format!("/d/{token}"), "")))
}
