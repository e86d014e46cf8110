//! Middleware that gives every request an id, a trace, a log line and metrics. Only route templates are logged: paths,
//! queries and headers contain tokens.

use std::time::Instant;

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};

use super::{PublicState, audit_entry, context};
use crate::{
    metrics::label::{ByRoute, RouteStatus, status_class},
    random,
    service::RequestContext,
    trace_context::{self, Span, TraceContext},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The middleware.
pub(super) async fn observe(
    state: web::Data<PublicState>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let start = Instant::now();
    let started_at = state.services.env.clock.wall();
    let parent = traceparent(&request);
    let id = request_id(&request);
    let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
    let method = method_label(request.method());
    let cx = context::attach(&request, RequestContext::new(&state.services.env.store));
    let (response, context, parent) = trace_context::in_request_trace(parent, next.call(request)).await;
    let (mut response, action) = (response?, cx.action());
    let status = response.status().as_u16();
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let elapsed = start.elapsed();
    let metrics = &state.services.env.metrics;
    metrics.http_request_seconds.get_or_create(&ByRoute { route: route.clone() }).observe(elapsed.as_secs_f64());
    metrics.http_requests.get_or_create(&RouteStatus { route: route.clone(), status: status_class(status) }).inc();
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let trace_id = context.trace_id_hex();
    match &action.actor {
        Some(by) => tracing::info!(method, route, status, millis, request_id = id, trace_id, %by, "request"),
        None => tracing::info!(method, route, status, millis, request_id = id, trace_id, "request"),
    }
    if action.actor.is_some() {
        audit_entry::write_entry(
            &state.services,
            &state.edge.load(),
            response.request(),
            &action,
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
            start: started_at,
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

/// A method is any token that the client chooses; logs and metrics contain only known ones.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|word| method.as_str() == *word).unwrap_or("other")
}

/// The caller's `traceparent`, if there is exactly one valid header.
fn traceparent(request: &ServiceRequest) -> Option<TraceContext> {
    let mut values = request.headers().get_all("traceparent");
    let first = values.next()?.to_str().ok()?.parse().ok()?;
    values.next().is_none().then_some(first)
}

/// The caller's request id if it is 8 to 64 letters, digits and dashes; otherwise a new one.
fn request_id(request: &ServiceRequest) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let harmless = |text: &&str| {
        (8..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    given.filter(harmless).map_or_else(|| format!("{:032x}", u128::from_be_bytes(random::bytes())), str::to_owned)
}
