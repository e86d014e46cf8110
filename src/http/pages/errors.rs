//! Pages that say why something is not possible, and the way on.

use actix_web::{
    Error, HttpResponse, ResponseError as _,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{StatusCode, header},
    middleware::Next,
    web::Data,
};

use super::{
    layout::{MessagePage, PageResponse, PageStyle, see_other},
    texts::PageTexts,
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

/// The icon, title and text for an error. `None` stands for those of an invalid link.
fn message(texts: &PageTexts, code: Code) -> Option<(&'static str, &str, &str)> {
    match code {
        Code::CodeLocked | Code::InstanceFull | Code::RateLimited => {
            Some(("clock", &texts.rate_limited_title, &texts.rate_limited_lead))
        }
        Code::CrossSite
        | Code::InternalError
        | Code::StoreUnavailable
        | Code::TemporaryReducedCapacity
        | Code::TokenRefused => Some(("retry", &texts.retry_title, &texts.retry_lead)),
        _ => None,
    }
}

impl Visitor {
    /// An error page for a browser, the problem itself for other clients. `back` is the link to try again; the page for
    /// an error of ours has none, and [`as_pages`] makes it.
    pub(in crate::http) fn error_response(
        &self,
        state: &PublicState,
        problem: Problem,
        back: &str,
    ) -> Result<HttpResponse, Problem> {
        if !self.reads_html() || problem.status_code().is_server_error() {
            return Err(problem);
        }
        let style = PageStyle::unbranded(state, self);
        let Some((icon, title, text)) = message(style.texts, problem.code) else {
            let status = if problem.code == Code::NotFound { StatusCode::GONE } else { problem.status_code() };
            return Ok(MessagePage::invalid(&style).respond(status));
        };
        let back = self.path(state, back, "");
        let page =
            MessagePage { link: &back, link_text: &style.texts.refresh, ..MessagePage::new(&style, icon, title, text) };
        let mut builder = PageResponse::new(&style);
        builder.retry_after = problem.retry_after;
        let mut response = builder.render(problem.status_code(), &page);
        rate_limit_headers::add_headers(response.headers_mut(), &problem.limit_statuses);
        Ok(response)
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

/// Middleware that shows problems as pages to browsers that reach a path of the API, a path that does not exist, or an
/// internal error. Only the body and its headers are replaced: status, `Allow` and `Retry-After` stay.
pub(in crate::http) async fn as_pages(
    state: Data<PublicState>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let response = next.call(request).await?;
    let code = response.response().extensions().get::<Code>().copied();
    let Some(code) = code else { return Ok(response.map_into_left_body()) };
    let visitor = Visitor::new(&state, response.request());
    if !visitor.reads_html() {
        return Ok(response.map_into_left_body());
    }
    let (request, old) = response.into_parts();
    let style = PageStyle::unbranded(&state, &visitor);
    let page = match message(style.texts, code) {
        Some((icon, title, text)) => MessagePage::new(&style, icon, title, text),
        None => MessagePage::invalid(&style),
    };
    let mut page = page.respond(old.status());
    for (name, value) in old.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH && !page.headers().contains_key(name) {
            page.headers_mut().append(name.clone(), value.clone());
        }
    }
    Ok(ServiceResponse::new(request, page).map_into_right_body())
}

/// For a link that is unknown, or has been removed.
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
