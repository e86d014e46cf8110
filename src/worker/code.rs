//! One attempt to send a code. If this channel can never deliver it, the next channel takes over.

use std::{sync::Arc, time::Duration};

use super::{
    Worker,
    gateway_message::{GatewayResponse, send_message},
    message_retry::{self, FailedSend, NextAttempt},
};
use crate::{
    domain::{Channel, DeliveryFailure, Subject, Verification, VerificationId, sent_code::DeliveryReport},
    gateway::{CodeMessage, Refusal, SendResult},
    jobs::{payload::CodeJob, permits::Permit},
    metrics::label::{GatewayResult, InstanceLabel},
    service::{Instance, SentMessage, ServiceError},
    store::{LeasedJob, Settlement},
};

/// Delays between attempts to record a result: a short outage of the store must not cause a message to be sent again.
const RECORD_RETRY_DELAYS: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(1), Duration::from_secs(2)];

pub(super) async fn send(
    worker: &Worker,
    instance: &Arc<Instance>,
    leased: &LeasedJob,
    permit: &Permit,
    CodeJob { verification: about, message }: CodeJob,
    known: Option<&Verification>,
) -> Result<Settlement, ServiceError> {
    let services = &worker.services;
    let Some(outgoing) = services.codes.outgoing(&worker.cx, instance, about, known, message).await? else {
        return Ok(Settlement::Done);
    };
    let channel = outgoing.message.channel;
    let undelivered = async |failure: DeliveryFailure| {
        tracing::info!(instance = %instance.config.id, channel = channel.as_str(), why = failure.as_str(), "a code was not delivered");
        record_report(worker, instance, about, message, DeliveryReport::Undelivered(failure)).await?;
        Ok(Settlement::Done)
    };
    let subject = outgoing.record.request.chat.as_ref().map(|chat| chat.subject().clone());
    let Some(subject) = subject.filter(|subject| channel_reaches(channel, subject)) else {
        return undelivered(DeliveryFailure::NoAddress).await;
    };
    let Some(carrier) = services.env.instances.carrier(instance, channel) else {
        return undelivered(DeliveryFailure::NoCarrier).await;
    };
    let content = CodeMessage {
        subject: &subject,
        code: &outgoing.code,
        text: &outgoing.text,
        language: instance.language(Some(&outgoing.record.request)),
    };
    let Some(request) = carrier.gateway.code_message(&content) else {
        return undelivered(DeliveryFailure::CannotWriteFirst).await;
    };
    let count = |result| {
        let (gateway, instance) = (carrier.gateway.kind(), InstanceLabel(carrier.config.id));
        services.env.metrics.codes_sent.get_or_create(&GatewayResult { instance, gateway, result }).inc();
    };
    let _in_flight = services.shared.deliveries.begin();
    let refused = worker.permits.refused_until(&leased.lane).is_some_and(|until| services.env.store.now() < until);
    let GatewayResponse { result, retry_after, is_deduplicated } = if refused {
        // Fail at once instead of waiting for the hold to end: another channel may still be in time.
        GatewayResponse {
            result: SendResult::Refused(Refusal::Unauthorized),
            retry_after: None,
            is_deduplicated: false,
        }
    } else if let Some(result) = queued(&carrier).await {
        GatewayResponse { result, retry_after: None, is_deduplicated: false }
    } else {
        send_message(worker, &carrier, leased, permit, request).await
    };
    let (failure, possibly_sent) = match result {
        SendResult::Accepted { id } => {
            count("sent");
            if let Some(id) = id.filter(|id| !id.is_empty()) {
                let sent = SentMessage { instance: instance.config.id, verification: about, message };
                let expires_at = outgoing.record.expires_at;
                let noted =
                    services.shared.deliveries.store_sent_message(&worker.cx, &carrier, &id, &sent, expires_at).await;
                if let Err(error) = noted {
                    tracing::warn!(%error, "the id of a sent code could not be stored; delivery receipts for it are ignored");
                }
            }
            record_report(worker, instance, about, message, DeliveryReport::Accepted).await?;
            return Ok(Settlement::Done);
        }
        SendResult::Refused(refusal) => {
            count(refusal.as_str());
            return undelivered(refusal.into()).await;
        }
        SendResult::Retryable { reason: failure } => (failure, false),
        SendResult::Unknown { reason: failure } => (failure, true),
    };
    count(if possibly_sent { "unknown" } else { "retried" });
    let possibly_delivered = async || {
        let name = channel.as_str();
        tracing::info!(instance = %instance.config.id, channel = name, why = failure.as_str(), "a code may not have been delivered");
        record_report(worker, instance, about, message, DeliveryReport::Unknown(failure)).await?;
        Ok(Settlement::Done)
    };
    // If there is another channel, use it instead of sending a second message over this one.
    let next_channel = outgoing.record.details.delivery.next_channel(channel);
    if possibly_sent && next_channel.is_some() {
        return possibly_delivered().await;
    }
    let failed = FailedSend { failure, retry_after, possibly_sent, is_deduplicated };
    match message_retry::next_attempt(worker, leased, failed, outgoing.record.expires_at).await? {
        NextAttempt::Retry(settlement) => Ok(settlement),
        NextAttempt::TooLate { possibly_sent: true } | NextAttempt::Exhausted { possibly_sent: true } => {
            possibly_delivered().await
        }
        NextAttempt::TooLate { .. } | NextAttempt::Exhausted { .. } => undelivered(failure).await,
    }
}

/// The result of sending, if the gateway would only queue the message. A gateway that does not tell is tried.
async fn queued(carrier: &Instance) -> Option<SendResult> {
    let response = carrier.gateway_egress.send(carrier.gateway.queue_check()?).await.ok()?;
    carrier.gateway.parse_queue_check(&response)
}

/// Counts one message as being sent, until it is dropped.
fn channel_reaches(channel: Channel, subject: &Subject) -> bool {
    channel != Channel::Sms || matches!(subject, Subject::Phone(_))
}

async fn record_report(
    worker: &Worker,
    instance: &Arc<Instance>,
    about: VerificationId,
    message: usize,
    report: DeliveryReport,
) -> Result<(), ServiceError> {
    for pause in RECORD_RETRY_DELAYS {
        match worker.services.shared.deliveries.record_report(&worker.cx, instance, about, message, report).await {
            Err(ServiceError::Store(_)) => tokio::time::sleep(pause).await,
            outcome => return outcome,
        }
    }
    worker.services.shared.deliveries.record_report(&worker.cx, instance, about, message, report).await
}
