//! One message to a gateway.

use std::time::{Duration, Instant};

use http::Request;

use super::Worker;
use crate::{
    egress::EgressError,
    gateway::{Refusal, Sent},
    jobs::{health::AttemptOutcome, permits::Permit, retry::retry_after},
    metrics::label::{ByInstance, InstanceLabel},
    service::Instance,
    store::Leased,
    trace_context::{self, TraceContext},
};

/// What the gateway said.
pub(super) struct GatewayResponse {
    pub(super) sent: Sent,
    /// Its `Retry-After`.
    pub(super) after: Option<Duration>,
    /// The message has an id under which the gateway sends it once.
    pub(super) repeatable: bool,
}

/// `number` is the instance whose gateway carries the message of this job.
pub(super) async fn send_message(
    worker: &Worker,
    number: &Instance,
    leased: &Leased,
    permit: &Permit,
    mut request: Request<Vec<u8>>,
) -> GatewayResponse {
    let service = &worker.service;
    let id = number.config.id;
    if let Some(traceparent) = trace_context::current().and_then(TraceContext::traceparent)
        && let Ok(value) = traceparent.parse()
    {
        request.headers_mut().insert("traceparent", value);
    }
    let repeatable = number.gateway.identify(&mut request, &service.message_id(id, &leased.id));
    permit.spend();
    let start = Instant::now();
    let (sent, after) = match number.sending.send(request).await {
        Ok(response) => (number.gateway.sent(&response), retry_after(response.headers(), service.now())),
        Err(EgressError { cause, may_have_arrived: false }) => (Sent::NotSent { why: cause.as_str() }, None),
        Err(EgressError { cause, may_have_arrived: true }) => (Sent::Unknown { why: cause.as_str() }, None),
    };
    service.metrics.reply_seconds.observe(start.elapsed().as_secs_f64());
    let outcome = match &sent {
        Sent::Refused(Refusal::Unauthorized) => AttemptOutcome::Refused,
        Sent::NotSent { .. } | Sent::Unknown { .. } => AttemptOutcome::Failed,
        Sent::Accepted { .. } | Sent::Refused(_) => AttemptOutcome::Answered(permit.age()),
    };
    if outcome != AttemptOutcome::Failed {
        let open = ByInstance { instance: InstanceLabel(id) };
        service.metrics.numbers_refused.get_or_create(&open).set(i64::from(outcome == AttemptOutcome::Refused));
    }
    if outcome == AttemptOutcome::Refused {
        tracing::error!(instance = %id, "the gateway refuses our credentials: the number may be logged out or banned");
    }
    worker.record_outcome(&leased.lane, outcome).await;
    GatewayResponse { sent, after, repeatable }
}
