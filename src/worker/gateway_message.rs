//! Sends one message to a gateway, and records the outcome in the metrics and in the health of the lane.

use std::time::{Duration, Instant};

use http::Request;

use super::Worker;
use crate::{
    egress::EgressError,
    gateway::{Refusal, SendResult},
    jobs::{health::AttemptOutcome, permits::Permit, retry::retry_after},
    metrics::label::{ByInstance, InstanceLabel},
    service::Instance,
    store::LeasedJob,
    trace_context::{self, TraceContext},
};

/// Result of sending one message.
pub(super) struct GatewayResponse {
    pub(super) result: SendResult,
    /// Delay requested with `Retry-After`.
    pub(super) retry_after: Option<Duration>,
    /// The message carries an id by which the gateway deduplicates, so it can safely be sent again.
    pub(super) is_deduplicated: bool,
}

/// Sends `request` over the gateway of `number`, the instance that carries the message of this job.
pub(super) async fn send_message(
    worker: &Worker,
    number: &Instance,
    leased: &LeasedJob,
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
    let is_deduplicated = number.gateway.set_message_id(&mut request, &service.message_id(id, &leased.id));
    permit.mark_sending();
    let start = Instant::now();
    let (result, retry_after) = match number.gateway_egress.send(request).await {
        Ok(response) => (number.gateway.parse_send_response(&response), retry_after(response.headers(), service.now())),
        Err(EgressError { cause, may_have_arrived: false }) => (SendResult::Retryable { reason: cause.into() }, None),
        Err(EgressError { cause, may_have_arrived: true }) => (SendResult::Unknown { reason: cause.into() }, None),
    };
    service.metrics.reply_seconds.observe(start.elapsed().as_secs_f64());
    let outcome = match &result {
        SendResult::Refused(Refusal::Unauthorized) => AttemptOutcome::Refused,
        SendResult::Retryable { .. } | SendResult::Unknown { .. } => AttemptOutcome::Failed,
        SendResult::Accepted { .. } | SendResult::Refused(_) => AttemptOutcome::Answered(permit.attempt_age()),
    };
    if outcome != AttemptOutcome::Failed {
        let open = ByInstance { instance: InstanceLabel(id) };
        service.metrics.numbers_refused.get_or_create(&open).set(i64::from(outcome == AttemptOutcome::Refused));
    }
    if outcome == AttemptOutcome::Refused {
        tracing::error!(instance = %id, "the gateway refuses our credentials; check whether the number is logged out or banned, and the token");
    }
    worker.record_outcome(&leased.lane, outcome).await;
    GatewayResponse { result, retry_after, is_deduplicated }
}
