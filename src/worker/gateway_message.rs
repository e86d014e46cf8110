//! Sends one message to a gateway, and records the outcome in the metrics and in the health of the lane.

use std::time::{Duration, Instant};

use http::Request;

use super::Worker;
use crate::{
    domain::{InstanceId, KeyRing},
    egress::EgressError,
    gateway::{Refusal, SendResult},
    jobs::{health::AttemptOutcome, permits::Permit, retry::retry_after},
    metrics::label::{ByInstance, InstanceLabel},
    service::Instance,
    store::{JobId, LeasedJob},
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
    let services = &worker.services;
    let id = number.config.id;
    if let Some(traceparent) = trace_context::current().and_then(TraceContext::traceparent)
        && let Ok(value) = traceparent.parse()
    {
        request.headers_mut().insert("traceparent", value);
    }
    let is_deduplicated = number.gateway.set_message_id(&mut request, &message_id(&services.env.keys, id, &leased.id));
    permit.mark_sending();
    let start = Instant::now();
    let (result, retry_after) = match number.gateway_egress.send(request).await {
        Ok(response) => {
            (number.gateway.parse_send_response(&response), retry_after(response.headers(), services.env.store.now()))
        }
        Err(EgressError { cause, may_have_arrived: false }) => (SendResult::Retryable { reason: cause.into() }, None),
        Err(EgressError { cause, may_have_arrived: true }) => (SendResult::Unknown { reason: cause.into() }, None),
    };
    services.env.metrics.reply_seconds.observe(start.elapsed().as_secs_f64());
    let outcome = match &result {
        SendResult::Refused(Refusal::Unauthorized) => AttemptOutcome::Refused,
        SendResult::Retryable { .. } | SendResult::Unknown { .. } => AttemptOutcome::Failed,
        SendResult::Accepted { .. } | SendResult::Refused(_) => AttemptOutcome::Answered(permit.attempt_age()),
    };
    if outcome != AttemptOutcome::Failed {
        let open = ByInstance { instance: InstanceLabel(id) };
        services.env.metrics.numbers_refused.get_or_create(&open).set(i64::from(outcome == AttemptOutcome::Refused));
    }
    if outcome == AttemptOutcome::Refused {
        tracing::error!(instance = %id, "the gateway refuses our credentials; check whether the number is logged out or banned, and the token");
    }
    worker.record_outcome(&leased.lane, outcome).await;
    GatewayResponse { result, retry_after, is_deduplicated }
}

/// The id of the message that a job sends: the same in every attempt, in the format of WhatsApp's own clients.
fn message_id(keys: &KeyRing, number: InstanceId, job: &JobId) -> String {
    let digest = keys.permanent_digest("message id", number, job.0.as_bytes()).hex();
    format!("3EB0{}", digest[..18].to_ascii_uppercase())
}
