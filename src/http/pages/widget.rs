//! `/widget.js`: the custom element `<countersign-login>`, which an app embeds into its own page.

use actix_web::{HttpRequest, HttpResponse, web::Data};
use serde_json::json;

use super::{texts::PageTexts, visitor::Visitor};
use crate::{domain::Language, http::PublicState};

const WIDGET: &str = include_str!("../../../templates/pages/widget.js");

/// `GET /widget.js`, with the texts of one language: that of `lang`, else the one that the browser prefers.
pub(crate) async fn widget(state: Data<PublicState>, request: HttpRequest) -> HttpResponse {
    let language = Visitor::new(&state, &request).language_or(Language::ENGLISH);
    HttpResponse::Ok()
        .content_type("text/javascript; charset=utf-8")
        .insert_header(("cache-control", "public, max-age=3600"))
        .insert_header(("vary", "accept-language"))
        .insert_header(("access-control-allow-origin", "*"))
        .insert_header(("cross-origin-resource-policy", "cross-origin"))
        .insert_header(("x-content-type-options", "nosniff"))
        .body(script(language))
}

fn script(language: Language) -> String {
    let texts = PageTexts::for_language(language);
    let texts = json!({
        "lang": language.tag(),
        "dir": language.direction(),
        "texts": {
            "pending_title": texts.pending_title,
            "qr_label": texts.qr_label,
            "waiting": texts.waiting,
            "finish_title": texts.finish_title,
            "expired_title": texts.expired_title,
            "wrong_sender_title": texts.wrong_sender_title,
            "canceled_title": texts.canceled_title,
            "new_link": texts.new_link,
            "code_label": texts.code_label,
            "code_lead": texts.code_lead,
            "code_retry": texts.code_retry,
            "continue": texts.r#continue,
            "one_moment": texts.one_moment,
            "slow": texts.slow,
            "offline": texts.offline,
        },
    });
    WIDGET.replacen("= TEXTS;", &format!("= {texts};"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_that_the_script_uses_is_sent() {
        let used: Vec<&str> = WIDGET
            .split("texts.")
            .skip(1)
            .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next())
            .collect();
        assert!(used.len() > 10);
        for language in Language::all() {
            let script = script(language);
            assert!(!script.contains("TEXTS"), "{language:?}");
            for key in &used {
                assert!(script.contains(&format!("\"{key}\":\"")), "{language:?} {key}");
            }
        }
    }
}
