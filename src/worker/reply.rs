//! One attempt to answer in the chat. The text is rendered here, from the record and today's settings.

use jiff::SignedDuration;

use super::{
    Worker,
    gateway_message::{GatewayResponse, send_message},
    resend::{self, FailedAttempt, NextAttempt},
};
use crate::{
    domain::{
        Subject, Verification, VerificationId,
        decide::Reply,
        template::{self, Values},
        token::Kind,
        whatsapp,
    },
    gateway::SendResult,
    jobs::permits::Permit,
    metrics::label::{GatewayResult, InstanceLabel},
    service::{Instance, Service, ServiceError},
    store::{Leased, Settlement},
};

/// A reply that comes later than this confuses more than it helps.
const LATEST: SignedDuration = SignedDuration::from_secs(120);

pub(super) struct ReplyJob<'a> {
    pub(super) about: Option<VerificationId>,
    /// What it is about, where that is known.
    pub(super) record: Option<&'a Verification>,
    pub(super) reply: Reply,
    pub(super) chat_id: String,
    pub(super) subject: Option<Subject>,
}

pub(super) async fn send(
    worker: &Worker,
    instance: &Instance,
    leased: &Leased,
    permit: &Permit,
    outgoing: ReplyJob<'_>,
) -> Result<Settlement, ServiceError> {
    let service = &worker.service;
    let count = |result| {
        let gateway = instance.gateway.kind();
        let instance = InstanceLabel(instance.config.id);
        service.metrics.replies.get_or_create(&GatewayResult { instance, gateway, result }).inc();
    };
    if service.now().duration_since(leased.since) > LATEST {
        count("too_late");
        return Ok(Settlement::Dead { note: "reply_undeliverable: too late".to_owned() });
    }
    let record = match outgoing.about {
        None => None,
        Some(about) => match service.record(about, outgoing.record).await {
            Ok(record) => Some(record),
            // Erased meanwhile: there is nothing left to say.
            Err(ServiceError::NotFound) => return Ok(Settlement::Done),
            Err(error) => return Err(error),
        },
    };
    let text = render(service, instance, outgoing.reply, record.as_ref());
    let request = instance.gateway.text_message(&outgoing.chat_id, outgoing.subject.as_ref(), &text);
    let GatewayResponse { sent, after, repeatable } = send_message(worker, instance, leased, permit, request).await;
    let (why, unknown) = match sent {
        SendResult::Accepted { .. } => {
            count("sent");
            return Ok(Settlement::Done);
        }
        SendResult::Refused(refusal) => {
            service.vitals.failed(instance.config.id, "reply", refusal.as_str(), service.clock.wall());
            count(refusal.as_str());
            return Ok(Settlement::Dead { note: format!("reply_undeliverable: {}", refusal.as_str()) });
        }
        SendResult::Retryable { reason: why } => (why, false),
        SendResult::Unknown { reason: why } => (why, true),
    };
    service.vitals.failed(instance.config.id, "reply", why, service.clock.wall());
    let failed = FailedAttempt { why, after, unknown, repeatable };
    let next = resend::next_attempt(worker, leased, failed, leased.since + LATEST).await?;
    count(match next {
        _ if unknown => "unknown",
        NextAttempt::TooLate { .. } => "too_late",
        NextAttempt::Again(_) | NextAttempt::Spent { .. } => "retried",
    });
    let why = if unknown { format!("perhaps sent, {why}") } else { why.to_owned() };
    Ok(match next {
        NextAttempt::Again(settlement) => settlement,
        NextAttempt::TooLate { .. } => Settlement::Dead { note: format!("reply_undeliverable: too late, {why}") },
        NextAttempt::Spent { .. } => Settlement::Dead { note: format!("reply_undeliverable: {why}") },
    })
}

fn render(service: &Service, instance: &Instance, reply: Reply, record: Option<&Verification>) -> String {
    let name = record.map_or(instance.config.name.as_str(), |record| record.request.name.as_str());
    let Some(record) = record else {
        return template::render(instance.reply_text(reply, None), Values { name, ..Values::default() });
    };
    let link_code = service.code(record);
    let code = match reply {
        Reply::OtherDevice => service.reply_code(record).map(|code| code.as_str().to_owned()),
        _ => link_code.as_ref().map(|code| code.as_str().to_owned()),
    };
    let link = match (reply, &record.request.link) {
        (Reply::TextChanged, _) => {
            link_code.map(|code| whatsapp::wa_me(&instance.config.number, &service.prefilled(instance, record, &code)))
        }
        (_, Some(own)) => Some(own.clone()),
        (_, None) => service.token(record, Kind::Link).map(|token| service.public(&format!("/o/{token}"))),
    };
    let values = Values {
        link: &link.unwrap_or_default(),
        name,
        code: &code.unwrap_or_default(),
        purpose: record.request.purpose.as_deref().unwrap_or_default(),
    };
    let mut text = template::render(instance.reply_text(reply, Some(record)), values);
    if reply.is_expected() {
        let mut facts = service.facts(instance, record);
        if reply == Reply::TextChanged {
            // Nobody has proved anything yet, so there is nothing to dispute.
            facts.dispute.clear();
        }
        facts.add_to(&mut text, instance.language(Some(record)).facts());
    }
    text
}
