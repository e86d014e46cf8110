//! Login and logout of operators, with a limit on attempts.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{self, Data, Payload, ReqData},
};
use askama::Template;

use super::{
    OperatorState,
    layout::{self, MenuEntry, OperatorResult},
    session::{self, Session},
};
use crate::{
    config::{OperatorAccess, UNNAMED},
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
    asks_for_name: bool,
    name: &'a str,
}

/// Whether operators log in by name; a single unnamed operator needs the password alone.
fn asks_for_name(access: &OperatorAccess) -> bool {
    access.operator(UNNAMED).is_none() || access.operators.len() > 1
}

/// The login page; `name` is what was typed before.
pub(super) fn login_page(status: StatusCode, access: &OperatorAccess, name: &str, error: &str) -> HttpResponse {
    let asks_for_name = asks_for_name(access);
    let name = if asks_for_name { name } else { UNNAMED };
    layout::render_plain(status, &LoginPage { css: layout::CSS, error, asks_for_name, name })
}

/// `GET /requests/login`
pub(super) async fn show_form(state: Data<OperatorState>) -> HttpResponse {
    login_page(StatusCode::OK, &state.access.load(), "", "")
}

/// `POST /requests/login`
pub(super) async fn log_in(
    state: Data<OperatorState>,
    cx: Cx,
    request: HttpRequest,
    payload: Payload,
) -> OperatorResult {
    let mut fields = session::same_origin_form(&request, payload).await?;
    let access = state.access.load_full();
    let name = fields.remove("username").unwrap_or_else(|| UNNAMED.to_owned());
    if let Some(wait) = count_attempt(&state, &cx, &request).await? {
        let minutes = wait.as_secs().div_ceil(60).max(1);
        let error = format!("Too many attempts. Try again in {minutes} min.");
        let mut response = login_page(StatusCode::TOO_MANY_REQUESTS, &access, &name, &error);
        let seconds = wait.as_secs().max(1).into();
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
        return Ok(response);
    }
    let given = fields.remove("password").unwrap_or_default();
    let known = access.operator(&name).cloned();
    // Compare even for an unknown name, so that the response takes as long as for a known one.
    let Some(password) = known.as_ref().or(access.operators.first()).map(|one| one.password.clone()) else {
        return Err(Problem::not_found().into());
    };
    let matches = {
        // Comparing keeps a core busy; parallel guesses must not take all of them. The lock is held until the work is
        // done, even if the client disconnects.
        let lock = Arc::clone(&state.password_check).lock_owned().await;
        let compare = move || {
            let _lock = lock;
            password.is(&given)
        };
        web::block(compare).await.unwrap_or(false)
    };
    let Some(known) = known.filter(|_| matches) else {
        tracing::warn!("refused an operator's login: wrong name or password");
        let error = if asks_for_name(&access) { "Wrong name or password." } else { "Wrong password." };
        return Ok(login_page(StatusCode::UNAUTHORIZED, &access, &name, error));
    };
    tracing::info!(operator = known.name, "an operator logged in");
    let value = Session::issue(&state.services.env.keys, &known, state.services.env.store.now());
    let action = Action { actor: Some(Actor::Operator { name: known.name }), ..Action::default() };
    audit_entry::write_entry(&state.services, &state.edge.load(), &request, &action, "POST /requests/login", 303);
    let mut response = see_other(MenuEntry::Overview.path());
    set_cookie(&mut response, &request, &value);
    Ok(response)
}

/// Counts an attempt and returns how long to wait if there were too many. Called before the comparison, so that
/// parallel guesses are counted, too.
async fn count_attempt(
    state: &OperatorState,
    cx: &RequestContext,
    request: &HttpRequest,
) -> Result<Option<Duration>, Problem> {
    let address = subscriber_network(client::ip_address(request, &state.edge.load()));
    let [per_address, in_total] =
        [ATTEMPTS_PER_ADDRESS, ATTEMPTS_IN_TOTAL].map(|(tries, window)| Quota::per(tries, window));
    let limit_statuses = state.services.shared.limits.take_for_login(cx, address, per_address, in_total).await?;
    Ok(limit_statuses.into_iter().filter_map(|status| state.services.shared.limits.retry_after(status)).max())
}

/// `POST /requests/logout`
pub(super) async fn log_out(
    state: Data<OperatorState>,
    cx: Cx,
    session: ReqData<Session>,
    request: HttpRequest,
    payload: Payload,
) -> OperatorResult {
    session.csrf_checked_form(&state.services.env.keys, &request, payload).await?;
    session.end(&state.services, &cx).await?;
    let mut response = see_other(LOGIN_PATH);
    set_cookie(&mut response, &request, "");
    Ok(response)
}

fn set_cookie(response: &mut HttpResponse, request: &HttpRequest, value: &str) {
    let cookie = session::set_cookie(request, value);
    let cookie = cookie.parse().expect("a name, base64 and attributes are a header");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
}
