//! Probes, metrics and the status page's data, on their own listener.
//!
//! `/livez` asks nobody: a store that is away is no reason to restart this process.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use actix_web::{
    HttpResponse,
    web::{Data, ServiceConfig, get, resource},
};

use crate::service::Service;

/// Whether this process should get requests.
#[derive(Clone, Default, Debug)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the operator's listener needs.
pub struct Operator {
    pub readiness: Readiness,
    pub service: Arc<Service>,
}

/// Routes of the operator's listener.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(resource("/livez").route(get().to(HttpResponse::Ok)))
        .service(resource("/readyz").route(get().to(ready)))
        .service(resource("/metrics").route(get().to(metrics)))
        .service(resource("/status").route(get().to(status)));
}

async fn ready(operator: Data<Operator>) -> HttpResponse {
    if operator.readiness.is_ready() {
        HttpResponse::Ok().body("ready")
    } else {
        HttpResponse::ServiceUnavailable().body("not ready")
    }
}

async fn metrics(operator: Data<Operator>) -> HttpResponse {
    let metrics = &operator.service.metrics;
    metrics.ready.set(i64::from(operator.readiness.is_ready()));
    HttpResponse::Ok().content_type("application/openmetrics-text; version=1.0.0; charset=utf-8").body(metrics.render())
}

async fn status(operator: Data<Operator>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("cache-control", "no-store"))
        .json(operator.service.status(operator.readiness.is_ready()))
}
