//! The pages: the phone, the app's page after a redirect, and an OpenID login step by step.

use actix_web::{HttpResponse, web::Data};
use askama::Template;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::FakePhone;
use crate::{domain::Language, hash::sha256};

const CSS: &str = include_str!("../../../templates/dev/style.css");
const PHONE_JS: &str = include_str!("../../../templates/dev/phone.js");
const LANDED_JS: &str = include_str!("../../../templates/dev/landed.js");
const OPENID_JS: &str = include_str!("../../../templates/dev/openid.js");

#[derive(Template)]
#[template(path = "dev/phone.html")]
struct PhonePage {
    css: &'static str,
    js: &'static str,
    languages: Vec<Language>,
}

#[derive(Template)]
#[template(path = "dev/landed.html")]
struct LandedPage {
    css: &'static str,
    js: &'static str,
}

#[derive(Template)]
#[template(path = "dev/openid.html")]
struct OpenIdPage {
    css: &'static str,
    js: &'static str,
    issuer: String,
}

/// `GET /`
pub(super) async fn phone() -> HttpResponse {
    page(&PhonePage { css: CSS, js: PHONE_JS, languages: Language::all().collect() }, PHONE_JS, "")
}

/// `GET /landed`
pub(super) async fn landed() -> HttpResponse {
    page(&LandedPage { css: CSS, js: LANDED_JS }, LANDED_JS, "")
}

/// `GET /oidc`: an app without a server, which calls the provider itself.
pub(super) async fn openid(phone: Data<FakePhone>) -> HttpResponse {
    let issuer = phone.daemon.issuer();
    page(&OpenIdPage { css: CSS, js: OPENID_JS, issuer }, OPENID_JS, &phone.daemon.base)
}

/// `calls`: another origin that the script calls.
fn page(page: &impl Template, js: &str, calls: &str) -> HttpResponse {
    let body = page.render().expect("a compiled template of plain values renders");
    let [style, script] = [CSS, js].map(|text| STANDARD.encode(sha256(text.as_bytes())));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src data:; \
         connect-src 'self' {calls}; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    );
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("content-security-policy", policy))
        .insert_header(("cache-control", "no-store"))
        .insert_header(("referrer-policy", "no-referrer"))
        .insert_header(("x-content-type-options", "nosniff"))
        .body(body)
}
