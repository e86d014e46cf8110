//! The two pages: the phone, and the app's page after a redirect.

use actix_web::HttpResponse;
use askama::Template;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::domain::keys::sha256;

const CSS: &str = include_str!("../../../templates/dev/style.css");
const PHONE_JS: &str = include_str!("../../../templates/dev/phone.js");
const LANDED_JS: &str = include_str!("../../../templates/dev/landed.js");

#[derive(Template)]
#[template(path = "dev/phone.html")]
struct PhonePage {
    css: &'static str,
    js: &'static str,
}

#[derive(Template)]
#[template(path = "dev/landed.html")]
struct LandedPage {
    css: &'static str,
    js: &'static str,
}

/// `GET /`
pub(super) async fn phone() -> HttpResponse {
    page(&PhonePage { css: CSS, js: PHONE_JS }, PHONE_JS)
}

/// `GET /landed`
pub(super) async fn landed() -> HttpResponse {
    page(&LandedPage { css: CSS, js: LANDED_JS }, LANDED_JS)
}

fn page(page: &impl Template, js: &str) -> HttpResponse {
    let body = page.render().expect("a compiled template of plain values renders");
    let [style, script] = [CSS, js].map(|text| STANDARD.encode(sha256(text.as_bytes())));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src data:; \
         connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    );
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("content-security-policy", policy))
        .insert_header(("cache-control", "no-store"))
        .insert_header(("referrer-policy", "no-referrer"))
        .insert_header(("x-content-type-options", "nosniff"))
        .body(body)
}
