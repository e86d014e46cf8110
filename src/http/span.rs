//! One line per request. Route templates only: paths, queries and headers hold tokens.

use std::time::Instant;

use actix_web::{
    Error, HttpMessage as _,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};

use super::{PublicState, audit_entry, limits};
use crate::{
    metrics::label::{ByRoute, RouteStatus, status_class},
    random, service,
    trace_context::{self, Span, TraceContext},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives every request an id and a log line.
pub(super) async fn observe(
    app: web::Data<PublicState>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let start = Instant::now();
    let began = app.service.clock.wall();
    let parent = traceparent(&request);
    let id = request_id(&request);
    let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
    let method = known(request.method());
    request.extensions_mut().insert(RequestId(id.clone()));
    let work = service::doing(service::telling(next.call(request)));
    let (((response, told), deed), context, parent) = trace_context::in_request_trace(parent, work).await;
    let mut response = response?;
    limits::headers(response.headers_mut(), &told);
    let status = response.status().as_u16();
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let elapsed = start.elapsed();
    let metrics = &app.service.metrics;
    metrics.http_request_seconds.get_or_create(&ByRoute { route: route.clone() }).observe(elapsed.as_secs_f64());
    metrics.http_requests.get_or_create(&RouteStatus { route: route.clone(), status: status_class(status) }).inc();
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let trace_id = context.trace_id_hex();
    match &deed.by {
        Some(by) => tracing::info!(method, route, status, millis, request_id = id, trace_id, %by, "request"),
        None => tracing::info!(method, route, status, millis, request_id = id, trace_id, "request"),
    }
    if deed.by.is_some() {
        audit_entry::write_entry(
            &app.service,
            &app.edge.load(),
            response.request(),
            &deed,
            &format!("{method} {route}"),
            status,
        );
    }
    if trace_context::is_recorded(context) {
        trace_context::record(Span {
            name: format!("{method} {route}"),
            server: true,
            context,
            parent: parent.map(TraceContext::span_id),
            start: began,
            duration: elapsed,
            ok: status < 500,
            attributes: vec![
                ("http.route", route),
                ("http.request.method", method.to_owned()),
                ("http.response.status_code", status.to_string()),
            ],
        });
    }
    Ok(response)
}

/// A method is any word that a stranger likes; what we write down is not.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|word| method.as_str() == *word).unwrap_or("other")
}

/// The caller's place in a trace, if it tells one and only one.
fn traceparent(request: &ServiceRequest) -> Option<TraceContext> {
    let mut told = request.headers().get_all("traceparent");
    let first = told.next()?.to_str().ok()?.parse().ok()?;
    told.next().is_none().then_some(first)
}

/// The id of a request, for whoever has to name it.
#[derive(Clone)]
pub(super) struct RequestId(#[expect(dead_code, reason = "read by handlers that log")] String);

/// The caller's, when it is short and harmless; else one of ours.
fn request_id(request: &ServiceRequest) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let harmless = |text: &&str| {
        (8..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    given.filter(harmless).map_or_else(|| format!("{:032x}", u128::from_be_bytes(random::bytes())), str::to_owned)
}
