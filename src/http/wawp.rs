//! Wawp's `send` and `verify` of `/v2/auth/otp` (codes) and `/v2/auth/list` (approvals), by GET and POST, for apps written
//! for Wawp.
//!
//! Unlike all other GETs here, these have effects: they are never cached, and are rejected if a browser prefetches them
//! or another site causes them. Credentials may be part of the query string, which is never logged.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header},
    web::{Data, Payload},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    PublicState, auth, body,
    context::Cx,
    problem::{self, Code, Problem},
    query, view,
};
use crate::{
    api::{
        limits::{FOOTER, TYPED},
        wawp::{WawpListSent, WawpListVerified, WawpSent, WawpVerified},
    },
    domain::{
        Chat, Language, VerificationId, chat_state::LockoutPolicy, scope::Scope, sent_code::COOLDOWN,
        subject::InvalidChat, template,
    },
    reader::{Format, Reader},
    service::{
        RequestContext, approval_request,
        code_request::{self, CodeSelector, ValidationRequest},
    },
};

/// Lifetime of a code in seconds.
const CODE_TTL_SECS: u32 = 300;
/// Wrong attempts, after which the recipient is locked for `codes.lockout`.
const MAX_WRONG_CODES: u32 = 5;

/// `GET` and `POST /v2/auth/otp/send`
pub(super) async fn send(
    state: Data<PublicState>,
    cx: Cx,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (values, caller) = authenticated(&state, &cx, &request, payload, Scope::Send).await?;
    let mut f = Reader::new(Format::Form, "", &values);
    let chat = chat(&mut f);
    let language = f.text("lang").and_then(|tag| Language::find(&tag)).unwrap_or(Language::ENGLISH);
    let footer = f.text("footer").map(|text| template::remove_control(&text)).filter(|text| !text.is_empty());
    if footer.as_ref().is_some_and(|text| text.chars().count() > FOOTER) {
        f.fault("footer", format!("is longer than {FOOTER} characters"));
    }
    let chat = f.finish(chat)?;
    let mut code_request = code_request::for_chat(chat, language, CODE_TTL_SECS, &caller.instance)?;
    code_request.footer = footer;
    code_request.cooldown = Some(COOLDOWN);
    let requested = state.services.codes.request(&cx, &caller.instance, &caller.token, code_request, None).await;
    problem::respond_limited(requested, |sent| json_response(&WawpSent::new(CODE_TTL_SECS, sent.id)))
}

/// `GET` and `POST /v2/auth/otp/verify`
pub(super) async fn verify(
    state: Data<PublicState>,
    cx: Cx,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (values, caller) = authenticated(&state, &cx, &request, payload, Scope::Validate).await?;
    let mut f = Reader::new(Format::Form, "", &values);
    let chat = chat(&mut f);
    let code = f.text("code").filter(|code| !code.trim().is_empty() && code.chars().count() <= TYPED);
    if code.is_none() && !f.is_faulty("code") {
        f.fault("code", format!("expected what the person typed, at most {TYPED} characters"));
    }
    let (chat, code) = f.finish(chat.zip(code))?;
    let guarded = caller.instance.config.limits.wrong_codes.is_some();
    let policy = LockoutPolicy {
        max_per_window: guarded.then_some(MAX_WRONG_CODES),
        full_window: true,
        lockout: caller.instance.config.codes.locked_for,
    };
    let typed = ValidationRequest { selector: CodeSelector::Chat(chat), code };
    let validated = state.services.codes.validate(&cx, &caller.instance, &caller.token, &typed, policy, None).await;
    problem::respond_limited(validated, |record| json_response(&WawpVerified::new(record.request.test)))
}

/// `GET` and `POST /v2/auth/list/send`
pub(super) async fn send_list(
    state: Data<PublicState>,
    cx: Cx,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (values, caller) = authenticated(&state, &cx, &request, payload, Scope::Send).await?;
    let approval = approval_request::parse(&values, &caller.instance)?;
    let requested = state.services.links.create(&cx, &caller.instance, &caller.token, approval, None).await;
    problem::respond_limited(requested, |record| {
        json_response(&WawpListSent::new(approval_request::LIFETIME_SECS, record.id))
    })
}

/// `GET` and `POST /v2/auth/list/verify`. Apps poll it, so it is one read.
pub(super) async fn verify_list(
    state: Data<PublicState>,
    cx: Cx,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (values, caller) = authenticated(&state, &cx, &request, payload, Scope::Validate).await?;
    let mut f = Reader::new(Format::Form, "", &values);
    let name = if f.has("auth_id") { "auth_id" } else { "code" };
    let id: Option<VerificationId> = f.text(name).and_then(|text| text.trim().parse().ok());
    if id.is_none() && !f.is_faulty(name) {
        f.fault("auth_id", "expected the auth_id of list/send");
    }
    let id = f.finish(id)?;
    let record = state.services.shared.verifications.get(&cx, &caller.instance, id).await?;
    if record.request.approval.is_none() {
        return Err(Problem::not_found());
    }
    Ok(json_response(&WawpListVerified::new(record.status(state.services.env.store.now()), record.reason())))
}

/// The parameters, and the caller whom they and the headers authenticate.
async fn authenticated(
    state: &PublicState,
    cx: &RequestContext,
    request: &HttpRequest,
    payload: Payload,
    scope: Scope,
) -> Result<(Map<String, Value>, auth::Caller), Problem> {
    let input = Input::read(request, payload).await?;
    let caller = input.caller(state, cx, request, scope).await?;
    Ok((input.values, caller))
}

fn json_response(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(view::to_json(body))
}

fn chat(f: &mut Reader<'_>) -> Option<Chat> {
    let text = f.text("chatId").unwrap_or_default();
    text.parse().map_err(|why: InvalidChat| f.fault("chatId", why.to_string())).ok()
}

/// Names the parameters of these paths instead of the header and the path of the others.
fn in_the_words_of_wawp(problem: Problem) -> Problem {
    match problem.code {
        Code::NotFound => {
            Problem::field("instance_id", "expected the id or an alias of an instance of this access_token")
        }
        Code::Unauthenticated if problem.errors.is_empty() => {
            Problem { detail: "send `access_token`, an API token of the instance".to_owned(), ..problem }
        }
        _ => problem,
    }
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
        let is_prefetch = ["sec-purpose", "purpose", "x-moz"].iter().any(|name| is(name, "prefetch"));
        if request.method() == Method::GET && (is_prefetch || is("sec-fetch-site", "cross-site")) {
            return Err(Problem::new(
                Code::CrossSite,
                "prefetched and cross-site requests are rejected, because this GET has an effect",
            ));
        }
        let body = body::fields(request, payload).await?;
        let mut values = query::parse_query(request);
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
        state: &PublicState,
        cx: &RequestContext,
        request: &HttpRequest,
        scope: Scope,
    ) -> Result<auth::Caller, Problem> {
        let mut f = Reader::new(Format::Form, "", &self.values);
        let token = f.text("access_token").or_else(|| self.access_token.clone()).or_else(|| self.bearer.clone());
        let token = token.unwrap_or_default();
        let instances = &state.services.env.instances;
        let id = match f.text("instance_id").or_else(|| self.instance.clone()) {
            Some(text) => instances.named(&text),
            None => instances.only_one_of(&token, state.services.env.store.now()),
        };
        auth::authenticate_token(state, cx, request, id, &token, scope).await.map_err(in_the_words_of_wawp)
    }
}
