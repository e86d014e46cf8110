//! The OpenID provider: `/oidc/{instance}` is the issuer of an instance that has clients.
//!
//! Its interface is that of the specifications, and describes itself at `.well-known/openid-configuration`; it is not
//! part of our own contract. Errors are those of the protocol, not problems.

mod authorize;
mod client_auth;
mod page;
mod tokens;

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderValue},
    web::{Data, Path, Payload, to},
};
use url::form_urlencoded;

use super::{
    PublicState, body,
    problem::Problem,
    route::{
        Access::{ApiToken, Public, Static},
        RouteEntry, get, get_and_head, options, post,
    },
};
use crate::{
    api::oidc::Metadata,
    domain::{
        Language,
        oidc::{Algorithm, Parameters, Prompt, ResponseMode, SubjectType},
    },
    service::{Instance, oidc::CLAIMS},
};

/// Bytes of a request from a client or its browser: an encrypted `state` is the largest part.
const MAX_BODY: usize = 16 * 1024;

/// The routes of all issuers.
#[rustfmt::skip]
pub(super) const ROUTES: &[RouteEntry] = &[
    get_and_head(Static, "/oidc/{instance}/.well-known/openid-configuration", || to(metadata)),
    get_and_head(Static, "/oidc/{instance}/jwks", || to(key_set)),
    get(Static, "/oidc/{instance}/authorize", || to(authorize::get)),
    post(Static, "/oidc/{instance}/authorize", || to(authorize::post)),
    get(Public, "/oidc/{instance}/continue", || to(authorize::page)),
    post(Public, "/oidc/{instance}/continue", || to(authorize::tap)),
    get(Public, "/oidc/{instance}/response", || to(authorize::response)),
    post(ApiToken, "/oidc/{instance}/token", || to(tokens::token)),
    options("/oidc/{instance}/token", || to(preflight)),
    get(ApiToken, "/oidc/{instance}/userinfo", || to(tokens::user_info)),
    post(ApiToken, "/oidc/{instance}/userinfo", || to(tokens::user_info)),
    options("/oidc/{instance}/userinfo", || to(preflight)),
];

/// The instance, if it is an issuer.
fn issuer(state: &PublicState, instance: &str) -> Result<Arc<Instance>, Problem> {
    let instance = instance.parse().ok().and_then(|id| state.services.env.instances.get(id));
    instance.filter(|instance| !instance.config.clients.is_empty()).ok_or_else(Problem::not_found)
}

/// `GET …/.well-known/openid-configuration`
async fn metadata(state: Data<PublicState>, instance: Path<String>) -> Result<HttpResponse, Problem> {
    let instance = issuer(&state, &instance)?;
    let issuer = state.services.env.public_url.issuer(&instance);
    let at = |path: &str| format!("{issuer}/{path}");
    let metadata = Metadata {
        authorization_endpoint: at("authorize"),
        token_endpoint: at("token"),
        userinfo_endpoint: at("userinfo"),
        jwks_uri: at("jwks"),
        scopes_supported: &["openid", "phone", "profile"],
        response_types_supported: &["code"],
        response_modes_supported: const { &[ResponseMode::Query.as_str(), ResponseMode::FormPost.as_str()] },
        grant_types_supported: &["authorization_code"],
        subject_types_supported: const { &[SubjectType::Pairwise.as_str(), SubjectType::Public.as_str()] },
        id_token_signing_alg_values_supported: state
            .services
            .oidc_keys
            .algorithms()
            .into_iter()
            .map(Algorithm::as_str)
            .collect(),
        token_endpoint_auth_methods_supported: &["client_secret_basic", "client_secret_post", "none"],
        claim_types_supported: &["normal"],
        claims_supported: CLAIMS,
        code_challenge_methods_supported: &["S256"],
        prompt_values_supported: const {
            &[Prompt::None.as_str(), Prompt::Login.as_str(), Prompt::Consent.as_str(), Prompt::SelectAccount.as_str()]
        },
        ui_locales_supported: Language::all().map(Language::tag).collect(),
        claims_parameter_supported: false,
        request_parameter_supported: false,
        request_uri_parameter_supported: false,
        authorization_response_iss_parameter_supported: true,
        issuer,
    };
    let mut response = HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "public, max-age=300")).json(metadata);
    allow_any_origin(&mut response);
    Ok(response)
}

/// `GET …/jwks`
async fn key_set(state: Data<PublicState>, instance: Path<String>) -> Result<HttpResponse, Problem> {
    issuer(&state, &instance)?;
    let (keys, seconds) = state.services.oidc_keys.key_set().ok_or_else(Problem::not_found)?;
    let cache = format!("public, max-age={seconds}");
    let mut response = HttpResponse::Ok().insert_header((header::CACHE_CONTROL, cache)).json(keys);
    allow_any_origin(&mut response);
    Ok(response)
}

/// Lets apps in a browser call the endpoint. Cookies have no effect there.
async fn preflight() -> HttpResponse {
    let mut response = HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish();
    allow_any_origin(&mut response);
    response
}

fn allow_any_origin(response: &mut HttpResponse) {
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
}

fn query(request: &HttpRequest) -> Parameters {
    form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect()
}

async fn form(request: &HttpRequest, payload: Payload) -> Result<Parameters, Problem> {
    let body = body::read(request, payload, MAX_BODY).await?;
    Ok(form_urlencoded::parse(&body).into_owned().collect())
}
