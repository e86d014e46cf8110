//! The one password, and how often it may be guessed.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{self, Data, Payload, ReqData},
};
use askama::Template;

use super::{
    Operator,
    look::{self, see_other},
    session::{self, Session},
};
use crate::{
    address,
    domain::quota::Quota,
    http::{client, problem::Problem},
};

pub(super) const PATH: &str = "/requests/login";

/// Tries, right ones too, of one address (an IPv6 /64), and of everybody together.
const TRIES: (u32, Duration) = (10, Duration::from_secs(10 * 60));
const TRIES_OF_ALL: (u32, Duration) = (60, Duration::from_secs(60 * 60));

#[derive(Template)]
#[template(path = "operator/login.html")]
struct LoginPage<'a> {
    css: &'static str,
    error: &'a str,
}

pub(super) fn page(status: StatusCode, error: &str) -> HttpResponse {
    look::page(status, &LoginPage { css: look::CSS, error })
}

/// `GET /requests/login`
pub(super) async fn ask() -> HttpResponse {
    page(StatusCode::OK, "")
}

/// `POST /requests/login`
pub(super) async fn enter(operator: Data<Operator>, request: HttpRequest, payload: Payload) -> HttpResponse {
    match entered(&operator, &request, payload).await {
        Ok(response) => response,
        Err(problem) => look::failure(&problem),
    }
}

async fn entered(operator: &Operator, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
    let mut fields = session::fields(request, payload).await?;
    let Some(password) = operator.password.load_full() else { return Err(Problem::not_found()) };
    if let Some(wait) = exhausted(operator, request).await? {
        let minutes = wait.as_secs().div_ceil(60).max(1);
        let error = format!("Too many tries. Wait {minutes} min, then try again.");
        let mut response = page(StatusCode::TOO_MANY_REQUESTS, &error);
        let seconds = wait.as_secs().max(1).into();
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
        return Ok(response);
    }
    let given = fields.remove("password").unwrap_or_default();
    let right = {
        // Comparing takes a core for a while; guesses in parallel must not take them all. The turn ends with the work,
        // not with the request: whoever hangs up has not made room for another.
        let turn = Arc::clone(&operator.comparing).lock_owned().await;
        let password = password.clone();
        let compare = move || {
            let _turn = turn;
            password.is(&given)
        };
        web::block(compare).await.unwrap_or(false)
    };
    if !right {
        tracing::warn!("a login to the page of requests was refused: wrong password");
        return Ok(page(StatusCode::UNAUTHORIZED, "This is not the password."));
    }
    tracing::info!("somebody has logged in to the page of requests");
    let value = Session::begin(&operator.service.keys, &password, operator.service.now());
    let mut response = see_other("/requests");
    set_cookie(&mut response, request, &value);
    Ok(response)
}

/// How long to wait. Taken before anything is compared, so that guesses side by side count as well.
async fn exhausted(operator: &Operator, request: &HttpRequest) -> Result<Option<Duration>, Problem> {
    let address = address::network(client::address(request, &operator.edge.load()));
    let [own, of_all] = [TRIES, TRIES_OF_ALL].map(|(tries, window)| Quota::per(tries, window));
    let standings = operator.service.admit_login(address, own, of_all).await?;
    Ok(standings.into_iter().filter_map(|standing| operator.service.note(standing)).max())
}

/// `POST /requests/logout`
pub(super) async fn leave(
    operator: Data<Operator>,
    session: ReqData<Session>,
    request: HttpRequest,
    payload: Payload,
) -> HttpResponse {
    match session.form(&operator.service.keys, &request, payload).await {
        Ok(_) => {
            let mut response = see_other(PATH);
            set_cookie(&mut response, &request, "");
            response
        }
        Err(problem) => look::failure(&problem),
    }
}

fn set_cookie(response: &mut HttpResponse, request: &HttpRequest, value: &str) {
    let cookie = session::set_cookie(request, value);
    let cookie = cookie.parse().expect("a name, base64 and attributes are a header");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
}
