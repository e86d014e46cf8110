//! Login and logout of operators, with a limit on attempts.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{self, Data, Payload, ReqData},
};
use askama::Template;

use super::{
    OperatorState, layout,
    session::{self, Session},
};
use crate::{
    config::{Access, UNNAMED},
    domain::quota::Quota,
    http::{audit_entry, client, context::Cx, pages::see_other, problem::Problem},
    service::{Action, Actor, RequestContext, subscriber_network},
};

pub(super) const LOGIN_PATH: &str = "/requests/login";

/// Attempts, successful ones included, of one address (an IPv4 address or an IPv6 /64), and of all addresses together.
const ATTEMPTS_PER_ADDRESS: (u32, Duration) = (10, Duration::from_secs(10 * 60));
const ATTEMPTS_IN_TOTAL: (u32, Duration) = (60, Duration::from_secs(60 * 60));

#[derive(Template)]
#[template(path = "operator/login.html")]
struct LoginPage<'a> {
    css: &'static str,
    error: &'a str,
    /// Whether the form asks for a name.
    named: bool,
    name: &'a str,
}

/// Whether operators log in by name; a single unnamed operator needs the password alone.
fn asks_for_name(access: &Access) -> bool {
    access.operator(UNNAMED).is_none() || access.operators.len() > 1
}

/// The login page; `name` is what was typed before.
pub(super) fn login_page(status: StatusCode, access: &Access, name: &str, error: &str) -> HttpResponse {
    let named = asks_for_name(access);
    let name = if named { name } else { UNNAMED };
    layout::render(status, &LoginPage { css: layout::CSS, error, named, name })
}

/// `GET /requests/login`
pub(super) async fn show_form(operator: Data<OperatorState>) -> HttpResponse {
    login_page(StatusCode::OK, &operator.access.load(), "", "")
}

/// `POST /requests/login`
pub(super) async fn log_in(
    operator: Data<OperatorState>,
    cx: Cx,
    request: HttpRequest,
    payload: Payload,
) -> HttpResponse {
    match try_log_in(&operator, &cx, &request, payload).await {
        Ok(response) => response,
        Err(problem) => layout::problem_page(&problem),
    }
}

async fn try_log_in(
    operator: &OperatorState,
    cx: &RequestContext,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let mut fields = session::same_origin_form(request, payload).await?;
    let access = operator.access.load_full();
    let name = fields.remove("username").unwrap_or_else(|| UNNAMED.to_owned());
    if let Some(wait) = count_attempt(operator, cx, request).await? {
        let minutes = wait.as_secs().div_ceil(60).max(1);
        let error = format!("Too many attempts. Wait {minutes} min, then try again.");
        let mut response = login_page(StatusCode::TOO_MANY_REQUESTS, &access, &name, &error);
        let seconds = wait.as_secs().max(1).into();
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
        return Ok(response);
    }
    let given = fields.remove("password").unwrap_or_default();
    let known = access.operator(&name).cloned();
    // Compare even for an unknown name, so that the response takes as long as for a known one.
    let Some(password) = known.as_ref().or(access.operators.first()).map(|one| one.password.clone()) else {
        return Err(Problem::not_found());
    };
    let right = {
        // Comparing keeps a core busy; parallel guesses must not take all of them. The lock is held until the work is
        // done, even if the client disconnects.
        let turn = Arc::clone(&operator.password_check).lock_owned().await;
        let compare = move || {
            let _turn = turn;
            password.is(&given)
        };
        web::block(compare).await.unwrap_or(false)
    };
    let Some(known) = known.filter(|_| right) else {
        tracing::warn!("refused an operator's login: wrong name or password");
        let named = "Name or password is wrong.";
        let error = if asks_for_name(&access) { named } else { "The password is wrong." };
        return Ok(login_page(StatusCode::UNAUTHORIZED, &access, &name, error));
    };
    tracing::info!(operator = known.name, "an operator logged in");
    let value = Session::issue(&operator.service.keys, &known, operator.service.now());
    let deed = Action { actor: Some(Actor::Operator { name: known.name }), ..Action::default() };
    audit_entry::write_entry(&operator.service, &operator.edge.load(), request, &deed, "POST /requests/login", 303);
    let mut response = see_other("/requests");
    set_cookie(&mut response, request, &value);
    Ok(response)
}

/// Counts an attempt and returns how long to wait if there were too many. Called before the comparison, so that
/// parallel guesses are counted, too.
async fn count_attempt(
    operator: &OperatorState,
    cx: &RequestContext,
    request: &HttpRequest,
) -> Result<Option<Duration>, Problem> {
    let address = subscriber_network(client::ip_address(request, &operator.edge.load()));
    let [own, of_all] = [ATTEMPTS_PER_ADDRESS, ATTEMPTS_IN_TOTAL].map(|(tries, window)| Quota::per(tries, window));
    let limit_statuses = operator.service.take_for_login(cx, address, own, of_all).await?;
    Ok(limit_statuses.into_iter().filter_map(|status| operator.service.retry_after(status)).max())
}

/// `POST /requests/logout`
pub(super) async fn log_out(
    operator: Data<OperatorState>,
    cx: Cx,
    session: ReqData<Session>,
    request: HttpRequest,
    payload: Payload,
) -> HttpResponse {
    let left = async {
        session.csrf_checked_form(&operator.service.keys, &request, payload).await?;
        session.end(&operator.service, &cx).await?;
        let mut response = see_other(LOGIN_PATH);
        set_cookie(&mut response, &request, "");
        Ok(response)
    };
    left.await.unwrap_or_else(|problem: Problem| layout::problem_page(&problem))
}

fn set_cookie(response: &mut HttpResponse, request: &HttpRequest, value: &str) {
    let cookie = session::set_cookie(request, value);
    let cookie = cookie.parse().expect("a name, base64 and attributes are a header");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
}
