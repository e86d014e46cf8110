//! One attempt to send a code; the next channel when this one can never carry it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    Worker,
    gateway_message::{GatewayResponse, send_message},
    resend::{self, FailedAttempt, NextAttempt},
};
use crate::{
    domain::{Subject, Verification, VerificationId, decide_code::CodeCommand},
    gateway::{CodeMessage, Refusal, SendResult},
    jobs::permits::Permit,
    metrics::label::{GatewayResult, InstanceLabel},
    service::{Instance, ServiceError},
    store::{Leased, Settlement},
};

/// A message that is sent must not be sent again only because the store hesitates.
const PATIENCE: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(1), Duration::from_secs(2)];

/// Which code, and which of its messages.
pub(super) struct CodeJob<'a> {
    pub(super) about: VerificationId,
    /// The code's record, where that is known.
    pub(super) record: Option<&'a Verification>,
    pub(super) leg: usize,
}

pub(super) async fn send(
    worker: &Worker,
    instance: &Arc<Instance>,
    leased: &Leased,
    permit: &Permit,
    CodeJob { about, record, leg }: CodeJob<'_>,
) -> Result<Settlement, ServiceError> {
    let service = &worker.service;
    let Some(outgoing) = service.outgoing(instance, about, record, leg).await? else { return Ok(Settlement::Done) };
    let channel = outgoing.leg.channel;
    let undelivered = async |why: &'static str| {
        tracing::info!(instance = %instance.config.id, channel = channel.as_str(), why, "a code was not delivered");
        note(worker, instance, about, CodeCommand::Undelivered { leg, why }).await?;
        Ok(Settlement::Done)
    };
    let subject = outgoing.record.request.chat.as_ref().map(|chat| chat.subject().clone());
    let Some(subject) = subject.filter(|subject| channel_reaches(channel, subject)) else {
        return undelivered("no_address").await;
    };
    let Some(carrier) = service.instances.carrier(instance, channel) else { return undelivered("no_carrier").await };
    let message = CodeMessage {
        subject: &subject,
        code: &outgoing.code,
        text: &outgoing.text,
        language: instance.language(Some(&outgoing.record)),
    };
    let Some(request) = carrier.gateway.code_message(&message) else { return undelivered("cannot_write_first").await };
    let count = |result| {
        let (gateway, instance) = (carrier.gateway.kind(), InstanceLabel(carrier.config.id));
        service.metrics.codes_sent.get_or_create(&GatewayResult { instance, gateway, result }).inc();
    };
    let _sending = Sending::begin(&service.sending);
    let refused = worker.permits.refused_until(&leased.lane).is_some_and(|until| service.now() < until);
    let GatewayResponse { sent, after, repeatable } = if refused {
        // Somebody waits; another channel may still be in time.
        GatewayResponse { sent: SendResult::Refused(Refusal::Unauthorized), after: None, repeatable: false }
    } else {
        send_message(worker, &carrier, leased, permit, request).await
    };
    let (why, unknown) = match sent {
        SendResult::Accepted { id } => {
            count("sent");
            if let Some(id) = id.filter(|id| !id.is_empty()) {
                let (owner, expires_at) = (instance.config.id, outgoing.record.expires_at);
                let noted = service.remember_message(&carrier, &id, owner, about, leg, expires_at).await;
                if let Err(error) = noted {
                    tracing::warn!(%error, "reports about a message will not be understood");
                }
            }
            note(worker, instance, about, CodeCommand::Accepted { leg }).await?;
            return Ok(Settlement::Done);
        }
        SendResult::Refused(refusal) => {
            count(refusal.as_str());
            return undelivered(refusal.as_str()).await;
        }
        SendResult::Retryable { reason: why } => (why, false),
        SendResult::Unknown { reason: why } => (why, true),
    };
    count(if unknown { "unknown" } else { "retried" });
    let perhaps = async || {
        let name = channel.as_str();
        tracing::info!(instance = %instance.config.id, channel = name, why, "a code was perhaps not delivered");
        note(worker, instance, about, CodeCommand::Unknown { leg, why }).await?;
        Ok(Settlement::Done)
    };
    // The next channel cannot send a second message over this one.
    let next_channel = outgoing.record.otp.as_ref().and_then(|otp| otp.next_channel(channel));
    if unknown && next_channel.is_some() {
        return perhaps().await;
    }
    let failed = FailedAttempt { why, after, unknown, repeatable };
    match resend::next_attempt(worker, leased, failed, outgoing.record.expires_at).await? {
        NextAttempt::Again(settlement) => Ok(settlement),
        NextAttempt::TooLate { unknown: true } | NextAttempt::Spent { unknown: true } => perhaps().await,
        NextAttempt::TooLate { .. } | NextAttempt::Spent { .. } => undelivered(why).await,
    }
}

/// Counts one for as long as it lives.
struct Sending<'a>(&'a AtomicUsize);

impl<'a> Sending<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn channel_reaches(channel: crate::domain::sending::Channel, subject: &Subject) -> bool {
    channel != crate::domain::sending::Channel::Sms || matches!(subject, Subject::Phone(_))
}

async fn note(
    worker: &Worker,
    instance: &Instance,
    about: VerificationId,
    command: CodeCommand,
) -> Result<(), ServiceError> {
    for pause in PATIENCE {
        match worker.service.fared(instance, about, command.clone()).await {
            Err(ServiceError::Store(_)) => tokio::time::sleep(pause).await,
            outcome => return outcome,
        }
    }
    worker.service.fared(instance, about, command).await
}
