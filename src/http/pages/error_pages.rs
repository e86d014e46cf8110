//! Pages that say why something is not possible, and the way on.

use actix_web::{HttpResponse, http::StatusCode};

use super::{
    layout::{MessagePage, PageResponse, PageResult, PageStyle, see_other},
    visitor::Visitor,
};
use crate::{
    domain::Language,
    http::{
        PublicState,
        problem::{Code, Problem},
        rate_limit_headers,
    },
};

impl Visitor {
    /// An error page for a browser, the problem itself for other clients. `back` is the link to try again.
    pub(in crate::http) fn error_response(
        &self,
        state: &PublicState,
        problem: Problem,
        back: &str,
    ) -> Result<HttpResponse, Problem> {
        if self.reads_html() {
            let back = self.path(state, back, "");
            problem_page(&PageStyle::unbranded(state, self), problem, &back)
        } else {
            Err(problem)
        }
    }

    /// As [`Visitor::error_response`], for a form of the page `path`, which says itself how its login ended.
    pub(super) fn form_error(
        &self,
        state: &PublicState,
        problem: Problem,
        path: &str,
    ) -> Result<HttpResponse, Problem> {
        if problem.code == Code::TokenSpent && self.reads_html() {
            return Ok(see_other(&self.path(state, path, "")));
        }
        self.error_response(state, problem, path)
    }
}

/// The page for a problem that the user can act on; `back` is the page to try again. Other problems, such as
/// internal errors, are returned unchanged.
fn problem_page(style: &PageStyle<'_>, problem: Problem, back: &str) -> PageResult {
    let texts = style.texts;
    let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (icon, title, text) = match problem.code {
        Code::NotFound | Code::TokenSpent => return Ok(MessagePage::invalid(style).respond(StatusCode::GONE)),
        Code::TokenRefused | Code::CrossSite => ("retry", &texts.retry_title, &texts.retry_lead),
        Code::RateLimited => ("clock", &texts.rate_limited_title, &texts.rate_limited_lead),
        _ => return Err(problem),
    };
    let page = MessagePage { link: back, link_text: &texts.refresh, ..MessagePage::new(style, icon, title, text) };
    let mut builder = PageResponse::new(style);
    builder.retry_after = problem.retry_after;
    let mut response = builder.render(status, &page);
    rate_limit_headers::add_headers(response.headers_mut(), &problem.limit_statuses);
    Ok(response)
}

pub(super) fn unavailable_page(state: &PublicState, visitor: &Visitor) -> HttpResponse {
    let mut style = PageStyle::unbranded(state, visitor);
    style.languages = Language::all().collect();
    MessagePage::invalid(&style).respond(StatusCode::GONE)
}

pub(super) fn wrong_browser_page(style: &PageStyle<'_>) -> HttpResponse {
    let texts = style.texts;
    let page = MessagePage::failed(style, "devices", &texts.wrong_browser_title, &texts.wrong_browser_lead);
    page.respond(StatusCode::FORBIDDEN)
}
