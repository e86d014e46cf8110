//! Layout shared by all pages, their response headers, and the pages that only show a message.

use std::sync::LazyLock;

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};
use askama::Template;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::Compression;
use url::{Origin, Url};

use super::{texts::PageTexts, visitor::Visitor};
use crate::{
    config::{Logo, PageConfig},
    domain::{Language, Verification, link::Link, oidc::Client},
    hash::sha256,
    http::{PublicState, content_coding::gzip, problem::Problem, rate_limit_headers},
    service::Instance,
};

const CSS: &str = include_str!("../../../templates/pages/style.css");
/// Without the indentation and the comments.
pub(super) static SCRIPT: LazyLock<String> = LazyLock::new(|| {
    let lines = include_str!("../../../templates/pages/wait.js").lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).collect::<Vec<_>>().join("\n")
});

/// What the handler of a page returns.
pub(in crate::http) type PageResult = Result<HttpResponse, Problem>;

/// Language and branding of one page, and the ways on that it offers.
pub(in crate::http) struct PageStyle<'a> {
    pub(in crate::http) language: Language,
    pub(in crate::http) name: &'a str,
    /// Stands beside the name where there is no logo; empty if the name has no letter.
    pub(in crate::http) monogram: String,
    pub(in crate::http) color: String,
    /// A `data:` URL. A page that is not compressed has none, because it could be larger than a slow connection bears.
    pub(in crate::http) logo: Option<&'a str>,
    pub(in crate::http) css: String,
    /// `public_url` is not https. The page shows a warning, so that the setup does not reach production.
    pub(in crate::http) insecure: bool,
    pub(in crate::http) texts: &'static PageTexts,
    /// The languages to choose from, and the query up to the chosen one. Empty where the page cannot be loaded again.
    pub(in crate::http) languages: Vec<Language>,
    pub(in crate::http) language_query: &'static str,
    /// The app's own page, and the text of the link to it.
    pub(in crate::http) home: Option<(&'a str, String)>,
    /// The app's page for people who want to sign in another way.
    pub(in crate::http) other_way: Option<&'a str>,
    /// Link previews say what the link is for.
    pub(in crate::http) has_preview: bool,
    accepts_gzip: bool,
}

impl<'a> PageStyle<'a> {
    /// For pages of a login, in the language that the visitor has chosen, else the request's, the browser's or the
    /// instance's.
    pub(in crate::http) fn for_record(
        state: &'a PublicState,
        instance: &'a Instance,
        record: &'a Verification<Link>,
        visitor: &Visitor,
    ) -> Self {
        let page = &instance.config.page;
        let name = page.name.as_deref().unwrap_or(&record.request.name);
        let requested = Language::find(&record.request.lang);
        let language = visitor.chosen.or(requested).unwrap_or_else(|| visitor.language_or(instance.config.lang));
        let style = Self::new(state, visitor, language, name, Some(page));
        let texts = PageTexts::for_channel(instance.gateway.channel(), language);
        Self {
            texts,
            languages: Language::all().collect(),
            home: page.home_url.as_ref().map(|url| (url.as_str(), style.with_name(&texts.back_home))),
            other_way: record.request.other_way_url.as_deref().or(page.other_way_url.as_ref().map(Url::as_str)),
            has_preview: true,
            ..style
        }
    }

    /// For pages of a client of the OpenID provider.
    pub(in crate::http) fn for_client(
        state: &'a PublicState,
        instance: &'a Instance,
        client: &'a Client,
        language: Language,
        visitor: &Visitor,
    ) -> Self {
        let page = &instance.config.page;
        let name = page.name.as_ref().or(client.name.as_ref()).unwrap_or(&instance.config.name);
        Self::new(state, visitor, language, name, Some(page))
    }

    /// For pages that belong to no request: they are signed by the host that serves them.
    pub(in crate::http) fn unbranded(state: &'a PublicState, visitor: &Visitor) -> Self {
        let language = visitor.language_or(Language::ENGLISH);
        Self::new(state, visitor, language, state.services.env.public_url.as_url().host_str().unwrap_or_default(), None)
    }

    fn new(
        state: &PublicState,
        visitor: &Visitor,
        language: Language,
        name: &'a str,
        page: Option<&'a PageConfig>,
    ) -> Self {
        let color = page.map(|page| page.color).unwrap_or_default();
        let letter = name.chars().find(|c| c.is_alphanumeric());
        Self {
            language,
            name,
            monogram: letter.map(|c| c.to_uppercase().collect()).unwrap_or_default(),
            color: color.to_string(),
            logo: page.and_then(|page| page.logo.as_ref()).filter(|_| visitor.accepts_gzip).map(Logo::url),
            css: format!(":root{{--go:{color};--on:{}}}\n{CSS}", color.ink()),
            insecure: state.services.env.public_url.as_url().scheme() != "https",
            texts: PageTexts::for_language(language),
            languages: Vec::new(),
            language_query: "?",
            home: None,
            other_way: None,
            has_preview: false,
            accepts_gzip: visitor.accepts_gzip,
        }
    }

    /// The text with the app's name. In a language that runs from right to left, the name keeps its own direction.
    pub(in crate::http) fn with_name(&self, text: &str) -> String {
        if self.language.right_to_left() {
            text.replace("<name>", &format!("\u{2068}{}\u{2069}", self.name))
        } else {
            text.replace("<name>", self.name)
        }
    }
}

/// A page that only shows a message, with the ways on.
#[derive(Template)]
#[template(path = "pages/note.html")]
pub(super) struct MessagePage<'a> {
    pub(super) style: &'a PageStyle<'a>,
    /// One of the icons of `icon.html`.
    pub(super) icon: &'static str,
    pub(super) title: &'a str,
    pub(super) text: String,
    /// URL and text of the button; the URL is empty if there is none.
    pub(super) link: &'a str,
    pub(super) link_text: &'a str,
    /// Offer another way to sign in.
    pub(super) has_failed: bool,
    /// URL behind "This wasn't me"; empty if the login cannot be disputed.
    pub(super) dispute: &'a str,
}

impl<'a> MessagePage<'a> {
    pub(super) fn new(style: &'a PageStyle<'a>, icon: &'static str, title: &'a str, text: &str) -> Self {
        Self { style, icon, title, text: text.to_owned(), link: "", link_text: "", has_failed: false, dispute: "" }
    }

    /// Of a login that did not succeed.
    pub(super) fn failed(style: &'a PageStyle<'a>, icon: &'static str, title: &'a str, text: &str) -> Self {
        Self { has_failed: true, ..Self::new(style, icon, title, text) }
    }

    /// For a link that leads nowhere.
    pub(super) fn invalid(style: &'a PageStyle<'a>) -> Self {
        Self::failed(style, "unknown", &style.texts.invalid_title, &style.texts.invalid_lead)
    }

    pub(super) fn respond(&self, status: StatusCode) -> HttpResponse {
        PageResponse::new(self.style).render(status, self)
    }
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
            response.insert_header((header::RETRY_AFTER, rate_limit_headers::whole_seconds(wait).to_string()));
        }
        let body = page.render().expect("a compiled template of plain values renders");
        response.content_type("text/html; charset=utf-8").insert_header((header::VARY, "accept-encoding"));
        if !self.style.accepts_gzip {
            return response.body(body);
        }
        // Its length says nothing about the secrets in it, because nobody who makes a browser load it can choose any
        // other part of it.
        response.insert_header((header::CONTENT_ENCODING, "gzip")).body(gzip(&body, Compression::fast()))
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
