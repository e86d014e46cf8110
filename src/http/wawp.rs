//! Wawp's `/v2/auth/otp/send` and `/v2/auth/otp/verify`, by GET and POST, for apps that were written for them.
//!
//! Their GETs act, which no other GET here does: they are never cached, and refused where a browser sends them by
//! itself. Credentials may stand in the query, which nothing here logs.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header},
    web::{Data, Payload},
};
use jiff::SignedDuration;
use serde::Serialize;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::{
    App, auth,
    body::{self, API},
    problem::{Code, Problem},
    view,
};
use crate::{
    api::{
        problem::FieldFault,
        wawp::{WawpSent, WawpVerified},
    },
    domain::{Chat, Language, scope::Scope, subject::InvalidChat, target::Guard, template, typed},
    service::{
        ServiceError,
        input_code::{self, Typed, Whose},
    },
};

/// Seconds a code lives.
const LIFE: u32 = 300;
/// Between two codes for one recipient.
const COOLDOWN: SignedDuration = SignedDuration::from_secs(60);
/// Wrong tries; then the recipient is locked for fifteen minutes.
const TRIES: u32 = 5;

/// `GET` and `POST /v2/auth/otp/send`
pub(super) async fn send(app: Data<App>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
    let input = Input::read(&request, payload).await?;
    let (caller, chat) = input.caller(&app, &request, Scope::Send).await?;
    let language = input.get("lang").and_then(|tag| Language::find(&tag)).unwrap_or(Language::ENGLISH);
    let mut wanted = input_code::plain(chat, language, LIFE, &caller.instance).map_err(ServiceError::Invalid)?;
    wanted.footer = input.get("footer").map(|text| template::clean(&text)).filter(|text| !text.is_empty());
    if wanted.footer.as_ref().is_some_and(|text| text.chars().count() > 200) {
        return Err(invalid("footer", "is longer than 200 characters"));
    }
    let sent = app.service.request_code(&caller.instance, &caller.token, wanted, Some(COOLDOWN), None).await?;
    Ok(answer(&WawpSent::new(LIFE, sent.id)))
}

/// `GET` and `POST /v2/auth/otp/verify`
pub(super) async fn verify(app: Data<App>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
    let input = Input::read(&request, payload).await?;
    let (caller, chat) = input.caller(&app, &request, Scope::Validate).await?;
    let code = input.get("code").filter(|code| code.chars().count() <= typed::LONGEST);
    let code = code.ok_or_else(|| {
        invalid("code", &format!("expected what the person typed, at most {} characters", typed::LONGEST))
    })?;
    let guarded = caller.instance.config.limits.wrong_codes.is_some();
    let guard =
        Guard { misses: guarded.then_some(TRIES), anew: true, locked_for: caller.instance.config.codes.locked_for };
    let typed = Typed { whose: Whose::Chat(chat), code };
    app.service.validate(&caller.instance, &caller.token, &typed, guard, None).await?;
    Ok(answer(&WawpVerified::new()))
}

fn answer(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(view::written(body))
}

fn invalid(field: &str, detail: &str) -> Problem {
    ServiceError::Invalid(vec![FieldFault { field: field.to_owned(), detail: detail.to_owned() }]).into()
}

/// Parameters, wherever they stand: in the body, the query, or the headers. The first place wins.
struct Input {
    body: Map<String, Value>,
    query: Vec<(String, String)>,
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
        let form = is("content-type", "application/x-www-form-urlencoded");
        let body = if form {
            let bytes = body::read(request, payload, API).await?;
            let fields = form_urlencoded::parse(&bytes).into_owned();
            fields.map(|(name, value)| (name, Value::String(value))).collect()
        } else {
            body::object(request, payload).await?
        };
        Ok(Self {
            body,
            query: form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect(),
            bearer: auth::bearer(request).map(str::to_owned),
            access_token: header("access-token").map(str::to_owned),
            instance: header("x-instance-id").map(str::to_owned),
        })
    }

    /// Empty counts as absent.
    fn get(&self, name: &str) -> Option<String> {
        let in_body = match self.body.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let in_query = || self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        in_body.or_else(in_query).filter(|text| !text.trim().is_empty())
    }

    async fn caller(&self, app: &App, request: &HttpRequest, scope: Scope) -> Result<(auth::Caller, Chat), Problem> {
        let token = self.get("access_token").or_else(|| self.access_token.clone()).or_else(|| self.bearer.clone());
        let token = token.unwrap_or_default();
        let id = self.get("instance_id").or_else(|| self.instance.clone());
        let id = id.and_then(|text| text.trim().parse().ok());
        let caller = auth::admit(app, request, id, &token, scope).await?;
        let chat = self.get("chatId").unwrap_or_default().parse();
        let chat = chat.map_err(|why: InvalidChat| invalid("chatId", &why.to_string()))?;
        Ok((caller, chat))
    }
}
