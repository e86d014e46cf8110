//! The HTTP surface: two listeners, one table of routes each.

mod api;
mod auth;
mod body;
mod limits;
pub mod operator;
mod pages;
pub mod problem;
mod qr;
mod span;
mod view;
mod webhook;

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, Resource, Route, guard,
    http::header,
    middleware::from_fn,
    web::{self, ServiceConfig, get, post, resource},
};
use ipnet::IpNet;

use self::problem::{Code, Problem};
use crate::service::Service;

/// What handlers of the public listener need.
pub struct App {
    pub service: Arc<Service>,
    pub trusted_proxies: Vec<IpNet>,
}

/// Routes of the public listener.
pub fn routes(config: &mut ServiceConfig) {
    let api = web::scope("/api/otp/v2/{instance}")
        .service(only("/generate-link", "POST", post().to(api::generate_link)))
        .service(only("/requests", "GET", get().to(api::list)))
        .service(only("/requests/{uuid}", "GET", get().to(api::get)))
        .service(only("/requests/{uuid}/cancel", "POST", post().to(api::cancel)))
        .service(only("/redeem", "POST", post().to(api::redeem)))
        .service(only("/callbacks", "GET", get().to(api::dead_callbacks)))
        .service(only("/callbacks/{id}/replay", "POST", post().to(api::replay)))
        .default_service(web::to(nothing));
    let everything = web::scope("")
        .wrap(from_fn(span::observe))
        .service(api)
        .service(inbound("/webhooks/{instance}"))
        .service(inbound("/webhooks/{instance}/{secret}"))
        .service(only("/l/{handle}", "GET, HEAD", look().to(pages::start)))
        .service(only("/l/{handle}/qr.svg", "GET, HEAD", look().to(pages::qr_code)))
        .service(only("/o/{token}", "GET, HEAD, POST", look().to(pages::open)).route(post().to(pages::complete)))
        .service(only("/o/{token}/dispute", "POST", post().to(pages::dispute)))
        .default_service(web::to(nothing));
    config.service(everything);
}

/// For gateways.
fn inbound(path: &str) -> Resource {
    only(path, "GET, POST", post().to(webhook::receive)).route(get().to(webhook::receive))
}

/// GET and HEAD.
fn look() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A resource whose other methods are 405, with what is allowed.
fn only(path: &str, allowed: &'static str, route: Route) -> Resource {
    let refuse = move || async move {
        let mut response =
            actix_web::ResponseError::error_response(&Problem::new(Code::MethodNotAllowed, format!("use {allowed}")));
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
        response
    };
    resource(path).route(route).default_service(web::to(refuse))
}

async fn nothing(_request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::not_found())
}
