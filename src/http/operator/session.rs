//! Who may look at the requests: whoever presents a cookie that the password opened less than an hour ago. Nothing
//! is stored; another password or another key ends every session.

use std::collections::HashMap;

use actix_web::{
    Error, HttpMessage as _, HttpRequest, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{StatusCode, header::HeaderMap},
    middleware::Next,
    web::{Data, Payload},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use url::form_urlencoded;

use super::{Operator, login};
use crate::{
    config::Password,
    domain::{KeyRing, keys::Digest},
    entropy,
    http::{
        body, cookie,
        problem::{Code, Problem},
    },
};

const NAME: &str = "cs-operator";
pub(super) const LIFE: SignedDuration = SignedDuration::from_hours(1);
/// Replicas read one clock, not quite at once.
const SKEW: SignedDuration = SignedDuration::from_secs(30);
/// A form of ours is never larger.
const FORM: usize = 4096;

/// A browser that has logged in.
#[derive(Clone)]
pub(super) struct Session {
    nonce: [u8; 16],
}

impl Session {
    /// The value of a new session's cookie.
    pub(super) fn begin(keys: &KeyRing, password: &Password, now: Timestamp) -> String {
        let (begun, nonce) = (now.as_second().to_be_bytes(), entropy::bytes::<16>());
        let mac = keys.session(&[b"cookie", &begun, &nonce, &password.print()]);
        URL_SAFE_NO_PAD.encode([&begun[..], &nonce, mac.as_bytes()].concat())
    }

    fn open(keys: &KeyRing, password: &Password, now: Timestamp, cookie: &str) -> Option<Self> {
        let bytes: [u8; 40] = URL_SAFE_NO_PAD.decode(cookie).ok()?.try_into().ok()?;
        let (begun, rest) = bytes.split_first_chunk::<8>()?;
        let (nonce, mac) = rest.split_first_chunk::<16>()?;
        let mac = Digest::presented(mac.try_into().ok()?);
        if !keys.is_session(&[b"cookie", begun, nonce, &password.print()], mac) {
            return None;
        }
        let age = now.duration_since(Timestamp::from_second(i64::from_be_bytes(*begun)).ok()?);
        (-SKEW..LIFE).contains(&age).then_some(Self { nonce: *nonce })
    }

    /// What every form of this session carries.
    pub(super) fn field(&self, keys: &KeyRing) -> String {
        keys.session(&[b"form", &self.nonce]).hex()
    }

    /// The fields of a form that this session's own page has sent.
    pub(super) async fn form(
        &self,
        keys: &KeyRing,
        request: &HttpRequest,
        payload: Payload,
    ) -> Result<HashMap<String, String>, Problem> {
        let fields = fields(request, payload).await?;
        let given = fields.get("form").and_then(|field| Digest::from_hex(field));
        match given {
            Some(given) if keys.is_session(&[b"form", &self.nonce], given) => Ok(fields),
            _ => Err(Problem::new(Code::CrossSite, "reload the page, then use its button")),
        }
    }
}

/// `Secure` where the browser came by HTTPS, as the proxy in front says; nobody gains by lying about his own cookie.
pub(super) fn set_cookie(request: &HttpRequest, value: &str) -> String {
    let life = if value.is_empty() { 0 } else { LIFE.as_secs() };
    let https = request.headers().get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let secure = if https { "; Secure" } else { "" };
    format!("{NAME}={value}; Path=/requests; Max-Age={life}; HttpOnly; SameSite=Strict{secure}")
}

/// The fields of a form that no other site has sent.
pub(super) async fn fields(request: &HttpRequest, payload: Payload) -> Result<HashMap<String, String>, Problem> {
    if !same_origin(request.headers()) {
        return Err(Problem::new(Code::CrossSite, "open the page itself, then use its button"));
    }
    let body = body::read(request, payload, FORM).await?;
    Ok(form_urlencoded::parse(&body).into_owned().collect())
}

/// Browsers say where a form came from, the older ones by `Origin` alone.
fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => text("origin").is_none_or(|origin| origin.split_once("://").map(|(_, host)| host) == text("host")),
    }
}

/// Stands before every path of the page: without a password nothing is there, without a session only the login.
pub(super) async fn gate(
    operator: Data<Operator>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let Some(password) = operator.password.load_full() else {
        return Ok(request.into_response(HttpResponse::NotFound().finish()).map_into_right_body());
    };
    if request.path() != login::PATH {
        let (keys, now) = (&operator.service.keys, operator.service.now());
        let found =
            cookie::values(request.headers(), NAME).find_map(|value| Session::open(keys, &password, now, value));
        let Some(session) = found else {
            let page = login::page(StatusCode::UNAUTHORIZED, "");
            return Ok(request.into_response(page).map_into_right_body());
        };
        request.extensions_mut().insert(session);
    }
    Ok(next.call(request).await?.map_into_left_body())
}
