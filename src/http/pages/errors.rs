//! Errors as pages, for browsers that reach a path of the API, a path that does not exist, or an internal error.

use actix_web::{
    Error, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{StatusCode, header},
    middleware::Next,
    web::Data,
};

use super::{
    Visitor,
    layout::{MessagePage, PageStyle},
};
use crate::http::PublicState;

/// The middleware. Only the body and its headers are replaced: status, `Allow` and `Retry-After` stay.
pub(in crate::http) async fn as_pages(
    state: Data<PublicState>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let response = next.call(request).await?;
    let problem = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    if !problem {
        return Ok(response.map_into_left_body());
    }
    let visitor = Visitor::new(&state, response.request());
    if !visitor.reads_html() {
        return Ok(response.map_into_left_body());
    }
    let (request, old) = response.into_parts();
    let mut page = page(&state, &visitor, old.status());
    for (name, value) in old.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH && !page.headers().contains_key(name) {
            page.headers_mut().append(name.clone(), value.clone());
        }
    }
    Ok(ServiceResponse::new(request, page).map_into_right_body())
}

fn page(state: &PublicState, visitor: &Visitor, status: StatusCode) -> HttpResponse {
    let style = PageStyle::unbranded(state, visitor);
    let texts = style.texts;
    let (icon, title, lead) = match status {
        StatusCode::TOO_MANY_REQUESTS => ("clock", &texts.rate_limited_title, &texts.rate_limited_lead),
        status if status.is_server_error() => ("retry", &texts.retry_title, &texts.retry_lead),
        _ => return MessagePage::invalid(&style).respond(status),
    };
    MessagePage::new(&style, icon, title, lead).respond(status)
}
