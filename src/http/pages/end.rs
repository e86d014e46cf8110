//! The page of a login in its last state.

use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;

use super::{
    layout::{PageResponse, PageStyle, SCRIPT},
    texts::PageTexts,
};
use crate::service::{StartPage, StartPageState};

/// A login that ended: how, and the way on.
#[derive(Template)]
#[template(path = "pages/end.html")]
struct EndPage<'a> {
    style: &'a PageStyle<'a>,
    texts: &'static PageTexts,
    script: &'static str,
    stage: &'static str,
    icon: &'static str,
    title: &'a str,
    lead: String,
    form_field: &'a str,
    renewable: bool,
    has_failed: bool,
}

/// The page of a login in its last state.
pub(super) fn end_page(style: &PageStyle<'_>, start: &StartPage, set_cookie: Option<String>) -> HttpResponse {
    let texts = style.texts;
    let invalid = ("unknown", &texts.invalid_title, texts.invalid_lead.clone());
    let (icon, title, lead) = match start.state {
        StartPageState::Done => ("tick", &texts.done_title, texts.done_lead.clone()),
        StartPageState::Expired { renewable: true } => ("clock", &texts.expired_title, texts.expired_lead.clone()),
        StartPageState::Expired { renewable: false } => {
            ("clock", &texts.expired_title, texts.expired_final_lead.clone())
        }
        StartPageState::WrongSender => ("number", &texts.wrong_sender_title, texts.wrong_sender_lead.clone()),
        StartPageState::Canceled => ("cross", &texts.canceled_title, style.with_name(&texts.canceled_lead)),
        StartPageState::CodeSpent { .. } => ("lock", &texts.code_spent_title, texts.code_spent_lead.clone()),
        StartPageState::Lapsed { .. } => ("clock", &texts.lapsed_title, texts.lapsed_lead.clone()),
        StartPageState::Disputed => ("shield", &texts.disputed_title, texts.disputed_lead.clone()),
        StartPageState::Pending
        | StartPageState::PendingAfterWrongSender
        | StartPageState::AwaitingLink
        | StartPageState::AwaitingCode { .. }
        | StartPageState::AwaitingFinish => invalid,
    };
    let page = EndPage {
        style,
        texts,
        script: &SCRIPT,
        stage: start.state.as_str(),
        icon,
        title,
        lead,
        form_field: &start.form_field,
        renewable: matches!(
            start.state,
            StartPageState::Expired { renewable: true }
                | StartPageState::CodeSpent { renewable: true }
                | StartPageState::Lapsed { renewable: true }
        ),
        has_failed: !matches!(start.state, StartPageState::Done | StartPageState::Disputed),
    };
    let mut builder = PageResponse::new(style);
    builder.set_cookie = set_cookie;
    builder.script = Some(&SCRIPT);
    builder.render(StatusCode::OK, &page)
}
