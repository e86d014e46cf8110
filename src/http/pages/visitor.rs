//! The browser that requests a page: its cookies, language and address, and the check of where its forms come from.

use std::{collections::HashMap, net::IpAddr};

use actix_web::{HttpRequest, http::header, web::Payload};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use url::{Url, form_urlencoded};

use super::texts;
use crate::{
    domain::Language,
    http::{
        PublicState, body, client,
        content_coding::accepts_gzip,
        cookie,
        origin::is_same_origin,
        problem::{Code, Problem},
    },
    random,
    service::ClientBrowser,
};

/// Seconds; longer than any link and its completion last.
const COOKIE_MAX_AGE: u32 = 2 * 24 * 60 * 60;
/// Cookies of our name that are considered. A genuine browser sends one, or a few if other hosts of the domain set
/// some.
const MAX_COOKIES: usize = 8;
/// Bytes of a form of a link's page; ours are smaller.
pub(super) const MAX_FORM_LEN: usize = 4096;

/// The browser that requests a page.
pub(in crate::http) struct Visitor {
    /// The values of our cookie. There is more than one only if another host of the domain has set its own.
    pub(in crate::http) cookies: Vec<String>,
    ip: IpAddr,
    user_agent: Option<String>,
    /// The language in the query, which a person has chosen on the page.
    pub(super) chosen: Option<Language>,
    /// The first supported language in `Accept-Language`.
    pub(super) preferred: Option<Language>,
    /// The page's script sent the request and expects JSON.
    pub(super) wants_json: bool,
    /// The response is shown to a person.
    reads_html: bool,
    /// The response may be compressed.
    pub(super) accepts_gzip: bool,
}

/// Browsers accept the prefix `__Host-` only over https. Without https, as in development, the cookie has a different
/// name, so that the two are never confused.
fn cookie_name(public_url: &Url) -> &'static str {
    if public_url.scheme() == "https" { "__Host-cs" } else { "cs-unprotected" }
}

impl Visitor {
    pub(in crate::http) fn new(state: &PublicState, request: &HttpRequest) -> Self {
        let header = |name: header::HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
        let name = cookie_name(state.services.env.public_url.as_url());
        let chosen = query_value(request, "lang").and_then(|tag| Language::find(&tag));
        let preferred = texts::preferred_language(header(header::ACCEPT_LANGUAGE).unwrap_or_default());
        let ours = cookie::values(request.headers(), name).filter(|value| has_cookie_format(value));
        Self {
            cookies: ours.take(MAX_COOKIES).map(str::to_owned).collect(),
            ip: client::ip_address(request, &state.edge.load()),
            user_agent: header(header::USER_AGENT).map(str::to_owned),
            chosen,
            preferred,
            reads_html: header(header::ACCEPT).is_some_and(|accept| accept.contains("text/html")),
            wants_json: header(header::ACCEPT).is_some_and(|accept| accept.starts_with("application/json")),
            accepts_gzip: accepts_gzip(request),
        }
    }

    /// Makes sure that the browser has a cookie. Returns the `Set-Cookie` header if a new one is needed; nothing is
    /// stored.
    pub(in crate::http) fn ensure_cookie(&mut self, state: &PublicState) -> Option<String> {
        if !self.cookies.is_empty() {
            return None;
        }
        let value = URL_SAFE_NO_PAD.encode(random::bytes::<16>());
        let name = cookie_name(state.services.env.public_url.as_url());
        let secure = if name.starts_with("__Host-") { "; Secure" } else { "" };
        let header_value = format!("{name}={value}; Path=/; Max-Age={COOKIE_MAX_AGE}; HttpOnly; SameSite=Lax{secure}");
        self.cookies.push(value);
        Some(header_value)
    }

    /// For pages of an instance, before a request says its language.
    pub(in crate::http) fn language_or(&self, default: Language) -> Language {
        self.chosen.or(self.preferred).unwrap_or(default)
    }

    /// The path of a page below the public URL, with `flag` in its query if that is not empty, and in the language that
    /// the visitor has chosen.
    pub(super) fn path(&self, state: &PublicState, path: &str, flag: &str) -> String {
        let language = self.chosen.map(|language| format!("lang={}", language.tag())).unwrap_or_default();
        let query: Vec<&str> = [flag, &language].into_iter().filter(|part| !part.is_empty()).collect();
        let path = state.services.env.public_url.path(path);
        if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
    }

    /// Whether the response is shown to a person.
    pub(super) fn reads_html(&self) -> bool {
        self.reads_html
    }

    pub(in crate::http) fn browser(&self) -> ClientBrowser<'_> {
        ClientBrowser { cookies: &self.cookies, ip: Some(self.ip), user_agent: self.user_agent.as_deref() }
    }
}

/// The first value of a query parameter.
pub(super) fn query_value(request: &HttpRequest, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(request.query_string().as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Whether the value has our format: 16 bytes in base64url.
fn has_cookie_format(value: &str) -> bool {
    value.len() == 22 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The fields of a form of at most `limit` bytes that our own page sent.
///
/// # Errors
/// `cross_site` when `Sec-Fetch-Site` or `Origin` names another origin (older browsers send neither), and those of
/// [`body::read`].
pub(in crate::http) async fn same_origin_form(
    state: &PublicState,
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<HashMap<String, String>, Problem> {
    let own = state.services.env.public_url.as_url().origin().ascii_serialization();
    if !is_same_origin(request.headers(), true, |origin| origin == own) {
        return Err(Problem::new(Code::CrossSite, "open the link again and use its button"));
    }
    let body = body::read(request, payload, limit).await?;
    Ok(form_urlencoded::parse(&body).into_owned().collect())
}
