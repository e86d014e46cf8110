//! One message to a gateway.

use std::time::Instant;

use http::Request;

use super::Worker;
use crate::{
    gateway::{Refusal, Sent},
    jobs::{health::Outcome, permits::Permit},
    metrics::label::{ByInstance, Of},
    service::Instance,
    store::Lane,
    trace::{self, Context},
};

/// `number` is the instance whose gateway carries the message.
pub(super) async fn speak(
    worker: &Worker,
    number: &Instance,
    lane: &Lane,
    permit: &Permit,
    mut request: Request<Vec<u8>>,
) -> Sent {
    let service = &worker.service;
    let id = number.config.id;
    if let Some(traceparent) = trace::current().and_then(Context::header)
        && let Ok(value) = traceparent.parse()
    {
        request.headers_mut().insert("traceparent", value);
    }
    permit.spend();
    let start = Instant::now();
    let sent = match number.sending.send(request).await {
        Ok(response) => number.gateway.sent(&response),
        Err(_) => Sent::Retry { after: None, why: "unreachable" },
    };
    service.metrics.reply_seconds.observe(start.elapsed().as_secs_f64());
    let outcome = match &sent {
        Sent::Refused(Refusal::Unauthorized) => Outcome::Refused,
        Sent::Retry { .. } => Outcome::Failed,
        Sent::Accepted { .. } | Sent::Refused(_) => Outcome::of(true, start.elapsed()),
    };
    if outcome != Outcome::Failed {
        let open = ByInstance { instance: Of(id) };
        service.metrics.numbers_refused.get_or_create(&open).set(i64::from(outcome == Outcome::Refused));
    }
    if outcome == Outcome::Refused {
        tracing::error!(instance = %id, "the gateway refuses our credentials: the number may be logged out or banned");
    }
    worker.note(lane, outcome).await;
    sent
}
