//! The operator's listener: probes, metrics, status, and the pages under `/requests`.
//!
//! `/livez` depends on nothing outside the process: an unavailable store is no reason to restart it.

mod callbacks;
mod home;
mod hosts;
mod layout;
mod list;
mod login;
mod overview;
mod picture;
mod request;
mod require_session;
mod session;

use std::sync::Arc;

use actix_web::{
    HttpResponse,
    middleware::from_fn,
    web::{Data, ServiceConfig, get, post, resource, scope, to},
};
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Mutex;

use crate::{
    config::{EdgeConfig, OperatorAccess},
    ops::{Ops, posture::Deployment},
    service::Services,
};

/// Whether this process should receive requests, or the reason why not. Starts as not ready.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<ArcSwapOption<String>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(ArcSwapOption::from_pointee("starting".to_owned())))
    }
}

impl Readiness {
    /// Returns whether that changed the state.
    pub fn set_ready(&self) -> bool {
        self.0.swap(None).is_some()
    }

    /// Marks the process as not ready. Returns whether the reason is new.
    pub fn set_not_ready(&self, why: &str) -> bool {
        let before = self.0.swap(Some(Arc::new(why.to_owned())));
        before.is_none_or(|before| *before != why)
    }

    pub fn is_ready(&self) -> bool {
        self.0.load().is_none()
    }
}

/// State shared by the handlers of the operator's listener.
pub struct OperatorState {
    pub readiness: Readiness,
    pub services: Arc<Services>,
    pub ops: Arc<Ops>,
    /// The operators who may log in, and the allowed host names. Replaced by a reload.
    pub access: Arc<ArcSwap<OperatorAccess>>,
    /// Replaced by a reload.
    pub edge: Arc<ArcSwap<EdgeConfig>>,
    pub deployment: Deployment,
    /// Held while a password is compared, so that at most one core is busy with it.
    pub password_check: Arc<Mutex<()>>,
}

/// Registers the routes of the operator's listener.
pub fn routes(config: &mut ServiceConfig) {
    let requests = scope("/requests")
        .wrap(from_fn(require_session::require_session))
        .service(resource("").route(get().to(list::list)))
        .service(resource("/login").route(get().to(login::show_form)).route(post().to(login::log_in)))
        .service(resource("/logout").route(post().to(login::log_out)))
        .service(resource("/overview").route(get().to(overview::overview)))
        .service(resource("/callbacks").route(get().to(callbacks::list)).route(post().to(callbacks::replay)))
        .service(resource("/explain").route(get().to(list::explain)))
        .service(
            scope("/{instance}/{uuid}")
                .service(resource("").route(get().to(request::show)))
                .service(resource("/cancel").route(post().to(request::cancel)))
                .service(resource("/replay").route(post().to(request::replay)))
                .default_service(to(layout::not_found)),
        )
        .default_service(to(layout::not_found));
    config.service(
        scope("")
            .wrap(from_fn(hosts::check_host))
            .service(resource("/").route(get().to(home::home)))
            .service(resource("/livez").route(get().to(HttpResponse::Ok)))
            .service(resource("/readyz").route(get().to(ready)))
            .service(resource("/metrics").route(get().to(metrics)))
            .service(resource("/status").route(get().to(status)))
            .service(requests)
            .default_service(to(home::not_found)),
    );
}

async fn ready(state: Data<OperatorState>) -> HttpResponse {
    match &*state.readiness.0.load() {
        None => HttpResponse::Ok().body("ready"),
        Some(why) => HttpResponse::ServiceUnavailable().body(format!("not ready: {why}")),
    }
}

async fn metrics(state: Data<OperatorState>) -> HttpResponse {
    let metrics = &state.services.env.metrics;
    metrics.ready.set(i64::from(state.readiness.is_ready()));
    HttpResponse::Ok().content_type("application/openmetrics-text; version=1.0.0; charset=utf-8").body(metrics.render())
}

async fn status(state: Data<OperatorState>) -> HttpResponse {
    HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(state.ops.status(state.readiness.is_ready()))
}
