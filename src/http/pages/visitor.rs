//! The browser in front of a page: its cookie, and where its forms come from.

use std::{collections::HashMap, net::IpAddr};

use actix_web::{HttpRequest, HttpResponse, http::header, web::Payload};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use url::{Url, form_urlencoded};

use super::{
    look::{self, Look},
    words,
};
use crate::{
    domain::Language,
    http::{
        App, body, client, cookie,
        problem::{Code, Problem},
    },
    random,
    service::Browser,
};

/// Longer than any link and its completion live.
const COOKIE_LIFE: u32 = 2 * 24 * 60 * 60;
/// More of one name than anybody but an attacker sends.
const COOKIES: usize = 8;
/// A form of ours is never larger.
const FORM: usize = 4096;

/// Who asks for a page.
pub(in crate::http) struct Visitor {
    /// Those of ours that this browser sent: more than one only where another host of the domain could add its own.
    pub(super) cookies: Vec<String>,
    ip: IpAddr,
    user_agent: Option<String>,
    /// What to say where no request says it.
    pub(super) language: Language,
    /// A script asks, not a person.
    pub(super) wants_json: bool,
    /// A browser shows the answer to a person.
    reads_html: bool,
}

/// Only `https://` can have the protected name. Without it, as in development, the cookie has another one, so
/// that nobody takes it for the same.
fn cookie_name(public_url: &Url) -> &'static str {
    if public_url.scheme() == "https" { "__Host-cs" } else { "cs-unprotected" }
}

impl Visitor {
    pub(in crate::http) fn new(app: &App, request: &HttpRequest) -> Self {
        let header = |name: header::HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
        let name = cookie_name(&app.service.public_url);
        let ours = cookie::values(request.headers(), name).filter(|value| is_ours(value));
        Self {
            cookies: ours.take(COOKIES).map(str::to_owned).collect(),
            ip: client::address(request, &app.edge.load()),
            user_agent: header(header::USER_AGENT).map(str::to_owned),
            language: words::preferred(header(header::ACCEPT_LANGUAGE).unwrap_or_default()),
            reads_html: header(header::ACCEPT).is_some_and(|accept| accept.contains("text/html")),
            wants_json: header(header::ACCEPT).is_some_and(|accept| accept.starts_with("application/json")),
        }
    }

    /// Gives the browser a cookie where it has none. The value to set; nothing is written anywhere.
    pub(super) fn recognise(&mut self, app: &App) -> Option<String> {
        if !self.cookies.is_empty() {
            return None;
        }
        let value = URL_SAFE_NO_PAD.encode(random::bytes::<16>());
        let name = cookie_name(&app.service.public_url);
        let secure = if name.starts_with("__Host-") { "; Secure" } else { "" };
        let set = format!("{name}={value}; Path=/; Max-Age={COOKIE_LIFE}; HttpOnly; SameSite=Lax{secure}");
        self.cookies.push(value);
        Some(set)
    }

    /// What went wrong, in words for whoever asked.
    pub(in crate::http) fn failure(&self, app: &App, problem: Problem, back: &str) -> Result<HttpResponse, Problem> {
        if self.reads_html { look::failure(&Look::plain(app, self.language), problem, back) } else { Err(problem) }
    }

    pub(super) fn browser(&self) -> Browser<'_> {
        Browser { cookies: &self.cookies, ip: Some(self.ip), user_agent: self.user_agent.as_deref() }
    }
}

/// 16 bytes in base64url.
fn is_ours(value: &str) -> bool {
    value.len() == 22 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The fields of a form that was sent from here. Browsers say where a form came from; when they do, it must be
/// from here.
pub(super) async fn form(
    app: &App,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HashMap<String, String>, Problem> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let foreign = header("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site");
    let own = app.service.public_url.origin().ascii_serialization();
    if foreign || header("origin").is_some_and(|origin| origin != own) {
        return Err(Problem::new(Code::CrossSite, "open the link again and use its button"));
    }
    let body = body::read(request, payload, FORM).await?;
    Ok(form_urlencoded::parse(&body).into_owned().collect())
}
