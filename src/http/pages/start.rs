//! `/l/{handle}`: the start page of a login shows a WhatsApp button, a QR code and the live status, and has the form for
//! the code from the reply.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Data, Path},
};
use askama::Template;

use super::{
    end::end_page,
    errors::{unavailable_page, wrong_browser_page},
    layout::{MessagePage, PageResponse, PageResult, PageStyle, SCRIPT},
    texts::PageTexts,
    visitor::{self, Visitor},
};
use crate::{
    domain::{
        binding::{MAX_REPLY_CODE_ATTEMPTS, WhatsAppDevice},
        token::Token,
    },
    http::{PublicState, context::Cx, qr},
    service::{ServiceError, StartPage, StartPageState, redirect_target},
};

#[derive(Template)]
#[template(path = "pages/wait.html")]
#[expect(clippy::struct_excessive_bools, reason = "what a template shows or hides")]
struct StartPageTemplate<'a> {
    style: &'a PageStyle<'a>,
    texts: &'static PageTexts,
    script: &'static str,
    stage: &'static str,
    is_pending: bool,
    has_wrong_sender: bool,
    /// 1 to 3, of the steps that the page lists.
    step: u8,
    path: String,
    /// The page's own path with the query that loads it in this form again.
    reload_url: String,
    code_path: String,
    form_field: &'a str,
    /// The time of the response, in milliseconds since the Unix epoch.
    server_time: i64,
    /// When the link or the code expires, in milliseconds since the Unix epoch.
    expires_at: i64,
    /// The section that a POST without JavaScript has opened, or that the person has used before.
    open_section: Option<&'static str>,
    /// The person has opened WhatsApp with the button of this page.
    has_opened_whatsapp: bool,
    /// Show the QR code: another phone may send the message, and the text fits.
    show_qr: bool,
    /// A person has pressed the button on this page, so the script may complete the login.
    may_finish_by_script: bool,
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
    number: String,
    /// The sentence before and after the number.
    manual_lead: (&'static str, &'static str),
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
            let flag = [HERE, QR].into_iter().find(|flag| visitor::query_value(&request, flag).is_some());
            Ok(render_page(&state, &visitor, &handle, &start, cookie, flag))
        }
        Err(ServiceError::NotFound) => Ok(unavailable_page(&state, &visitor)),
        Err(error) => Err(error.into()),
    }
}

/// In the query: the section that a POST without JavaScript has opened.
const HERE: &str = WhatsAppDevice::Same.as_str();
const QR: &str = WhatsAppDevice::Other.as_str();

fn render_page(
    state: &PublicState,
    visitor: &Visitor,
    handle: &Token,
    start: &StartPage,
    set_cookie: Option<String>,
    flag: Option<&'static str>,
) -> HttpResponse {
    let StartPage { instance, record, state: page_state, form_field, .. } = start;
    let mut style = PageStyle::for_record(state, instance, record, visitor);
    let texts = style.texts;
    // A login for a client of the OpenID provider belongs to the browser that its authorization request came from.
    if record.request.authorization.is_some() && !start.is_bound_browser {
        return wrong_browser_page(&style);
    }
    if page_state.is_last() {
        return end_page(&style, start, set_cookie);
    }
    style.language_query = match flag {
        Some(HERE) => "?here&",
        Some(_) => "?qr&",
        None => "?",
    };
    let services = &state.services;
    let binding = record.details.binding.as_ref();
    let tapped = binding.filter(|binding| start.is_bound_browser && !binding.automatic);
    let tapped = tapped.map(|binding| binding.whatsapp_device.as_str());
    let path = format!("/l/{handle}");
    let mut page = StartPageTemplate {
        texts,
        script: &SCRIPT,
        stage: page_state.as_str(),
        is_pending: page_state.is_pending(),
        has_wrong_sender: *page_state == StartPageState::PendingAfterWrongSender,
        step: 3,
        path: services.env.public_url.path(&path),
        reload_url: visitor.path(state, &path, flag.unwrap_or_default()),
        code_path: visitor.path(state, &format!("{path}/code"), ""),
        form_field,
        server_time: services.env.store.now().as_millisecond(),
        expires_at: record.expires_at.as_millisecond(),
        open_section: flag.or(tapped),
        has_opened_whatsapp: flag.is_none() && tapped == Some(HERE),
        show_qr: false,
        may_finish_by_script: binding.is_some_and(|binding| !binding.automatic),
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
        fake_phone: instance.gateway.fake_phone("").is_some(),
        text: String::new(),
        number: instance.config.number.e164(),
        manual_lead: texts.manual_lead.split_once("<number>").unwrap_or((&texts.manual_lead, "")),
        qr: String::new(),
        error: String::new(),
        style: &style,
    };
    match page_state {
        StartPageState::Pending | StartPageState::PendingAfterWrongSender => {
            let Some(code) = record.link_code(&services.env.keys) else {
                return MessagePage::invalid(&style).respond(StatusCode::GONE);
            };
            page.step = if page.has_opened_whatsapp { 2 } else { 1 };
            page.text = instance.prefilled(record, &code);
            page.message_url = instance.page_message_url(&page.text);
            page.qr = qr::bmp_data_url(&page.message_url).unwrap_or_default();
            page.show_qr = !instance.config.strict_browser && !page.qr.is_empty();
        }
        StartPageState::AwaitingCode { until, wrong_attempts } => {
            page.expires_at = until.as_millisecond();
            if *wrong_attempts > 0 {
                let left = MAX_REPLY_CODE_ATTEMPTS.saturating_sub(*wrong_attempts);
                page.error = texts.code_wrong.replace("<n>", &left.to_string());
            }
        }
        _ => {}
    }
    let mut builder = PageResponse::new(&style);
    builder.redirects_to = redirect_target(instance, &record.request);
    builder.set_cookie = set_cookie;
    builder.script = Some(&SCRIPT);
    builder.render(StatusCode::OK, &page)
}
