//! `/l/{handle}`: the start page of a login, with its button, QR code and live stage, and the form for the code from
//! the reply.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Data, Path, Payload},
};
use askama::Template;
use serde_json::json;

use super::{
    layout::{PageResponse, PageStyle, SCRIPT, note_page, see_other, set_security_headers},
    visitor::{self, Visitor},
    words::Words,
};
use crate::{
    domain::{Mode, binding::WhatsAppDevice, token::Token, whatsapp},
    http::{PublicState, context::Cx, limits, problem::Problem, qr},
    service::{EnteredCode, RequestContext, ServiceError, StartPage, StartPageState, redirect_target},
};

#[derive(Template)]
#[template(path = "pages/wait.html")]
struct WaitPage<'a> {
    style: &'a PageStyle<'a>,
    w: &'static Words,
    script: &'static str,
    stage: &'static str,
    last: bool,
    title: &'a str,
    lead: &'a str,
    sign: &'a str,
    path: String,
    form_field: &'a str,
    /// Milliseconds since the Unix epoch.
    now: i64,
    until: i64,
    /// The section that a POST without JavaScript has opened.
    revealed: Option<&'static str>,
    /// Show the QR code: another phone may send the message, and the text fits.
    scannable: bool,
    renewable: bool,
    /// Set once a person has tapped here: the page may then continue by itself.
    automatic: &'static str,
    /// What the person is about to agree to; empty unless the app has set it.
    purpose: &'a str,
    /// A notice that replies of this number are delayed; empty when they are not.
    busy: &'a str,
    whatsapp_link: String,
    chat: String,
    text: String,
    hand_lead: String,
    qr: String,
    error: String,
}

type PageResult = Result<HttpResponse, Problem>;

/// A delay of replies above which the page says so.
const MIN_REPORTED_DELAY: Duration = Duration::from_secs(5);

/// `GET /l/{handle}`: stores nothing; a new browser gets a random cookie.
pub(crate) async fn start_page(
    app: Data<PublicState>,
    cx: Cx,
    handle: Path<String>,
    request: HttpRequest,
) -> PageResult {
    let mut visitor = Visitor::new(&app, &request);
    let Ok(handle) = handle.parse::<Token>() else { return Ok(gone_page(&app, &visitor)) };
    let cookie = visitor.ensure_cookie(&app);
    match app.service.open_start_page(&cx, &handle, &visitor.cookies).await {
        Ok(start) => {
            app.service.count_page_view(&start.record, "start");
            Ok(render_page(&app, &handle, &start, cookie, &PageUpdate::default()))
        }
        Err(ServiceError::NotFound) => Ok(gone_page(&app, &visitor)),
        Err(error) => Err(error.into()),
    }
}

/// What a POST changes on the page.
struct PageUpdate {
    status: StatusCode,
    revealed: Option<&'static str>,
    tries_left: Option<u8>,
}

impl Default for PageUpdate {
    fn default() -> Self {
        Self { status: StatusCode::OK, revealed: None, tries_left: None }
    }
}

fn render_page(
    app: &PublicState,
    handle: &Token,
    start: &StartPage,
    set_cookie: Option<String>,
    shown: &PageUpdate,
) -> HttpResponse {
    let StartPage { instance, record, state: stage, form_field, .. } = start;
    let style = PageStyle::for_record(app, instance, record);
    let w = style.words;
    let service = &app.service;
    let number = instance.config.number.e164();
    let mut page = WaitPage {
        style: &style,
        w,
        script: SCRIPT,
        stage: stage.as_str(),
        last: stage.is_last(),
        title: "",
        lead: "",
        sign: "late",
        path: format!("/l/{handle}"),
        form_field,
        now: service.now().as_millisecond(),
        until: record.expires_at.as_millisecond(),
        revealed: shown.revealed,
        scannable: false,
        renewable: false,
        automatic: if record.details.binding.as_ref().is_some_and(|held| !held.automatic) {
            "data-automatic"
        } else {
            ""
        },
        purpose: record.request.purpose.as_deref().unwrap_or_default(),
        busy: if service.message_delay(instance.config.id) > MIN_REPORTED_DELAY { &w.busy } else { "" },
        whatsapp_link: String::new(),
        chat: format!("https://wa.me/{}", instance.config.number.digits()),
        text: String::new(),
        hand_lead: w.by_hand_lead.replace("<number>", &format!("\u{2066}{number}\u{2069}")),
        qr: String::new(),
        error: shown.tries_left.map(|left| w.code_wrong.replace("<n>", &left.to_string())).unwrap_or_default(),
    };
    let (title, lead): (&str, &str) = match stage {
        StartPageState::Pending => (&w.pending_title, ""),
        StartPageState::AwaitingLink => (&w.link_title, ""),
        StartPageState::AwaitingCode { .. } => (&w.code_title, ""),
        StartPageState::AwaitingFinish => (&w.finish_title, ""),
        StartPageState::Done => (&w.done_title, &w.done_lead),
        StartPageState::Expired { renewable: true } => (&w.expired_title, &w.expired_lead),
        StartPageState::Disputed => (&w.disputed_title, &w.disputed_lead),
        StartPageState::Expired { renewable: false } | StartPageState::Closed => (&w.over_title, &w.over_lead),
    };
    (page.title, page.lead) = (title, lead);
    match stage {
        StartPageState::Pending => {
            let Some(code) = service.link_code(record) else {
                return note_page(StatusCode::GONE, &style, "late", &w.over_title, &w.over_lead);
            };
            page.text = service.prefilled(instance, record, &code);
            page.whatsapp_link = whatsapp::wa_me(&instance.config.number, &page.text);
            page.qr = qr::bmp_data_url(&page.whatsapp_link).unwrap_or_default();
            page.scannable = !instance.config.strict_browser && !page.qr.is_empty();
        }
        StartPageState::AwaitingCode { until } => page.until = until.as_millisecond(),
        StartPageState::Done => page.sign = "ok",
        StartPageState::Expired { renewable } => page.renewable = *renewable,
        _ => {}
    }
    let mut answer = PageResponse::new(&style);
    answer.redirects_to = redirect_target(instance, &record.request);
    answer.set_cookie = set_cookie;
    answer.scripted = !page.last;
    answer.render(shown.status, &page)
}

/// `POST /l/{handle}`: binds the login to this browser (`do` is absent), renews an expired link (`renew`), or
/// completes the login in the waiting page (`finish`).
pub(crate) async fn tap(
    app: Data<PublicState>,
    cx: Cx,
    handle: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> PageResult {
    let visitor = Visitor::new(&app, &request);
    let answer = try_tap(&app, &cx, &handle, &visitor, &request, payload).await;
    answer.or_else(|problem| visitor.error_response(&app, problem, &format!("/l/{handle}")))
}

async fn try_tap(
    app: &PublicState,
    cx: &RequestContext,
    handle: &str,
    visitor: &Visitor,
    request: &HttpRequest,
    payload: Payload,
) -> PageResult {
    let form = visitor::same_origin_form(app, request, payload).await?;
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let handle: Token = handle.parse().map_err(|_| Problem::not_found())?;
    let service = &app.service;
    match field("do") {
        "renew" => {
            let renewed = service.renew(cx, &handle, &visitor.cookies, field("form")).await;
            return limits::answer(renewed, |fresh| see_other(&format!("/l/{fresh}")));
        }
        "finish" => {
            let redirect = service.finish(cx, &handle, visitor.browser(), field("form")).await?;
            return Ok(see_other(redirect.as_ref().map_or(&format!("/l/{handle}"), |url| url.as_str())));
        }
        _ => {}
    }
    let place = if field("place") == "qr" { WhatsAppDevice::Other } else { WhatsAppDevice::Same };
    let automatic = field("auto") == "1";
    let start = service.bind_browser(cx, &handle, visitor.browser(), field("form"), place, automatic).await?;
    let held = start
        .record
        .details
        .binding
        .as_ref()
        .filter(|_| start.is_bound_browser)
        .map(|binding| binding.whatsapp_device.as_str());
    if visitor.wants_json {
        let mut response = HttpResponse::Ok();
        set_security_headers(&mut response, &[], None, None);
        let body = json!({ "state": start.state.as_str(), "place": held }).to_string();
        return Ok(response.content_type("application/json").body(body));
    }
    Ok(render_page(app, &handle, &start, None, &PageUpdate { revealed: held, ..PageUpdate::default() }))
}

/// `POST /l/{handle}/code`
pub(crate) async fn submit_code(
    app: Data<PublicState>,
    cx: Cx,
    handle: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> PageResult {
    let visitor = Visitor::new(&app, &request);
    let answer = try_code(&app, &cx, &handle, &visitor, &request, payload).await;
    answer.or_else(|problem| visitor.error_response(&app, problem, &format!("/l/{handle}")))
}

async fn try_code(
    app: &PublicState,
    cx: &RequestContext,
    handle: &str,
    visitor: &Visitor,
    request: &HttpRequest,
    payload: Payload,
) -> PageResult {
    let form = visitor::same_origin_form(app, request, payload).await?;
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let handle: Token = handle.parse().map_err(|_| Problem::not_found())?;
    let service = &app.service;
    match service.enter_code(cx, &handle, visitor.browser(), field("form"), field("code")).await? {
        EnteredCode::Correct { redirect: Some(url) } => Ok(see_other(url.as_str())),
        EnteredCode::Correct { redirect: None } => Ok(see_other(&format!("/l/{handle}"))),
        EnteredCode::Wrong { attempts_left: tries_left } => {
            let start = service.open_start_page(cx, &handle, &visitor.cookies).await?;
            let shown = PageUpdate {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                tries_left: Some(tries_left),
                ..PageUpdate::default()
            };
            Ok(render_page(app, &handle, &start, None, &shown))
        }
    }
}

/// `GET /l/{handle}/go`, for links in SMS and e-mail: redirects to WhatsApp if the login needs no binding to a browser,
/// otherwise to the start page.
pub(crate) async fn go_to_whatsapp(
    app: Data<PublicState>,
    cx: Cx,
    handle: Path<String>,
    request: HttpRequest,
) -> PageResult {
    let visitor = Visitor::new(&app, &request);
    let Ok(handle) = handle.parse::<Token>() else { return Ok(gone_page(&app, &visitor)) };
    let start = match app.service.open_start_page(&cx, &handle, &[]).await {
        Ok(start) => start,
        Err(ServiceError::NotFound) => return Ok(gone_page(&app, &visitor)),
        Err(error) => return Err(error.into()),
    };
    let StartPage { instance, record, state: stage, .. } = &start;
    app.service.count_page_view(record, "start");
    let needs_binding = match record.request.completion {
        Some(Mode::SameBrowser) => record.request.challenge.is_none(),
        Some(Mode::ProvePhone) => true,
        Some(Mode::Anywhere) | None => false,
    };
    let code = app.service.link_code(record).filter(|_| *stage == StartPageState::Pending && !needs_binding);
    Ok(match code {
        Some(code) => {
            let text = app.service.prefilled(instance, record, &code);
            see_other(&whatsapp::wa_me(&instance.config.number, &text))
        }
        None => see_other(&app.service.public_url(&format!("/l/{handle}"))),
    })
}

/// `GET /l/{handle}/qr.svg`
pub(crate) async fn qr_code(app: Data<PublicState>, cx: Cx, handle: Path<String>) -> PageResult {
    let handle: Token = handle.parse().map_err(|_| Problem::not_found())?;
    let StartPage { instance, record, .. } = app.service.open_start_page(&cx, &handle, &[]).await?;
    let code = app.service.link_code(&record).ok_or_else(Problem::not_found)?;
    let text = app.service.prefilled(&instance, &record, &code);
    let label = &Words::for_language(instance.language(Some(&record.request))).qr_label;
    let svg = qr::svg(&whatsapp::wa_me(&instance.config.number, &text), label).ok_or_else(Problem::not_found)?;
    let mut response = HttpResponse::Ok();
    set_security_headers(&mut response, &[], None, None);
    response.insert_header(("cross-origin-resource-policy", "cross-origin"));
    Ok(response.content_type("image/svg+xml").body(svg))
}

pub(super) fn gone_page(app: &PublicState, visitor: &Visitor) -> HttpResponse {
    let style = PageStyle::unbranded(app, visitor.language);
    note_page(StatusCode::GONE, &style, "late", &style.words.over_title, &style.words.over_lead)
}
