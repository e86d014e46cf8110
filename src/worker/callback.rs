//! One attempt to deliver a callback.

use std::time::{Duration, Instant};

use http::Request;
use url::{Position, Url};

use super::{Worker, signature};
use crate::{
    egress::EgressError,
    entropy,
    jobs::retry::{Schedule, parse_retry_after},
    metrics::label::{ByResult, Of},
    service::Instance,
    store::{Leased, Settlement},
    trace::{self, Context},
};

pub(super) struct Delivery {
    pub(super) webhook_id: String,
    pub(super) url: String,
    pub(super) body: String,
}

/// What an answer means for the job.
enum Answer {
    Delivered,
    /// 410: the receiver never wants this one.
    Gone,
    Failed {
        /// For metrics; the note tells more.
        result: &'static str,
        note: String,
        retry_after: Option<Duration>,
    },
}

pub(super) async fn deliver(worker: &Worker, instance: &Instance, leased: &Leased, delivery: Delivery) -> Settlement {
    let service = &worker.service;
    let start = Instant::now();
    let host = host(&delivery.url);
    let answer = attempt(worker, instance, delivery).await;
    let now = service.now();
    let (result, success) = match &answer {
        Answer::Delivered => ("delivered", true),
        Answer::Gone => ("gone", true),
        Answer::Failed { result, .. } => (*result, false),
    };
    let metrics = &service.metrics;
    metrics.callback_attempts.get_or_create(&ByResult { instance: Of(instance.config.id), result }).inc();
    metrics.callback_attempt_seconds.observe(start.elapsed().as_secs_f64());
    if matches!(answer, Answer::Delivered) {
        let took = Duration::try_from(now.duration_since(leased.since)).unwrap_or_default();
        metrics.callback_delivery_seconds.observe(took.as_secs_f64());
    }
    if let Answer::Failed { note, .. } = &answer {
        service.vitals.failed(instance.config.id, "callback", &format!("{host}: {note}"), service.clock.wall());
    }
    if let Some(until) = worker.breakers.note(&leased.destination, now, success)
        && let Err(error) = service.store.hold(&leased.destination, until).await
    {
        tracing::warn!(%error, "a failing destination could not be held");
    }
    match answer {
        Answer::Delivered => Settlement::Delivered,
        Answer::Gone => Settlement::Dead { note: "410 Gone".to_owned() },
        Answer::Failed { note, retry_after, .. } => {
            let delay = Schedule::CALLBACK.next_delay(leased.attempts + 1, entropy::fraction(), retry_after);
            match delay {
                Some(delay) => Settlement::Retry { at: now + delay, note },
                None => Settlement::Dead { note },
            }
        }
    }
}

/// Host and port: the rest of a URL may be a secret.
fn host(url: &str) -> String {
    Url::parse(url).map(|url| url[Position::BeforeHost..Position::AfterPort].to_owned()).unwrap_or_default()
}

async fn attempt(worker: &Worker, instance: &Instance, delivery: Delivery) -> Answer {
    let failed =
        |error: EgressError| Answer::Failed { result: error.word(), note: error.to_string(), retry_after: None };
    let Delivery { webhook_id, url, body } = delivery;
    let Ok(url) = Url::parse(&url) else { return failed(EgressError::Forbidden) };
    // The store's time, so that a replica whose clock is off still signs what receivers accept.
    let timestamp = worker.service.now().as_second();
    let signature = signature::sign(&instance.config.callback_secrets, &webhook_id, timestamp, body.as_bytes());
    let request = Request::post(url.as_str())
        .header("content-type", "application/json")
        .header("webhook-id", webhook_id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature);
    let request = match trace::current().and_then(Context::header) {
        Some(traceparent) => request.header("traceparent", traceparent),
        None => request,
    };
    let request = request.body(body.into_bytes());
    let Ok(request) = request else { return failed(EgressError::Forbidden) };
    match instance.callbacks.send(request).await {
        Ok(response) if response.status().is_success() => Answer::Delivered,
        Ok(response) if response.status().as_u16() == 410 => Answer::Gone,
        Ok(response) => {
            let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
            let asked = matches!(response.status().as_u16(), 429 | 503);
            let retry_after = header.filter(|_| asked).and_then(|value| parse_retry_after(value, worker.service.now()));
            let status = response.status().as_u16();
            let result = match status {
                300..=399 => "status_3xx",
                400..=499 => "status_4xx",
                _ => "status_5xx",
            };
            Answer::Failed { result, note: format!("status {status}"), retry_after }
        }
        Err(error) => failed(error),
    }
}
