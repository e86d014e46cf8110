//! One attempt to answer in the chat. The text is rendered here, from the record and today's settings.

use std::time::Instant;

use jiff::SignedDuration;

use super::{Outbox, line::Busy};
use crate::{
    domain::{
        Partition, Subject, Verification,
        decide::Reply,
        quota::{Allowance, Quota},
        retry::Schedule,
        template::{self, Values},
        token::Kind,
    },
    entropy,
    gateway::{Refusal, Sent},
    metrics::label::{ByInstance, GatewayResult, Of},
    service::{Instance, Service, ServiceError, job::About},
    store::{Leased, Settlement, Take},
};

/// A reply that comes later than this confuses more than it helps.
const LATEST: SignedDuration = SignedDuration::from_secs(120);

pub(super) struct Outgoing {
    pub(super) about: Option<About>,
    pub(super) reply: Reply,
    pub(super) chat_id: String,
    pub(super) subject: Option<Subject>,
}

pub(super) async fn send(
    outbox: &Outbox,
    instance: &Instance,
    leased: &Leased,
    outgoing: Outgoing,
) -> Result<Settlement, ServiceError> {
    let service = &outbox.service;
    let count = |result| {
        let gateway = instance.gateway.kind();
        let instance = Of(instance.config.id);
        service.metrics.replies.get_or_create(&GatewayResult { instance, gateway, result }).inc();
    };
    if service.now().duration_since(leased.since) > LATEST {
        count("too_late");
        return Ok(Settlement::Dead { note: "reply_undeliverable: too late".to_owned() });
    }
    let record = match outgoing.about {
        None => None,
        Some(about) => match service.record(about).await {
            Ok(record) => Some(record),
            // Erased meanwhile: there is nothing left to say.
            Err(ServiceError::NotFound) => return Ok(Settlement::Done),
            Err(error) => return Err(error),
        },
    };
    let text = render(service, instance, outgoing.reply, record.as_ref());
    if let Some(at) = pace(outbox, instance, outgoing.reply).await? {
        return Ok(Settlement::Postpone { at });
    }
    let number = instance.config.id;
    let _socket = match outbox.lines.enter(number, service.now()).await {
        Ok(socket) => socket,
        Err(Busy::Silent(until)) => return Ok(Settlement::Postpone { at: until }),
        Err(Busy::Full) => return Ok(Settlement::Postpone { at: service.now() + SignedDuration::from_secs(1) }),
    };
    let request = instance.gateway.text_message(&outgoing.chat_id, outgoing.subject.as_ref(), &text);
    let start = Instant::now();
    let sent = match instance.sending.send(request).await {
        Ok(response) => instance.gateway.sent(&response),
        Err(_) => Sent::Retry { after: None, why: "unreachable" },
    };
    service.metrics.reply_seconds.observe(start.elapsed().as_secs_f64());
    if !matches!(sent, Sent::Retry { .. }) {
        let refused_us = matches!(sent, Sent::Refused(Refusal::Unauthorized));
        if outbox.lines.note(number, service.now(), refused_us) {
            tracing::error!(instance = %number, "the gateway refuses us: the number may be logged out or banned");
        }
        let open = ByInstance { instance: Of(number) };
        service.metrics.numbers_refused.get_or_create(&open).set(i64::from(refused_us));
    }
    Ok(match sent {
        Sent::Accepted { .. } => {
            count("sent");
            Settlement::Done
        }
        Sent::Refused(refusal) => {
            service.vitals.failed(number, "reply", refusal.as_str(), service.clock.wall());
            count(refusal.as_str());
            Settlement::Dead { note: format!("reply_undeliverable: {}", refusal.as_str()) }
        }
        Sent::Retry { after, why } => {
            service.vitals.failed(number, "reply", why, service.clock.wall());
            count("retried");
            let delay = Schedule::REPLY.next_delay(leased.attempts + 1, entropy::fraction(), after);
            match delay {
                Some(delay) => Settlement::Retry { at: service.now() + delay, note: why.to_owned() },
                None => Settlement::Dead { note: format!("reply_undeliverable: {why}") },
            }
        }
    })
}

/// When this number may send again, if it has sent as much as it may. Whatever is no success also has to fit
/// into half of the rate, so that strangers who send rubbish cannot keep anybody's link waiting.
async fn pace(outbox: &Outbox, instance: &Instance, reply: Reply) -> Result<Option<jiff::Timestamp>, ServiceError> {
    let service = &outbox.service;
    let Some(rate) = instance.config.limits.replies_per_second else { return Ok(None) };
    let number = instance.config.id;
    let partition = Partition::of(number.as_bytes()[15]);
    let take = |lane: &str, rate| {
        let bucket = format!("{lane}:{}", number.simple());
        Take { partition, bucket, quota: Quota::sustained(rate, rate) }
    };
    let lanes = match reply {
        Reply::Success => vec![take("pace", rate)],
        _ => vec![take("slow", rate.div_ceil(2)), take("pace", rate)],
    };
    for lane in lanes {
        let admission = service.store.admit(&[lane], None).await?;
        if let [Allowance::Exhausted { retry_after }] = admission.allowances[..] {
            return Ok(Some(service.now() + retry_after));
        }
    }
    Ok(None)
}

fn render(service: &Service, instance: &Instance, reply: Reply, record: Option<&Verification>) -> String {
    let hosted = record.and_then(|record| service.token(record, Kind::Link));
    let hosted = hosted.map(|token| service.public(&format!("/o/{token}"))).unwrap_or_default();
    let code = record.and_then(|record| service.code(record));
    let values = Values {
        link: record.and_then(|record| record.request.link.as_deref()).unwrap_or(&hosted),
        name: record.map_or(&instance.config.name, |record| &record.request.name),
        code: code.as_ref().map_or("", |code| code.as_str()),
    };
    template::render(instance.reply_text(reply, record), values)
}
