//! Receives the webhooks of gateways.
//!
//! A webhook is authenticated over its raw bytes (before its body is read, if the head is sufficient), parsed by
//! the instance's gateway, and each event is passed to the service. The response is 200 only after the commit; an error
//! makes the gateway deliver again.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Payload},
};

use super::{
    PublicState,
    body::{self, Body},
    context::Cx,
    problem::{Code, Problem},
};
use crate::{
    domain::{
        Reason,
        doctor_mark::{self, Mark},
    },
    gateway::{Webhook, WebhookEvent},
    metrics::label::{ByReason, GatewayReason, GatewayResult, InstanceLabel},
    service::{Instance, Outcome, RequestContext},
    trace_context,
};

/// The reason that `doctor` reports if something on the way changed the body.
const CHANGED_BODY: &str = "changed body";

/// `GET` and `POST /webhooks/{instance}` and `/webhooks/{instance}/{secret}`
pub(super) async fn receive(
    state: Data<PublicState>,
    cx: Cx,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let path_secret = request.match_info().get("secret");
    let instances = &state.service.instances;
    let id = request.match_info().get("instance").and_then(|instance| instances.named(instance));
    let instance = id.and_then(|id| state.service.instances.get(id)).ok_or_else(Problem::not_found)?;
    if request.match_info().get("tail").is_some_and(|tail| !instance.gateway.accepts_path_suffix(tail)) {
        return Err(Problem::not_found());
    }
    let method = http::Method::from_bytes(request.method().as_str().as_bytes()).unwrap_or_default();
    let headers = to_http_headers(&request);
    let now = state.service.clock.wall();
    let head = Webhook {
        method: &method,
        path_suffix: path_secret,
        query: request.query_string(),
        headers: &headers,
        body: &[],
        now,
    };
    let covers_body = instance.gateway.auth_covers_body();
    if !covers_body {
        authenticate(&state, &instance, &head, mark(&state, &instance, &head))?;
    }
    let body = match (&method, covers_body) {
        (&http::Method::GET, _) => Body::default(),
        (_, true) => body::read(&request, payload, body::MAX_WEBHOOK_BODY).await?,
        (_, false) => {
            body::read_from(body::BodySender::Authenticated, &request, payload, body::MAX_WEBHOOK_BODY).await?
        }
    };
    // Reading the body may have taken seconds, so that the time is read again.
    let webhook = Webhook { body: &body, now: state.service.clock.wall(), ..head };
    let mark = mark(&state, &instance, &webhook);
    authenticate(&state, &instance, &webhook, mark)?;
    let kind = instance.gateway.kind();
    if method == http::Method::GET {
        let answer = instance.gateway.handshake(&webhook).ok_or_else(Problem::not_found)?;
        tracing::info!(gateway = kind, instance = %instance.config.id, "answered the gateway's webhook handshake");
        let status = actix_web::http::StatusCode::from_u16(answer.status.as_u16()).unwrap_or_default();
        return Ok(HttpResponse::build(status).content_type("text/plain; charset=utf-8").body(answer.body));
    }
    trace_context::accept_parent();
    if mark.is_some() {
        cx.count_apart();
    } else {
        state.service.record_inbound(&instance);
    }
    match instance.gateway.parse(&webhook) {
        Ok(events) => {
            for event in &events {
                let owner = instance_of_event(&state, &instance, event, &webhook);
                if mark.is_none() {
                    state.service.record_inbound(&owner);
                }
                process(&state, &cx, &owner, event).await?;
            }
        }
        // Answered with 200: the gateway would only deliver the same bytes again.
        Err(error) => {
            count_event(&state, &cx, &instance, "malformed");
            tracing::warn!(gateway = kind, instance = %instance.config.id, %error, "could not parse an authenticated webhook; it is dropped");
        }
    }
    let (content_type, body) = instance.gateway.acknowledgement();
    Ok(HttpResponse::Ok().content_type(content_type).body(body))
}

/// Says whether `doctor` sent the webhook.
fn mark(state: &PublicState, instance: &Instance, webhook: &Webhook<'_>) -> Option<Mark> {
    let header = webhook.headers.get(doctor_mark::HEADER)?.to_str().ok()?;
    doctor_mark::read(&state.service.keys, instance.config.id, webhook.now, header, webhook.body)
}

/// Authenticates the webhook. A failure is counted, and logged at a bounded rate.
fn authenticate(
    state: &PublicState,
    instance: &Instance,
    webhook: &Webhook<'_>,
    mark: Option<Mark>,
) -> Result<(), Problem> {
    let Err(why) = instance.gateway.authenticate(webhook) else { return Ok(()) };
    let (id, kind) = (instance.config.id, instance.gateway.kind());
    let covers_body = instance.gateway.auth_covers_body();
    let (metrics, instance) = (&state.service.metrics, InstanceLabel(id));
    if let Some(mark) = mark {
        let changed = covers_body && !mark.body_is_intact;
        let reason = if changed { CHANGED_BODY } else { why.0 };
        metrics.doctor_webhooks_rejected.get_or_create(&GatewayReason { instance, gateway: kind, reason }).inc();
        return Err(unauthenticated(webhook.method));
    }
    metrics.webhooks_rejected.get_or_create(&GatewayReason { instance, gateway: kind, reason: why.0 }).inc();
    let failed = ByReason { instance, reason: Reason::WebhookUnauthenticated.as_str() };
    metrics.attempts_failed.get_or_create(&failed).inc();
    if let Some(count) = state.service.health.record_failure(id, "webhook", why.0, state.service.clock.wall()) {
        tracing::warn!(gateway = kind, instance = %id, reason = why.0, count, "refused a webhook that failed authentication");
    }
    Err(unauthenticated(webhook.method))
}

/// The instance that an event belongs to. Some vendors post the events of all numbers of an account to one URL, so the
/// number may be another instance's, whose own secret must also authenticate the webhook. Otherwise `instance`.
fn instance_of_event(
    state: &PublicState,
    instance: &Arc<Instance>,
    event: &WebhookEvent,
    webhook: &Webhook<'_>,
) -> Arc<Instance> {
    let Some(id) = event.number_id.as_deref().filter(|id| instance.gateway.number_id().is_some_and(|ours| ours != *id))
    else {
        return Arc::clone(instance);
    };
    let is_authentic = |other: &Arc<Instance>| other.gateway.authenticate(webhook).is_ok();
    state
        .service
        .instances
        .by_number_id(instance.gateway.kind(), id)
        .filter(is_authentic)
        .unwrap_or_else(|| Arc::clone(instance))
}

async fn process(
    state: &PublicState,
    cx: &RequestContext,
    instance: &Arc<Instance>,
    event: &WebhookEvent,
) -> Result<(), Problem> {
    let outcome: Outcome = state.service.receive(cx, instance, event).await?;
    let gateway = instance.gateway.kind();
    let result = outcome.as_str();
    count_event(state, cx, instance, result);
    tracing::debug!(gateway, instance = %instance.config.id, result, "event");
    Ok(())
}

fn count_event(state: &PublicState, cx: &RequestContext, instance: &Instance, result: &'static str) {
    let metrics = &state.service.metrics;
    let family = if cx.counts_apart() { &metrics.doctor_webhook_events } else { &metrics.webhook_events };
    let event = GatewayResult { instance: InstanceLabel(instance.config.id), gateway: instance.gateway.kind(), result };
    family.get_or_create(&event).inc();
}

/// The same for every failure, so that it gives no hint to an attacker. Meta expects 403 for a wrong verify token.
fn unauthenticated(method: &http::Method) -> Problem {
    let code = if method == http::Method::GET { Code::HandshakeRefused } else { Code::WebhookUnauthenticated };
    Problem::new(code, "check the secrets at the gateway and here")
}

fn to_http_headers(request: &HttpRequest) -> http::HeaderMap {
    let mut headers = http::HeaderMap::with_capacity(request.headers().len());
    for (name, value) in request.headers() {
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes());
        let value = http::HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}
