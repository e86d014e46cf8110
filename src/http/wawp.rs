//! Wawp's `/v2/auth/otp/send` and `/v2/auth/otp/verify`, by GET and POST, for apps written for Wawp.
//!
//! Unlike all other GETs here, these have effects: they are never cached, and are refused if a browser sends them by
//! itself. Credentials may be part of the query string, which is never logged.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header},
    web::{Data, Payload},
};
use jiff::SignedDuration;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    PublicState, auth,
    body::{self, MAX_API_BODY},
    context::Cx,
    limits,
    problem::{Code, Problem},
    query, view,
};
use crate::{
    api::{
        limits::{FOOTER, TYPED},
        wawp::{WawpSent, WawpVerified},
    },
    domain::{Chat, Language, chat_state::LockoutPolicy, scope::Scope, subject::InvalidChat, template},
    reader::{Format, Reader},
    service::{
        RequestContext,
        code_request::{self, CodeSelector, ValidationRequest},
    },
};

/// Lifetime of a code in seconds.
const LIFE: u32 = 300;
/// Minimum time between two codes for one recipient.
const COOLDOWN: SignedDuration = SignedDuration::from_secs(60);
/// Wrong attempts, after which the recipient is locked for `codes.lockout`.
const TRIES: u32 = 5;

/// `GET` and `POST /v2/auth/otp/send`
pub(super) async fn send(
    app: Data<PublicState>,
    cx: Cx,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let input = Input::read(&request, payload).await?;
    let caller = input.caller(&app, &cx, &request, Scope::Send).await?;
    let mut f = Reader::new(Format::Form, "", &input.values);
    let chat = chat(&mut f);
    let language = f.text("lang").and_then(|tag| Language::find(&tag)).unwrap_or(Language::ENGLISH);
    let footer = f.text("footer").map(|text| template::remove_control(&text)).filter(|text| !text.is_empty());
    if footer.as_ref().is_some_and(|text| text.chars().count() > FOOTER) {
        f.fault("footer", format!("is longer than {FOOTER} characters"));
    }
    let chat = f.finish(chat)?;
    let mut wanted = code_request::for_chat(chat, language, LIFE, &caller.instance)?;
    wanted.footer = footer;
    wanted.cooldown = Some(COOLDOWN);
    let requested = app.service.request_code(&cx, &caller.instance, &caller.token, wanted, None).await;
    limits::answer(requested, |sent| answer(&WawpSent::new(LIFE, sent.id)))
}

/// `GET` and `POST /v2/auth/otp/verify`
pub(super) async fn verify(
    app: Data<PublicState>,
    cx: Cx,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let input = Input::read(&request, payload).await?;
    let caller = input.caller(&app, &cx, &request, Scope::Validate).await?;
    let mut f = Reader::new(Format::Form, "", &input.values);
    let chat = chat(&mut f);
    let code = f.text("code").filter(|code| !code.trim().is_empty() && code.chars().count() <= TYPED);
    if code.is_none() && f.faults().iter().all(|fault| fault.key != "code") {
        f.fault("code", format!("expected what the person typed, at most {TYPED} characters"));
    }
    let (chat, code) = f.finish(chat.zip(code))?;
    let guarded = caller.instance.config.limits.wrong_codes.is_some();
    let policy = LockoutPolicy {
        max_per_window: guarded.then_some(TRIES),
        full_window: true,
        lockout: caller.instance.config.codes.locked_for,
    };
    let typed = ValidationRequest { selector: CodeSelector::Chat(chat), code };
    let validated = app.service.validate(&cx, &caller.instance, &caller.token, &typed, policy, None).await;
    limits::answer(validated, |_| answer(&WawpVerified::new()))
}

fn answer(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(view::written(body))
}

fn chat(f: &mut Reader<'_>) -> Option<Chat> {
    let text = f.text("chatId").unwrap_or_default();
    text.parse().map_err(|why: InvalidChat| f.fault("chatId", why.to_string())).ok()
}

/// Parameters from the body, the query and the headers, in this order of precedence.
struct Input {
    /// From the body and the query.
    values: Map<String, Value>,
    bearer: Option<String>,
    access_token: Option<String>,
    instance: Option<String>,
}

impl Input {
    async fn read(request: &HttpRequest, payload: Payload) -> Result<Self, Problem> {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let is = |name: &str, word: &str| header(name).is_some_and(|value| value.to_ascii_lowercase().contains(word));
        let by_itself = ["sec-purpose", "purpose", "x-moz"].iter().any(|name| is(name, "prefetch"));
        if request.method() == Method::GET && (by_itself || is("sec-fetch-site", "cross-site")) {
            return Err(Problem::new(
                Code::CrossSite,
                "a browser sent this by itself; this GET acts, so it is refused",
            ));
        }
        let body = if is("content-type", "application/x-www-form-urlencoded") {
            query::table(&body::read(request, payload, MAX_API_BODY).await?)
        } else {
            body::json_object(request, payload).await?
        };
        let mut values = query::of(request);
        values.extend(body);
        Ok(Self {
            values,
            bearer: auth::bearer(request).map(str::to_owned),
            access_token: header("access-token").map(str::to_owned),
            instance: header("x-instance-id").map(str::to_owned),
        })
    }

    async fn caller(
        &self,
        app: &PublicState,
        cx: &RequestContext,
        request: &HttpRequest,
        scope: Scope,
    ) -> Result<auth::Caller, Problem> {
        let mut f = Reader::new(Format::Form, "", &self.values);
        let token = f.text("access_token").or_else(|| self.access_token.clone()).or_else(|| self.bearer.clone());
        let id = f.text("instance_id").or_else(|| self.instance.clone());
        let id = id.and_then(|text| text.trim().parse().ok());
        auth::authenticate_token(app, cx, request, id, &token.unwrap_or_default(), scope).await
    }
}
