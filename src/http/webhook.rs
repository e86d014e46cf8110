//! Receives the webhooks of gateways.
//!
//! A webhook is authenticated over its raw bytes (before its body is read, if the head is sufficient), parsed by
//! the instance's gateway, and each event is passed to the service. The response is 200 only after the commit; an error
//! makes the gateway deliver again. An encoded body is decoded after its authentication, or before it if the signature
//! covers the decoded bytes.

use std::sync::{Arc, PoisonError};

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Payload},
};

use super::{
    PublicState,
    body::{self, Body, BodySender},
    content_coding::ContentCoding,
    context::Cx,
    problem::{Code, Problem},
};
use crate::{
    domain::{
        Reason,
        doctor_mark::{self, DoctorMark},
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
    let instances = &state.services.env.instances;
    let id = request.match_info().get("instance").and_then(|instance| instances.named(instance));
    let tail = request.match_info().get("tail");
    let instance = id.and_then(|id| instances.get(id));
    let instance = instance.filter(|instance| tail.is_none_or(|tail| instance.gateway.accepts_path_suffix(tail)));
    let Some(instance) = instance else {
        warn_of_wrong_path(&request);
        return Err(Problem::not_found());
    };
    let method = http::Method::from_bytes(request.method().as_str().as_bytes()).unwrap_or_default();
    let headers = to_http_headers(&request);
    let now = state.services.env.clock.wall();
    let head = Webhook {
        method: &method,
        path_suffix: path_secret,
        query: request.query_string(),
        headers: &headers,
        body: &[],
        now,
    };
    let body = read_authenticated(&state, &instance, &request, payload, &head).await?;
    let webhook = head.with_body(&body, state.services.env.clock.wall());
    let kind = instance.gateway.kind();
    if method == http::Method::GET {
        let answer = instance.gateway.handshake(&webhook).ok_or_else(Problem::not_found)?;
        tracing::info!(gateway = kind, instance = %instance.config.id, "answered the gateway's webhook handshake");
        let status = actix_web::http::StatusCode::from_u16(answer.status.as_u16()).unwrap_or_default();
        return Ok(HttpResponse::build(status).content_type("text/plain; charset=utf-8").body(answer.body));
    }
    trace_context::accept_parent();
    let mark = mark(&state, &instance, &webhook);
    if mark.is_some() {
        cx.count_apart();
    } else {
        state.services.env.health.record_inbound(&instance);
    }
    let events = instance.gateway.parse(&webhook).unwrap_or_else(|why| vec![WebhookEvent::malformed(&why)]);
    for event in &events {
        let owner = instance_of_event(&state, &instance, event, &webhook);
        if mark.is_none() {
            state.services.env.health.record_inbound(&owner);
        }
        process(&state, &cx, &owner, event).await?;
    }
    // Answered with 200: the gateway would only deliver the same bytes again.
    if let Some(fault) = events.iter().find_map(|event| event.fault.as_deref()) {
        state.services.shared.malformed.keep(&cx, &instance, fault, &webhook).await?;
    }
    let (content_type, body) = instance.gateway.acknowledgement();
    Ok(HttpResponse::Ok().content_type(content_type).body(body))
}

/// Says whether `doctor` sent the webhook.
fn mark(state: &PublicState, instance: &Instance, webhook: &Webhook<'_>) -> Option<DoctorMark> {
    let header = webhook.headers.get(doctor_mark::HEADER)?.to_str().ok()?;
    doctor_mark::read(&state.services.env.keys, instance.config.id, webhook.now, header, webhook.body)
}

/// Logs a POST that looks like a webhook at a path that has no handler, once per instance, with the right URL. The
/// paths of the API name instances, too.
pub(super) fn warn_of_wrong_path(request: &HttpRequest) {
    let Some(state) = request.app_data::<Data<PublicState>>() else { return };
    let path = request.path();
    let named = path.split('/').find_map(|segment| state.services.env.instances.named(segment));
    let looks_like_webhook = named.is_some() || path.to_ascii_lowercase().contains("webhook");
    if request.method() != actix_web::http::Method::POST || !looks_like_webhook || path.starts_with("/api/") {
        return;
    }
    if state.wrong_webhook_paths.lock().unwrap_or_else(PoisonError::into_inner).insert(named) {
        let id = named.map_or_else(|| "<instance id>".to_owned(), |id| id.to_string());
        let url = state.services.env.public_url.absolute(&format!("/webhooks/{id}"));
        tracing::warn!(url, "a webhook was posted to a wrong path and not processed; set this URL at the gateway");
    }
}

/// Reads the body, and decodes it if it is encoded. A GET has none.
async fn read_authenticated(
    state: &PublicState,
    instance: &Instance,
    request: &HttpRequest,
    payload: Payload,
    head: &Webhook<'_>,
) -> Result<Body, Problem> {
    const LIMIT: usize = body::MAX_WEBHOOK_BODY;
    let coding = ContentCoding::of(request)?;
    let covers_body = instance.gateway.auth_covers_body();
    if !covers_body || head.method == http::Method::GET {
        authenticate(state, instance, head)?;
        if head.method == http::Method::GET {
            return Ok(Body::default());
        }
        let body = body::read_from(BodySender::Authenticated, request, payload, LIMIT).await?;
        return body.decode(coding, BodySender::Authenticated, request, LIMIT).await;
    }
    let body = body::read(request, payload, LIMIT).await?;
    // Reading the body may have taken seconds, so the time is read again.
    let now = state.services.env.clock.wall();
    let webhook = head.with_body(&body, now);
    if coding == ContentCoding::Identity || instance.gateway.authenticate(&webhook).is_ok() {
        authenticate(state, instance, &webhook)?;
        return body.decode(coding, BodySender::Authenticated, request, LIMIT).await;
    }
    let limit = body.unauthenticated_limit();
    let body = body.decode(coding, BodySender::Unauthenticated, request, limit).await?;
    authenticate(state, instance, &head.with_body(&body, now))?;
    Ok(body)
}

/// Authenticates the webhook. A failure is counted, and logged at a bounded rate.
fn authenticate(state: &PublicState, instance: &Instance, webhook: &Webhook<'_>) -> Result<(), Problem> {
    let Err(why) = instance.gateway.authenticate(webhook) else { return Ok(()) };
    let mark = mark(state, instance, webhook);
    let (id, kind) = (instance.config.id, instance.gateway.kind());
    let covers_body = instance.gateway.auth_covers_body();
    let (metrics, instance) = (&state.services.env.metrics, InstanceLabel(id));
    if let Some(mark) = mark {
        let changed = covers_body && !mark.body_is_intact;
        let reason = if changed { CHANGED_BODY } else { why.0 };
        metrics.doctor_webhooks_rejected.get_or_create(&GatewayReason { instance, gateway: kind, reason }).inc();
        return Err(unauthenticated(webhook.method));
    }
    metrics.webhooks_rejected.get_or_create(&GatewayReason { instance, gateway: kind, reason: why.0 }).inc();
    let failed = ByReason { instance, reason: Reason::WebhookUnauthenticated.as_str() };
    metrics.attempts_failed.get_or_create(&failed).inc();
    if let Some(count) = state.services.env.health.record_failure(id, "webhook", why.0, state.services.env.clock.wall())
    {
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
        .services
        .env
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
    let outcome: Outcome = state.services.inbound.receive(cx, instance, event).await?;
    let gateway = instance.gateway.kind();
    let result = outcome.as_str();
    count_event(state, cx, instance, result);
    tracing::debug!(gateway, instance = %instance.config.id, result, "event");
    Ok(())
}

fn count_event(state: &PublicState, cx: &RequestContext, instance: &Instance, result: &'static str) {
    let metrics = &state.services.env.metrics;
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
