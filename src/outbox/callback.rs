//! One attempt to deliver a callback.

use http::Request;
use url::Url;

use super::{Outbox, signature};
use crate::{
    domain::retry::{Schedule, parse_retry_after},
    entropy,
    metrics::Word,
    service::Instance,
    store::{Leased, Settlement},
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
        note: String,
        retry_after: Option<std::time::Duration>,
    },
}

pub(super) async fn deliver(outbox: &Outbox, instance: &Instance, leased: &Leased, delivery: Delivery) -> Settlement {
    let service = &outbox.service;
    let answer = attempt(outbox, instance, delivery).await;
    let now = service.now();
    let (result, success) = match &answer {
        Answer::Delivered => ("delivered", true),
        Answer::Gone => ("gone", true),
        Answer::Failed { .. } => ("failed", false),
    };
    service.metrics.callback_attempts.get_or_create(&Word { result }).inc();
    if let Some(until) = outbox.breakers.note(&leased.destination, now, success)
        && let Err(error) = service.store.hold(&leased.destination, until).await
    {
        tracing::warn!(%error, "a failing destination could not be held");
    }
    match answer {
        Answer::Delivered => Settlement::Done,
        Answer::Gone => Settlement::Dead { note: "410 Gone".to_owned() },
        Answer::Failed { note, retry_after } => {
            let delay = Schedule::CALLBACK.next_delay(leased.attempts + 1, entropy::fraction(), retry_after);
            match delay {
                Some(delay) => Settlement::Retry { at: now + delay, note },
                None => Settlement::Dead { note },
            }
        }
    }
}

async fn attempt(outbox: &Outbox, instance: &Instance, delivery: Delivery) -> Answer {
    let failed = |note: String| Answer::Failed { note, retry_after: None };
    let Delivery { webhook_id, url, body } = delivery;
    let Ok(url) = Url::parse(&url) else { return failed("forbidden_target".to_owned()) };
    // The store's time, so that a replica whose clock is off still signs what receivers accept.
    let timestamp = outbox.service.now().as_second();
    let signature = signature::sign(&instance.config.callback_secrets, &webhook_id, timestamp, body.as_bytes());
    let request = Request::post(url.as_str())
        .header("content-type", "application/json")
        .header("webhook-id", webhook_id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature)
        .body(body.into_bytes());
    let Ok(request) = request else { return failed("forbidden_target".to_owned()) };
    match instance.callbacks.send(request).await {
        Ok(response) if response.status().is_success() => Answer::Delivered,
        Ok(response) if response.status().as_u16() == 410 => Answer::Gone,
        Ok(response) => {
            let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
            let asked = matches!(response.status().as_u16(), 429 | 503);
            let retry_after = header.filter(|_| asked).and_then(|value| parse_retry_after(value, outbox.service.now()));
            Answer::Failed { note: format!("status {}", response.status().as_u16()), retry_after }
        }
        Err(error) => failed(error.to_string()),
    }
}
