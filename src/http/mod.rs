//! The HTTP interface: one table of routes for the public listener, one for the operator's.
//!
//! A request to the public listener passes `request_log` (request id, log line, metrics), then the rate limits per address,
//! then its handler. Handlers read and check the request, call one use case of [`Services`], and turn the result or the
//! error into a response; every error becomes a [`problem::Problem`]. Nothing here knows how data is stored or signed.

mod address_limit;
mod api;
mod audit_entry;
mod auth;
mod blocks;
mod body;
pub mod budget;
mod client;
mod codes;
pub mod connection;
pub(crate) mod content_coding;
mod context;
pub mod contract;
mod cookie;
mod delivery;
mod event_stream;
mod events;
pub mod guides;
mod oidc;
pub mod operator;
pub(crate) mod origin;
mod pages;
mod path;
pub mod problem;
pub mod qr;
mod query;
mod rate_limit_headers;
mod request_log;
pub mod route;
mod sse;
mod support;
mod view;
mod wawp;
mod webhook;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use actix_web::{
    HttpRequest, HttpResponse,
    middleware::from_fn,
    web::{self, ServiceConfig, to},
};
use arc_swap::ArcSwap;
use tokio_util::task::TaskTracker;

use self::{
    address_limit::AddressLimiter,
    contract::serve::Renderings,
    guides::Guides,
    problem::Problem,
    route::{
        Access::{ApiToken, GatewayWebhook, LinkToken, Public, Static},
        RouteEntry, delete, get, get_and_head, options, post,
    },
};
use crate::{
    config::EdgeConfig,
    domain::{InstanceId, token::TokenKind},
    service::Services,
};

/// State shared by the handlers of the public listener.
pub struct PublicState {
    pub services: Arc<Services>,
    /// Replaced by a reload.
    edge: Arc<ArcSwap<EdgeConfig>>,
    address_limiter: AddressLimiter,
    renderings: Renderings,
    guides: Guides,
    /// Instances whose webhooks were posted to a wrong path; `None`: a path that names no instance.
    wrong_webhook_paths: Mutex<HashSet<Option<InstanceId>>>,
    /// Open event streams; shutdown waits for them.
    streams: TaskTracker,
}

impl PublicState {
    pub fn new(services: Arc<Services>, edge: Arc<ArcSwap<EdgeConfig>>, streams: TaskTracker) -> Self {
        Self {
            services,
            edge,
            address_limiter: AddressLimiter::default(),
            renderings: Renderings::default(),
            guides: Guides::default(),
            wrong_webhook_paths: Mutex::default(),
            streams,
        }
    }
}

/// Every route of the contract, with who may call it.
#[rustfmt::skip]
pub const ROUTES: &[RouteEntry] = &[
    post(ApiToken, "/api/otp/v2/{instance}/generate-link", || to(api::generate_link)),
    post(ApiToken, "/api/otp/v2/{instance}/request-code", || to(codes::request)),
    post(ApiToken, "/api/otp/v2/{instance}/validate-code", || to(codes::validate)),
    get(ApiToken, "/api/otp/v2/{instance}/requests", || to(api::list)),
    get(ApiToken, "/api/otp/v2/{instance}/requests/{uuid}", || to(api::get)),
    get(ApiToken, "/api/otp/v2/{instance}/requests/{uuid}/events", || to(events::events)),
    options("/api/otp/v2/{instance}/requests/{uuid}/events", || to(events::preflight)),
    post(ApiToken, "/api/otp/v2/{instance}/requests/{uuid}/cancel", || to(api::cancel)),
    post(ApiToken, "/api/otp/v2/{instance}/requests/{uuid}/resend", || to(codes::resend)),
    post(ApiToken, "/api/otp/v2/{instance}/redeem", || to(api::redeem)),
    get(ApiToken, "/api/otp/v2/{instance}/callbacks", || to(delivery::list)),
    post(ApiToken, "/api/otp/v2/{instance}/callbacks/test", || to(delivery::test)),
    get(ApiToken, "/api/otp/v2/{instance}/callbacks/{id}", || to(delivery::get)),
    post(ApiToken, "/api/otp/v2/{instance}/callbacks/{id}/replay", || to(delivery::replay)),
    get(ApiToken, "/api/otp/v2/{instance}/explain", || to(support::explain)),
    delete(ApiToken, "/api/otp/v2/{instance}/subjects/{chat_id}", || to(support::erase)),

    get(ApiToken, "/v2/auth/otp/send", || to(wawp::send)),
    post(ApiToken, "/v2/auth/otp/send", || to(wawp::send)),
    get(ApiToken, "/v2/auth/otp/verify", || to(wawp::verify)),
    post(ApiToken, "/v2/auth/otp/verify", || to(wawp::verify)),
    get(ApiToken, "/v2/auth/list/send", || to(wawp::send_list)),
    post(ApiToken, "/v2/auth/list/send", || to(wawp::send_list)),
    get(ApiToken, "/v2/auth/list/verify", || to(wawp::verify_list)),
    post(ApiToken, "/v2/auth/list/verify", || to(wawp::verify_list)),

    get(GatewayWebhook, "/webhooks/{instance}", || to(webhook::receive)),
    post(GatewayWebhook, "/webhooks/{instance}", || to(webhook::receive)),
    get(GatewayWebhook, "/webhooks/{instance}/{secret}", || to(webhook::receive)),
    post(GatewayWebhook, "/webhooks/{instance}/{secret}", || to(webhook::receive)),
    post(GatewayWebhook, "/webhooks/{instance}/{secret}/{tail}", || to(webhook::receive)),

    get_and_head(LinkToken(TokenKind::Handle), "/l/{handle}", || to(pages::start_page)),
    post(LinkToken(TokenKind::Handle), "/l/{handle}", || to(pages::submit)),
    get_and_head(LinkToken(TokenKind::Handle), "/l/{handle}/code", || to(pages::code_form)),
    post(LinkToken(TokenKind::Handle), "/l/{handle}/code", || to(pages::submit_code)),
    get(LinkToken(TokenKind::Handle), "/l/{handle}/events", || to(pages::events)),
    get_and_head(LinkToken(TokenKind::Handle), "/l/{handle}/go", || to(pages::go_to_whatsapp)),
    get_and_head(LinkToken(TokenKind::Handle), "/l/{handle}/qr.svg", || to(pages::qr_code)),
    get_and_head(LinkToken(TokenKind::Link), "/o/{token}", || to(pages::open)),
    post(LinkToken(TokenKind::Link), "/o/{token}", || to(pages::complete)),
    get_and_head(LinkToken(TokenKind::Dispute), "/d/{token}", || to(pages::dispute_form)),
    post(LinkToken(TokenKind::Dispute), "/d/{token}", || to(pages::dispute)),
    get_and_head(Static, "/widget.js", || to(pages::widget)),

    get_and_head(Public, "/", || to(contract::serve::root)),
    get_and_head(Public, "/openapi.json", || to(contract::serve::openapi_json)),
    get_and_head(Public, "/docs", || to(contract::serve::docs)),
    get_and_head(Public, "/docs/search", || to(guides::search)),
    get_and_head(Public, "/docs/{guide}", || to(guides::guide)),
    get_and_head(Public, "/docs.md", || to(contract::serve::docs_markdown)),
    get_and_head(Public, "/postman.json", || to(contract::serve::postman)),
    get_and_head(Public, "/llms.txt", || to(contract::serve::llms)),
];

/// All routes of the public listener: our own contract, and the OpenID provider's.
fn all_routes() -> impl Iterator<Item = &'static RouteEntry> {
    ROUTES.iter().chain(oidc::ROUTES)
}

/// Registers [`all_routes`] with their middleware.
pub fn routes(config: &mut ServiceConfig) {
    let table: Vec<&'static RouteEntry> = all_routes().collect();
    let everything =
        route::register(web::scope(""), &table, "", || web::to(not_found)).default_service(web::to(not_found));
    let everything = everything.wrap(from_fn(address_limit::limit_by_address)).wrap(from_fn(pages::as_pages));
    config.service(everything.wrap(from_fn(request_log::observe)).wrap(from_fn(path::rewrite)));
}

async fn not_found(request: HttpRequest) -> Result<HttpResponse, Problem> {
    webhook::warn_of_wrong_path(&request);
    Err(Problem::not_found())
}
