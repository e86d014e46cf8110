//! Layout shared by all pages, their response headers, and the pages that only show a message.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};
use askama::Template;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::{Origin, Url};

use super::texts::PageTexts;
use crate::{
    config::Logo,
    domain::{Language, Verification, link::Link, oidc::Client},
    hash::sha256,
    http::{
        PublicState, limits,
        problem::{Code, Problem},
    },
    service::Instance,
};

const CSS: &str = include_str!("../../../templates/pages/style.css");
pub(super) const SCRIPT: &str = include_str!("../../../templates/pages/wait.js");

/// What the handler of a page returns.
pub(in crate::http) type PageResult = Result<HttpResponse, Problem>;

/// Language and branding of one page.
pub(in crate::http) struct PageStyle<'a> {
    pub(in crate::http) lang: &'static str,
    pub(in crate::http) dir: &'static str,
    pub(in crate::http) name: &'a str,
    pub(in crate::http) color: String,
    pub(in crate::http) logo: Option<&'a str>,
    pub(in crate::http) css: String,
    /// `public_url` is not https. The page shows a warning, so that the setup does not reach production.
    pub(in crate::http) insecure: bool,
    pub(in crate::http) texts: &'static PageTexts,
}

impl<'a> PageStyle<'a> {
    pub(in crate::http) fn for_record(
        state: &PublicState,
        instance: &'a Instance,
        record: &'a Verification<Link>,
    ) -> Self {
        let page = &instance.config.page;
        let name = page.name.as_deref().unwrap_or(&record.request.name);
        let language = instance.language(Some(&record.request));
        let style = Self::new(state, language, name, Some((page.color, page.logo.as_ref())));
        Self { texts: PageTexts::for_channel(instance.gateway.channel(), language), ..style }
    }

    /// For pages of a client of the OpenID provider.
    pub(in crate::http) fn for_client(
        state: &PublicState,
        instance: &'a Instance,
        client: &'a Client,
        language: Language,
    ) -> Self {
        let page = &instance.config.page;
        let name = page.name.as_ref().or(client.name.as_ref()).unwrap_or(&instance.config.name);
        Self::new(state, language, name, Some((page.color, page.logo.as_ref())))
    }

    /// For pages that belong to no request.
    pub(in crate::http) fn unbranded(state: &PublicState, language: Language) -> Self {
        Self::new(state, language, "WhatsApp", None)
    }

    fn new(
        state: &PublicState,
        language: Language,
        name: &'a str,
        brand: Option<(crate::config::Color, Option<&'a Logo>)>,
    ) -> Self {
        let (color, logo) = brand.unwrap_or_default();
        Self {
            lang: language.tag(),
            dir: if language.right_to_left() { "rtl" } else { "ltr" },
            name,
            color: color.to_string(),
            logo: logo.map(Logo::url),
            css: format!(":root{{--go:{color};--on:{}}}\n{CSS}", color.ink()),
            insecure: state.services.env.public_url.as_url().scheme() != "https",
            texts: PageTexts::for_language(language),
        }
    }
}

/// A page that only shows a message.
#[derive(Template)]
#[template(path = "pages/note.html")]
struct NotePage<'a> {
    style: &'a PageStyle<'a>,
    icon: &'a str,
    title: &'a str,
    text: &'a str,
    link: &'a str,
    link_text: &'a str,
    /// URL behind "This wasn't me"; empty if the login cannot be disputed.
    dispute: &'a str,
}

pub(super) fn message_page(
    status: StatusCode,
    style: &PageStyle<'_>,
    sign: &str,
    title: &str,
    text: &str,
) -> HttpResponse {
    PageResponse::new(style)
        .render(status, &NotePage { style, icon: sign, title, text, link: "", link_text: "", dispute: "" })
}

/// As [`message_page`], with the link "This wasn't me".
pub(super) fn message_page_with_dispute(style: &PageStyle<'_>, title: &str, text: &str, dispute: &str) -> HttpResponse {
    let page = NotePage { style, icon: "ok", title, text, link: "", link_text: "", dispute };
    PageResponse::new(style).render(StatusCode::GONE, &page)
}

/// The page for a problem that the user can act on; `back` is the link to try again. Other problems, such as
/// internal errors, are returned unchanged.
pub(super) fn problem_page(style: &PageStyle<'_>, problem: Problem, back: &str) -> PageResult {
    let texts = style.texts;
    let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (title, text, link) = match problem.code {
        Code::NotFound | Code::TokenSpent => {
            return Ok(message_page(StatusCode::GONE, style, "late", &texts.invalid_title, &texts.invalid_lead));
        }
        Code::TokenRefused | Code::CrossSite => (&texts.retry_title, &texts.retry_lead, back),
        Code::RateLimited => (&texts.rate_limited_title, &texts.rate_limited_lead, back),
        _ => return Err(problem),
    };
    let page = NotePage { style, icon: "late", title, text, link, link_text: &texts.refresh, dispute: "" };
    let mut builder = PageResponse::new(style);
    builder.retry_after = problem.retry_after;
    let mut response = builder.render(status, &page);
    limits::add_headers(response.headers_mut(), &problem.limit_statuses);
    Ok(response)
}

/// Builder of the response for one page.
pub(in crate::http) struct PageResponse<'a> {
    style: &'a PageStyle<'a>,
    pub(in crate::http) redirects_to: Option<Url>,
    pub(in crate::http) set_cookie: Option<String>,
    pub(in crate::http) script: Option<&'static str>,
    pub(super) retry_after: Option<std::time::Duration>,
}

impl<'a> PageResponse<'a> {
    pub(in crate::http) fn new(style: &'a PageStyle<'a>) -> Self {
        Self { style, redirects_to: None, set_cookie: None, script: None, retry_after: None }
    }

    pub(in crate::http) fn render(self, status: StatusCode, page: &impl Template) -> HttpResponse {
        let mut response = HttpResponse::build(status);
        set_security_headers(&mut response, &[&self.style.css, NOSCRIPT], self.script, self.redirects_to.as_ref());
        if let Some(cookie) = self.set_cookie {
            response.insert_header((header::SET_COOKIE, cookie));
        }
        if let Some(wait) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, limits::whole_seconds(wait).to_string()));
        }
        let body = page.render().expect("a compiled template of plain values renders");
        response.content_type("text/html; charset=utf-8").body(body)
    }
}

/// Hides elements that need JavaScript.
const NOSCRIPT: &str = ".js{display:none!important}";

pub(in crate::http) fn see_other(url: &str) -> HttpResponse {
    let mut response = HttpResponse::SeeOther();
    set_security_headers(&mut response, &[], None, None);
    response.insert_header((header::LOCATION, url)).finish()
}

/// Sets the security headers of a page: only our own scripts, styles and images, no frames, no caching, no indexing.
/// `redirects_to` is where a form of the page leads. Browsers apply the policy to every further redirect as well, which
/// is up to the app there: any origin with TLS.
pub(crate) fn set_security_headers(
    response: &mut HttpResponseBuilder,
    styles: &[&str],
    script: Option<&str>,
    redirects_to: Option<&Url>,
) {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(sha256(text.as_bytes())));
    let styles: Vec<String> = styles.iter().map(|style| hash(style)).collect();
    let styles = if styles.is_empty() { "'none'".to_owned() } else { styles.join(" ") };
    let script = script.map_or_else(|| "'none'".to_owned(), hash);
    let target = redirects_to.map(form_target).unwrap_or_default();
    let csp = format!(
        "default-src 'none'; script-src {script}; style-src {styles}; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'{target}; base-uri 'none'; frame-ancestors 'none'"
    );
    response
        .insert_header(("content-security-policy", csp))
        .insert_header(("referrer-policy", "same-origin"))
        .insert_header(("cache-control", "no-store"))
        .insert_header(("x-robots-tag", "noindex"))
        .insert_header(("x-content-type-options", "nosniff"))
        .insert_header(("cross-origin-opener-policy", "same-origin"));
}

/// Sources for `form-action`, with a space before each.
fn form_target(url: &Url) -> String {
    match url.origin() {
        // The scheme of a native app.
        Origin::Opaque(_) => format!(" {}:", url.scheme()),
        origin @ Origin::Tuple(..) => format!(" {} https:", origin.ascii_serialization()),
    }
}
