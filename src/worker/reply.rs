//! One attempt to send a chat reply. The text is rendered here, from the record and the current configuration.

use jiff::SignedDuration;

use super::{
    Worker,
    gateway_message::{GatewayResponse, send_message},
    resend::{self, FailedAttempt, NextAttempt},
};
use crate::{
    domain::{
        Reason, TypedVerification, Verification,
        decision::Reply,
        link::Link,
        template::{self, Values},
        token::TokenKind,
    },
    gateway::SendResult,
    jobs::{payload::ReplyJob, permits::Permit},
    metrics::label::{GatewayResult, InstanceLabel},
    service::{Instance, Service, ServiceError},
    store::{DeadReason, Leased, Settlement},
};

/// Maximum age of a reply: a later one confuses more than it helps.
const LATEST: SignedDuration = SignedDuration::from_secs(120);

pub(super) async fn send(
    worker: &Worker,
    instance: &Instance,
    leased: &Leased,
    permit: &Permit,
    job: &ReplyJob,
    known: Option<&Verification>,
) -> Result<Settlement, ServiceError> {
    let service = &worker.service;
    let count = |result| {
        let gateway = instance.gateway.kind();
        let instance = InstanceLabel(instance.config.id);
        service.metrics.replies.get_or_create(&GatewayResult { instance, gateway, result }).inc();
    };
    if service.now().duration_since(leased.since) > LATEST {
        count("too_late");
        return Ok(given_up("too late"));
    }
    let record = match job.verification {
        None => None,
        Some(about) => match service.record(&worker.cx, about, known).await.map(Verification::into_typed) {
            Ok(TypedVerification::Link(record)) => Some(record),
            // The record was erased meanwhile, so there is nothing left to say. Codes have no replies.
            Ok(TypedVerification::Code(_)) | Err(ServiceError::NotFound) => return Ok(Settlement::Done),
            Err(error) => return Err(error),
        },
    };
    let text = render(service, instance, job.reply, record.as_ref());
    let request = instance.gateway.text_message(&job.chat_id, job.subject.as_ref(), &text);
    let GatewayResponse { sent, after, repeatable } = send_message(worker, instance, leased, permit, request).await;
    let (why, unknown) = match sent {
        SendResult::Accepted { .. } => {
            count("sent");
            return Ok(Settlement::Done);
        }
        SendResult::Refused(refusal) => {
            service.health.record_failure(instance.config.id, "reply", refusal.as_str(), service.clock.wall());
            count(refusal.as_str());
            return Ok(given_up(refusal.as_str()));
        }
        SendResult::Retryable { reason: why } => (why, false),
        SendResult::Unknown { reason: why } => (why, true),
    };
    service.health.record_failure(instance.config.id, "reply", why.as_str(), service.clock.wall());
    let failed = FailedAttempt { why, after, unknown, repeatable };
    let next = resend::next_attempt(worker, leased, failed, leased.since + LATEST).await?;
    count(match next {
        _ if unknown => "unknown",
        NextAttempt::TooLate { .. } => "too_late",
        NextAttempt::Again(_) | NextAttempt::Spent { .. } => "retried",
    });
    let why = if unknown { format!("perhaps sent, {why}") } else { why.to_string() };
    Ok(match next {
        NextAttempt::Again(settlement) => settlement,
        NextAttempt::TooLate { .. } => given_up(&format!("too late, {why}")),
        NextAttempt::Spent { .. } => given_up(&why),
    })
}

fn given_up(why: &str) -> Settlement {
    let note = format!("{}: {why}", Reason::ReplyUndeliverable);
    Settlement::Dead { reason: DeadReason::GivenUp, note }
}

fn render(service: &Service, instance: &Instance, reply: Reply, record: Option<&Verification<Link>>) -> String {
    let name = record.map_or(instance.config.name.as_str(), |record| record.request.name.as_str());
    let Some(record) = record else {
        return template::render(instance.reply_text(reply, None), Values { name, ..Values::default() });
    };
    let link_code = service.link_code(record);
    let code = match reply {
        Reply::WithCode => service.reply_code(record).map(|code| code.as_str().to_owned()),
        _ => link_code.as_ref().map(|code| code.as_str().to_owned()),
    };
    let link = match (reply, &record.request.link) {
        (Reply::TextChanged, _) => {
            link_code.map(|code| instance.page_message_url(&service.prefilled(instance, record, &code)))
        }
        (_, Some(own)) => Some(own.clone()),
        (_, None) => service.token(record, TokenKind::Link).map(|token| service.public_url(&format!("/o/{token}"))),
    };
    let values = Values {
        link: &link.unwrap_or_default(),
        name,
        code: &code.unwrap_or_default(),
        purpose: record.request.purpose.as_deref().unwrap_or_default(),
    };
    let mut text = template::render(instance.reply_text(reply, Some(&record.request)), values);
    if reply.is_expected() {
        let mut facts = service.login_details(instance, record);
        if reply == Reply::TextChanged {
            // Nothing has been proved yet, so there is nothing to dispute.
            facts.dispute.clear();
        }
        facts.append_to(&mut text, instance.language(Some(&record.request)).login_details());
    }
    text
}
