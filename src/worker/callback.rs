//! One attempt to deliver a callback.

use std::time::{Duration, Instant};

use http::{Request, Response};
use jiff::Timestamp;
use url::Url;

use super::Worker;
use crate::{
    domain::standard_webhooks,
    egress::{Cause, EgressError},
    jobs::{
        health::AttemptOutcome,
        payload::{self, CallbackJob},
        permits::Permit,
        retry::{Schedule, retry_after},
    },
    metrics::label::{ByResult, InstanceLabel},
    random,
    service::{Instance, Services},
    store::{DeadReason, LeasedJob, Settlement},
    trace_context::{self, TraceContext},
};

/// Maximum length of a failure note in bytes: host names of receivers and of redirects can be long.
const MAX_NOTE_LEN: usize = 400;

/// A failed delivery attempt.
struct FailedDelivery {
    /// Label for metrics.
    result: &'static str,
    /// Class and cause. Contains nothing that the receiver wrote except the origin of a redirect.
    text: String,
    /// Set if no later attempt can succeed.
    dead_reason: Option<DeadReason>,
    retry_after: Option<Duration>,
    response: Option<Box<Response<Vec<u8>>>>,
}

impl From<EgressError> for FailedDelivery {
    fn from(error: EgressError) -> Self {
        let dead_reason = (error.cause == Cause::Forbidden).then_some(DeadReason::ForbiddenTarget);
        Self { result: error.cause.as_str(), text: error.to_string(), dead_reason, retry_after: None, response: None }
    }
}

pub(super) async fn deliver(
    worker: &Worker,
    instance: &Instance,
    leased: &LeasedJob,
    permit: &Permit,
    job: CallbackJob,
) -> Settlement {
    let services = &worker.services;
    let start = Instant::now();
    let host = host(&job.url);
    let outcome = attempt(services, instance, job).await;
    let now = services.env.store.now();
    let result = outcome.as_ref().map_or_else(|failure| failure.result, |()| "delivered");
    let metrics = &services.env.metrics;
    metrics.callback_attempts.get_or_create(&ByResult { instance: InstanceLabel(instance.config.id), result }).inc();
    metrics.callback_attempt_seconds.observe(start.elapsed().as_secs_f64());
    if outcome.is_ok() {
        let took = Duration::try_from(now.duration_since(leased.since)).unwrap_or_default();
        metrics.callback_delivery_seconds.observe(took.as_secs_f64());
    }
    let test = payload::is_test(&leased.id);
    // Test callbacks do not affect the health of the receiver, and a receiver that answers 410 is healthy.
    let gone = outcome.as_ref().is_err_and(|failure| failure.dead_reason == Some(DeadReason::Gone));
    let success = outcome.is_ok() || gone;
    if !test {
        let answered = AttemptOutcome::Answered(permit.attempt_age());
        worker.record_outcome(&leased.lane, if success { answered } else { AttemptOutcome::Failed }).await;
    }
    let Err(failure) = outcome else { return Settlement::Delivered };
    let (lane, response) = (&leased.lane, failure.response.as_deref());
    if let Err(error) = services.shared.responses.keep(&worker.cx, lane, &leased.id, &failure.text, response).await {
        tracing::debug!(%error, "a failed attempt to deliver a callback could not be recorded");
    }
    let mut note = format!("{host}: {}", failure.text);
    note.truncate(note.floor_char_boundary(MAX_NOTE_LEN));
    services.env.health.record_failure(instance.config.id, "callback", &note, services.env.clock.wall());
    if let Some(reason) = if test { Some(DeadReason::Test) } else { failure.dead_reason } {
        return Settlement::Dead { reason, note };
    }
    match Schedule::CALLBACK.next_delay(leased.attempts + 1, random::fraction(), failure.retry_after) {
        Some(delay) => Settlement::Retry { at: now + delay, note },
        None => Settlement::Dead { reason: DeadReason::GivenUp, note },
    }
}

/// Host and port: the part of a URL that may be shown.
fn host(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or("no host");
    match url.as_ref().and_then(Url::port) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

async fn attempt(services: &Services, instance: &Instance, job: CallbackJob) -> Result<(), FailedDelivery> {
    let CallbackJob { webhook_id, url, body, .. } = job;
    let forbidden = || EgressError::from(Cause::Forbidden);
    let url = Url::parse(&url).map_err(|_| forbidden())?;
    // Signed with the store's time, so that receivers accept the signature even if this replica's clock is off.
    let timestamp = services.env.store.now().as_second().to_string();
    let secrets = &instance.config.callback_secrets;
    let signature = standard_webhooks::sign(secrets, &webhook_id, &timestamp, body.as_bytes());
    let mut request = Request::post(url.as_str());
    for (name, value) in &instance.config.callback_headers {
        request = request.header(name, value);
    }
    let request = request
        .header("content-type", "application/json")
        .header("webhook-id", webhook_id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature);
    let request = match trace_context::current().and_then(TraceContext::traceparent) {
        Some(traceparent) => request.header("traceparent", traceparent),
        None => request,
    };
    let request = request.body(body.into_bytes()).map_err(|_| forbidden())?;
    let response = instance.callback_egress.send(request).await?;
    if response.status().is_success() {
        return Ok(());
    }
    let failure = classify_response(&url, &response, services.env.store.now());
    Err(FailedDelivery { response: Some(Box::new(response)), ..failure })
}

/// Classifies a response that is not a success.
fn classify_response(url: &Url, response: &Response<Vec<u8>>, now: Timestamp) -> FailedDelivery {
    let status = response.status().as_u16();
    let asked = if matches!(status, 429 | 503) { retry_after(response.headers(), now) } else { None };
    let failure = |result, text| FailedDelivery { result, text, dead_reason: None, retry_after: asked, response: None };
    match status {
        410 => {
            let gone = DeadReason::Gone;
            FailedDelivery { dead_reason: Some(gone), ..failure(gone.as_str(), format!("{gone}: status 410")) }
        }
        300..=399 => {
            let target = response.headers().get("location").and_then(|value| value.to_str().ok());
            let target = target.and_then(|target| url.join(target).ok());
            let target = target.map(|target| format!(", a redirect to {}", target.origin().ascii_serialization()));
            failure("status_3xx", format!("status {status}{}", target.unwrap_or_default()))
        }
        400..=499 => failure("status_4xx", format!("status {status}")),
        _ => failure("status_5xx", format!("status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_for_good_ends_a_callback() {
        let url = Url::parse("https://app.example.org/in").unwrap();
        let end = |status: u16| {
            let response = Response::builder().status(status).body(Vec::new()).unwrap();
            classify_response(&url, &response, Timestamp::UNIX_EPOCH).dead_reason
        };
        assert_eq!(end(410), Some(DeadReason::Gone));
        for status in [302, 400, 404, 429, 500, 503] {
            assert_eq!(end(status), None, "{status}");
        }
        let unsent = |cause| FailedDelivery::from(EgressError::from(cause)).dead_reason;
        assert_eq!(unsent(Cause::Forbidden), Some(DeadReason::ForbiddenTarget));
        assert_eq!(unsent(Cause::Dns), None);
    }
}
