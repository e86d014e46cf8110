//! Sessions of operators: a signed cookie, valid for an hour after the login.
//!
//! The cookie holds the start, a nonce and the operator's name, under a MAC that also covers the password's digest. So
//! nothing is stored for a session but its logout, a changed password ends all sessions of its operator, and removing
//! a key ends all sessions that it signed.

use std::collections::HashMap;

use actix_web::{HttpRequest, http::header::HeaderMap, web::Payload};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use url::form_urlencoded;

use super::OperatorState;
use crate::{
    config::{self, OperatorAccess},
    domain::{KeyRing, keys::Digest},
    http::{
        body, cookie,
        origin::is_same_origin,
        problem::{Code, Problem},
    },
    random,
    service::{RequestContext, Services},
};

const COOKIE_NAME: &str = "cs-operator";
pub(super) const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// Replicas follow the store's clock with a small difference.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(30);
/// Bytes of a form; ours are smaller.
const MAX_FORM_LEN: usize = 4096;

/// A valid session.
#[derive(Clone)]
pub(super) struct Session {
    name: String,
    nonce: [u8; 16],
    expires_at: Timestamp,
}

impl Session {
    /// The value of a new session's cookie.
    pub(super) fn issue(keys: &KeyRing, operator: &config::Operator, now: Timestamp) -> String {
        let (begun, nonce) = (now.as_second().to_be_bytes(), random::bytes::<16>());
        let mac = keys.session_mac(&mac_parts(&begun, &nonce, operator, &operator.password.print()));
        URL_SAFE_NO_PAD.encode([&begun[..], &nonce, mac.as_bytes(), operator.name.as_bytes()].concat())
    }

    fn verify(keys: &KeyRing, access: &OperatorAccess, now: Timestamp, cookie: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (begun, rest) = bytes.split_first_chunk::<8>()?;
        let (nonce, rest) = rest.split_first_chunk::<16>()?;
        let (mac, name) = rest.split_first_chunk::<16>()?;
        let operator = access.operator(std::str::from_utf8(name).ok()?)?;
        if !keys
            .verify_session(&mac_parts(begun, nonce, operator, &operator.password.print()), Digest::from_bytes(*mac))
        {
            return None;
        }
        let begun = Timestamp::from_second(i64::from_be_bytes(*begun)).ok()?;
        let valid = (-MAX_CLOCK_SKEW..LIFETIME).contains(&now.duration_since(begun));
        valid.then(|| Self { name: operator.name.clone(), nonce: *nonce, expires_at: begun + LIFETIME })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Ends the session for every holder of its cookie, on all replicas.
    pub(super) async fn end(&self, services: &Services, cx: &RequestContext) -> Result<(), Problem> {
        Ok(services.operator_logins.revoke(cx, &self.nonce, self.expires_at + MAX_CLOCK_SKEW).await?)
    }

    /// The CSRF token that every form of this session carries.
    pub(super) fn csrf_token(&self, keys: &KeyRing) -> String {
        keys.session_mac(&[b"form", &self.nonce]).hex()
    }

    /// The fields of a form that a page of this session sent.
    ///
    /// # Errors
    /// `cross_site` for another origin or a wrong CSRF token, and those of [`body::read`].
    pub(super) async fn csrf_checked_form(
        &self,
        keys: &KeyRing,
        request: &HttpRequest,
        payload: Payload,
    ) -> Result<HashMap<String, String>, Problem> {
        let fields = same_origin_form(request, payload).await?;
        let given = fields.get("form").and_then(|field| Digest::from_hex(field));
        match given {
            Some(given) if keys.verify_session(&[b"form", &self.nonce], given) => Ok(fields),
            _ => Err(Problem::new(Code::CrossSite, "reload the page, then use its button")),
        }
    }
}

/// The `Set-Cookie` header of a session; an empty value removes the cookie. `Secure` is set if the proxy in front
/// reports https; a client that forges that header only affects its own cookie.
pub(super) fn set_cookie(request: &HttpRequest, value: &str) -> String {
    let max_age = if value.is_empty() { 0 } else { LIFETIME.as_secs() };
    let https = request.headers().get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let secure = if https { "; Secure" } else { "" };
    format!("{COOKIE_NAME}={value}; Path=/requests; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}")
}

/// The fields of a form that was sent from the same origin.
///
/// # Errors
/// `cross_site`, and those of [`body::read`].
pub(super) async fn same_origin_form(
    request: &HttpRequest,
    payload: Payload,
) -> Result<HashMap<String, String>, Problem> {
    let headers = request.headers();
    if !is_same_origin(headers, false, |origin| matches_host(headers, origin)) {
        return Err(Problem::new(Code::CrossSite, "open the page itself, then use its button"));
    }
    let body = body::read(request, payload, MAX_FORM_LEN).await?;
    Ok(form_urlencoded::parse(&body).into_owned().collect())
}

/// Compares an origin with the `Host` header, because the listener has several names. If the browser has sent
/// `Sec-Fetch-Site`, the comparison is skipped: a proxy may have changed the host.
fn matches_host(headers: &HeaderMap, origin: &str) -> bool {
    let host = headers.get("host").and_then(|host| host.to_str().ok());
    headers.contains_key("sec-fetch-site") || origin.split_once("://").map(|(_, host)| host) == host
}

fn mac_parts<'a>(
    begun: &'a [u8; 8],
    nonce: &'a [u8; 16],
    operator: &'a config::Operator,
    print: &'a [u8; 32],
) -> [&'a [u8]; 5] {
    [b"cookie", begun, nonce, operator.name.as_bytes(), print]
}

/// The first valid session among the browser's cookies that was not logged out.
pub(super) async fn active_session(
    state: &OperatorState,
    cx: &RequestContext,
    access: &OperatorAccess,
    headers: &HeaderMap,
) -> Result<Option<Session>, Problem> {
    let (keys, now) = (&state.services.env.keys, state.services.env.store.now());
    for session in cookie::values(headers, COOKIE_NAME).filter_map(|value| Session::verify(keys, access, now, value)) {
        if !state.services.operator_logins.is_revoked(cx, &session.nonce).await? {
            return Ok(Some(session));
        }
    }
    Ok(None)
}
