//! The way from a start page's address to WhatsApp without that page: a redirect, and a QR code.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};

use super::{
    errors::unavailable_page,
    layout::{PageResult, see_other, set_security_headers},
    texts::PageTexts,
    visitor::Visitor,
};
use crate::{
    domain::{Mode, token::Token},
    http::{PublicState, context::Cx, problem::Problem, qr},
    service::{ServiceError, StartPage, StartPageState},
};

/// `GET /l/{handle}/go`, for links in SMS and e-mail: redirects to WhatsApp if the login needs no binding to a browser,
/// otherwise to the start page.
pub(crate) async fn go_to_whatsapp(
    state: Data<PublicState>,
    cx: Cx,
    handle: Path<String>,
    request: HttpRequest,
) -> PageResult {
    let visitor = Visitor::new(&state, &request);
    let Ok(handle) = handle.parse::<Token>() else { return Ok(unavailable_page(&state, &visitor)) };
    let start = match state.services.completion.open_start_page(&cx, &handle, &[]).await {
        Ok(start) => start,
        Err(ServiceError::NotFound) => return Ok(unavailable_page(&state, &visitor)),
        Err(error) => return Err(error.into()),
    };
    let StartPage { instance, record, state: page_state, .. } = &start;
    state.services.completion.count_page_view(record, "start");
    let needs_binding = match record.request.completion {
        Some(Mode::SameBrowser) => record.request.challenge.is_none(),
        Some(Mode::ProvePhone) => true,
        Some(Mode::Anywhere) | None => false,
    };
    let code =
        record.link_code(&state.services.env.keys).filter(|_| *page_state == StartPageState::Pending && !needs_binding);
    Ok(match code {
        Some(code) => {
            let text = instance.prefilled(record, &code);
            see_other(&instance.page_message_url(&text))
        }
        None => see_other(&state.services.env.public_url.absolute(&format!("/l/{handle}"))),
    })
}

/// `GET /l/{handle}/qr.svg`
pub(crate) async fn qr_code(state: Data<PublicState>, cx: Cx, handle: Path<String>) -> PageResult {
    let handle: Token = handle.parse().map_err(|_| Problem::not_found())?;
    let StartPage { instance, record, .. } = state.services.completion.open_start_page(&cx, &handle, &[]).await?;
    if record.request.authorization.is_some() {
        // It would be shown without a look at the browser.
        return Err(Problem::not_found());
    }
    let code = record.link_code(&state.services.env.keys).ok_or_else(Problem::not_found)?;
    let text = instance.prefilled(&record, &code);
    let texts = PageTexts::for_channel(instance.gateway.channel(), instance.language(Some(&record.request)));
    let svg = qr::svg(&instance.page_message_url(&text), &texts.qr_label).ok_or_else(Problem::not_found)?;
    let mut response = HttpResponse::Ok();
    set_security_headers(&mut response, &[], None, None);
    response.insert_header(("cross-origin-resource-policy", "cross-origin"));
    Ok(response.content_type("image/svg+xml").body(svg))
}
