//! Pages under `/l/{handle}`: the start page of a login shows a WhatsApp button, a QR code and the live status, and has
//! the form for the code from the reply.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Data, Path, Payload},
};
use askama::Template;
use serde_json::json;

use super::{
    layout::{PageResponse, PageResult, PageStyle, SCRIPT, message_page, see_other, set_security_headers},
    texts::PageTexts,
    visitor::{self, Visitor},
};
use crate::{
    domain::{Mode, binding::WhatsAppDevice, token::Token},
    http::{PublicState, context::Cx, limits, problem::Problem, qr},
    service::{EnteredCode, RequestContext, ServiceError, StartPage, StartPageState, redirect_target},
};

#[derive(Template)]
#[template(path = "pages/wait.html")]
#[expect(clippy::struct_excessive_bools, reason = "what a template shows or hides")]
struct StartPageTemplate<'a> {
    style: &'a PageStyle<'a>,
    texts: &'static PageTexts,
    script: &'static str,
    stage: &'static str,
    is_final: bool,
    title: &'a str,
    lead: &'a str,
    icon: &'a str,
    path: String,
    form_field: &'a str,
    /// Milliseconds since the Unix epoch.
    now: i64,
    deadline: i64,
    /// The section that a POST without JavaScript has opened.
    revealed: Option<&'static str>,
    /// Show the QR code: another phone may send the message, and the text fits.
    show_qr: bool,
    renewable: bool,
    /// Set once a person has pressed the button on this page: the script may then complete the login.
    automatic: &'static str,
    /// What the login is for; empty unless the app has set it.
    purpose: &'a str,
    /// A notice that replies of this number are delayed; empty when they are not.
    delay_notice: &'a str,
    /// The chat with the message typed.
    message_url: String,
    /// The chat without a text.
    chat_url: String,
    /// `dev`: a fake phone stands in for WhatsApp.
    fake_phone: bool,
    text: String,
    manual_lead: String,
    qr: String,
    error: String,
}

/// The page shows a notice if replies are delayed by more than this.
const MIN_REPORTED_DELAY: Duration = Duration::from_secs(5);

/// `GET /l/{handle}`: changes nothing in the store, because link previews open it too; a new browser gets a random
/// cookie.
pub(crate) async fn start_page(
    state: Data<PublicState>,
    cx: Cx,
    handle: Path<String>,
    request: HttpRequest,
) -> PageResult {
    let mut visitor = Visitor::new(&state, &request);
    let Ok(handle) = handle.parse::<Token>() else { return Ok(unavailable_page(&state, &visitor)) };
    let cookie = visitor.ensure_cookie(&state);
    match state.services.completion.open_start_page(&cx, &handle, &visitor.cookies).await {
        Ok(start) => {
            state.services.completion.count_page_view(&start.record, "start");
            Ok(render_page(&state, &handle, &start, cookie, &PageUpdate::default()))
        }
        Err(ServiceError::NotFound) => Ok(unavailable_page(&state, &visitor)),
        Err(error) => Err(error.into()),
    }
}

/// What the response to a POST shows in addition to the login's state.
struct PageUpdate {
    status: StatusCode,
    open_section: Option<&'static str>,
    attempts_left: Option<u8>,
}

impl Default for PageUpdate {
    fn default() -> Self {
        Self { status: StatusCode::OK, open_section: None, attempts_left: None }
    }
}

fn render_page(
    state: &PublicState,
    handle: &Token,
    start: &StartPage,
    set_cookie: Option<String>,
    update: &PageUpdate,
) -> HttpResponse {
    let StartPage { instance, record, state: page_state, form_field, .. } = start;
    let style = PageStyle::for_record(state, instance, record);
    let texts = style.texts;
    // A login for a client of the OpenID provider belongs to the browser that its authorization request came from.
    if record.request.authorization.is_some() && !start.is_bound_browser {
        return message_page(
            StatusCode::FORBIDDEN,
            &style,
            "late",
            &texts.wrong_browser_title,
            &texts.wrong_browser_lead,
        );
    }
    let services = &state.services;
    let number = instance.config.number.e164();
    let fake_phone = instance.gateway.fake_phone("").is_some();
    let mut page = StartPageTemplate {
        style: &style,
        texts,
        script: SCRIPT,
        stage: page_state.as_str(),
        is_final: page_state.is_last(),
        title: "",
        lead: "",
        icon: "late",
        path: services.env.public_url.path(&format!("/l/{handle}")),
        form_field,
        now: services.env.store.now().as_millisecond(),
        deadline: record.expires_at.as_millisecond(),
        revealed: update.open_section,
        show_qr: false,
        renewable: false,
        automatic: if record.details.binding.as_ref().is_some_and(|device| !device.automatic) {
            "data-automatic"
        } else {
            ""
        },
        purpose: record.request.purpose.as_deref().unwrap_or_default(),
        delay_notice: if services.shared.outbox.message_delay(instance.config.id, services.env.store.now())
            > MIN_REPORTED_DELAY
        {
            &texts.delay_notice
        } else {
            ""
        },
        message_url: String::new(),
        chat_url: instance.chat_url(),
        fake_phone,
        text: String::new(),
        manual_lead: texts.manual_lead.replace("<number>", &format!("\u{2066}{number}\u{2069}")),
        qr: String::new(),
        error: update.attempts_left.map(|left| texts.code_wrong.replace("<n>", &left.to_string())).unwrap_or_default(),
    };
    let (title, lead): (&str, &str) = match page_state {
        StartPageState::Pending => (&texts.pending_title, ""),
        StartPageState::AwaitingLink => (&texts.link_title, ""),
        StartPageState::AwaitingCode { .. } => (&texts.code_title, ""),
        StartPageState::AwaitingFinish => (&texts.finish_title, ""),
        StartPageState::Done => (&texts.done_title, &texts.done_lead),
        StartPageState::Expired { renewable: true } => (&texts.expired_title, &texts.expired_lead),
        StartPageState::Disputed => (&texts.disputed_title, &texts.disputed_lead),
        StartPageState::Expired { renewable: false } | StartPageState::Closed => {
            (&texts.invalid_title, &texts.invalid_lead)
        }
    };
    (page.title, page.lead) = (title, lead);
    match page_state {
        StartPageState::Pending => {
            let Some(code) = record.link_code(&services.env.keys) else {
                return message_page(StatusCode::GONE, &style, "late", &texts.invalid_title, &texts.invalid_lead);
            };
            page.text = instance.prefilled(record, &code);
            page.message_url = instance.page_message_url(&page.text);
            page.qr = qr::bmp_data_url(&page.message_url).unwrap_or_default();
            page.show_qr = !instance.config.strict_browser && !page.qr.is_empty();
        }
        StartPageState::AwaitingCode { until } => page.deadline = until.as_millisecond(),
        StartPageState::Done => page.icon = "ok",
        StartPageState::Expired { renewable } => page.renewable = *renewable,
        _ => {}
    }
    let mut builder = PageResponse::new(&style);
    builder.redirects_to = redirect_target(instance, &record.request);
    builder.set_cookie = set_cookie;
    builder.script = (!page.is_final).then_some(SCRIPT);
    builder.render(update.status, &page)
}

/// `POST /l/{handle}`: binds the login to this browser (`do` is absent), renews an expired link (`renew`), or
/// completes the login in the waiting page (`finish`).
pub(crate) async fn submit(
    state: Data<PublicState>,
    cx: Cx,
    handle: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> PageResult {
    let visitor = Visitor::new(&state, &request);
    let result = try_submit(&state, &cx, &handle, &visitor, &request, payload).await;
    result.or_else(|problem| visitor.error_response(&state, problem, &format!("/l/{handle}")))
}

async fn try_submit(
    state: &PublicState,
    cx: &RequestContext,
    handle: &str,
    visitor: &Visitor,
    request: &HttpRequest,
    payload: Payload,
) -> PageResult {
    let form = visitor::same_origin_form(state, request, payload, visitor::MAX_FORM_LEN).await?;
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let handle: Token = handle.parse().map_err(|_| Problem::not_found())?;
    let services = &state.services;
    match field("do") {
        "renew" => {
            let renewed = services.completion.renew(cx, &handle, &visitor.cookies, field("form")).await;
            return limits::respond(renewed, |fresh| {
                see_other(&state.services.env.public_url.path(&format!("/l/{fresh}")))
            });
        }
        "finish" => {
            let redirect = services.completion.finish(cx, &handle, visitor.browser(), field("form")).await?;
            let target = redirect.map_or_else(|| services.env.public_url.path(&format!("/l/{handle}")), String::from);
            return Ok(see_other(&target));
        }
        _ => {}
    }
    let place = if field("place") == "qr" { WhatsAppDevice::Other } else { WhatsAppDevice::Same };
    let automatic = field("auto") == "1";
    let start =
        services.completion.bind_browser(cx, &handle, visitor.browser(), field("form"), place, automatic).await?;
    let bound_device = start
        .record
        .details
        .binding
        .as_ref()
        .filter(|_| start.is_bound_browser)
        .map(|binding| binding.whatsapp_device.as_str());
    if visitor.wants_json {
        let mut response = HttpResponse::Ok();
        set_security_headers(&mut response, &[], None, None);
        let body = json!({ "state": start.state.as_str(), "place": bound_device }).to_string();
        return Ok(response.content_type("application/json").body(body));
    }
    Ok(render_page(state, &handle, &start, None, &PageUpdate { open_section: bound_device, ..PageUpdate::default() }))
}

/// `POST /l/{handle}/code`
pub(crate) async fn submit_code(
    state: Data<PublicState>,
    cx: Cx,
    handle: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> PageResult {
    let visitor = Visitor::new(&state, &request);
    let result = try_submit_code(&state, &cx, &handle, &visitor, &request, payload).await;
    result.or_else(|problem| visitor.error_response(&state, problem, &format!("/l/{handle}")))
}

async fn try_submit_code(
    state: &PublicState,
    cx: &RequestContext,
    handle: &str,
    visitor: &Visitor,
    request: &HttpRequest,
    payload: Payload,
) -> PageResult {
    let form = visitor::same_origin_form(state, request, payload, visitor::MAX_FORM_LEN).await?;
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let handle: Token = handle.parse().map_err(|_| Problem::not_found())?;
    let services = &state.services;
    match services.completion.enter_code(cx, &handle, visitor.browser(), field("form"), field("code")).await? {
        EnteredCode::Correct { redirect: Some(url) } => Ok(see_other(url.as_str())),
        EnteredCode::Correct { redirect: None } => {
            Ok(see_other(&state.services.env.public_url.path(&format!("/l/{handle}"))))
        }
        EnteredCode::Wrong { attempts_left } => {
            let start = services.completion.open_start_page(cx, &handle, &visitor.cookies).await?;
            let shown = PageUpdate {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                attempts_left: Some(attempts_left),
                ..PageUpdate::default()
            };
            Ok(render_page(state, &handle, &start, None, &shown))
        }
    }
}

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

pub(super) fn unavailable_page(state: &PublicState, visitor: &Visitor) -> HttpResponse {
    let style = PageStyle::unbranded(state, visitor.language);
    message_page(StatusCode::GONE, &style, "late", &style.texts.invalid_title, &style.texts.invalid_lead)
}
