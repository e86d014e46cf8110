//! One attempt to send a chat reply. The text is rendered here, from the record and the current configuration.

use jiff::{SignedDuration, Timestamp};

use super::{
    Worker,
    gateway_message::{GatewayResponse, send_message},
    message_retry::{self, FailedSend, NextAttempt},
};
use crate::{
    domain::{
        Reason, TypedVerification, Verification,
        decision::Reply,
        link::Link,
        template::{self, Values},
        token::TokenKind,
    },
    gateway::{ButtonMessage, SendResult},
    jobs::{payload::ReplyJob, permits::Permit},
    metrics::label::{GatewayResult, InstanceLabel},
    service::{Instance, ServiceError, Services},
    store::{DeadReason, LeasedJob, Settlement},
};

/// Maximum age of a reply: a later one confuses more than it helps.
const MAX_REPLY_AGE: SignedDuration = SignedDuration::from_secs(120);

pub(super) async fn send(
    worker: &Worker,
    instance: &Instance,
    leased: &LeasedJob,
    permit: &Permit,
    job: &ReplyJob,
    known: Option<&Verification>,
) -> Result<Settlement, ServiceError> {
    let services = &worker.services;
    if services.env.store.now().duration_since(leased.since) > MAX_REPLY_AGE {
        count(services, instance, "too_late");
        return Ok(given_up("too late"));
    }
    let record = match job.verification {
        None => None,
        Some(about) => {
            match services.shared.verifications.record(&worker.cx, about, known).await.map(Verification::into_typed) {
                Ok(TypedVerification::Link(record)) => Some(record),
                // The record has been erased, so there is nothing to reply. Codes have no replies.
                Ok(TypedVerification::Code(_)) | Err(ServiceError::NotFound) => return Ok(Settlement::Done),
                Err(error) => return Err(error),
            }
        }
    };
    let request = request(services, instance, job, record.as_ref());
    deliver(worker, instance, leased, permit, request, leased.since + MAX_REPLY_AGE).await
}

fn count(services: &Services, instance: &Instance, result: &'static str) {
    let gateway = instance.gateway.kind();
    let instance = InstanceLabel(instance.config.id);
    services.env.metrics.replies.get_or_create(&GatewayResult { instance, gateway, result }).inc();
}

/// Sends `request`, and decides what becomes of the job. From `useful_until` on, the message is useless.
pub(super) async fn deliver(
    worker: &Worker,
    instance: &Instance,
    leased: &LeasedJob,
    permit: &Permit,
    request: http::Request<Vec<u8>>,
    useful_until: Timestamp,
) -> Result<Settlement, ServiceError> {
    let services = &worker.services;
    let count = |result| count(services, instance, result);
    let GatewayResponse { result, retry_after, is_deduplicated } =
        send_message(worker, instance, leased, permit, request).await;
    let (failure, possibly_sent) = match result {
        SendResult::Accepted { .. } => {
            count("sent");
            return Ok(Settlement::Done);
        }
        SendResult::Refused(refusal) => {
            services.env.health.record_failure(
                instance.config.id,
                "reply",
                refusal.as_str(),
                services.env.clock.wall(),
            );
            count(refusal.as_str());
            return Ok(given_up(refusal.as_str()));
        }
        SendResult::Retryable { reason: failure } => (failure, false),
        SendResult::Unknown { reason: failure } => (failure, true),
    };
    services.env.health.record_failure(instance.config.id, "reply", failure.as_str(), services.env.clock.wall());
    let failed = FailedSend { failure, retry_after, possibly_sent, is_deduplicated };
    let next = message_retry::next_attempt(worker, leased, failed, useful_until).await?;
    count(match next {
        _ if possibly_sent => "unknown",
        NextAttempt::TooLate { .. } => "too_late",
        NextAttempt::Retry(_) | NextAttempt::Exhausted { .. } => "retried",
    });
    let cause = if possibly_sent { format!("perhaps sent, {failure}") } else { failure.to_string() };
    Ok(match next {
        NextAttempt::Retry(settlement) => settlement,
        NextAttempt::TooLate { .. } => given_up(&format!("too late, {cause}")),
        NextAttempt::Exhausted { .. } => given_up(&cause),
    })
}

/// The request that sends the reply: with a button where the gateway can, else as a text.
fn request(
    services: &Services,
    instance: &Instance,
    job: &ReplyJob,
    record: Option<&Verification<Link>>,
) -> http::Request<Vec<u8>> {
    let (chat, subject) = (&job.chat_id, job.subject.as_ref());
    let language = instance.language(record.map(|record| &record.request));
    if let (Reply::Unidentified, Some(record)) = (job.reply, record) {
        let name = record.request.name.as_str();
        let text = template::render(language.share_number(), Values { name, ..Values::default() });
        if let Some(request) = instance.gateway.contact_request(chat, subject, &text) {
            return request;
        }
    }
    let (text, link) = render(services, instance, job.reply, record);
    let button = link.as_deref().and_then(|url| {
        let short = without_url(&text, url)?;
        let message = ButtonMessage { text: &short, full_text: &text, label: language.button(), url };
        instance.gateway.button_message(chat, subject, &message)
    });
    button.unwrap_or_else(|| instance.gateway.text_message(chat, subject, &text))
}

fn given_up(cause: &str) -> Settlement {
    let note = format!("{}: {cause}", Reason::ReplyUndeliverable);
    Settlement::Dead { reason: DeadReason::GivenUp, note }
}

/// The text without the line that is the URL, for a button that opens it. `None`: the URL does not fill one line, or
/// nothing else is said.
fn without_url(text: &str, url: &str) -> Option<String> {
    let rest: Vec<&str> = text.lines().filter(|line| line.trim() != url).collect();
    let alone = rest.len() + 1 == text.lines().count() && !rest.iter().any(|line| line.contains(url));
    let rest = rest.join("\n").trim().to_owned();
    (alone && url.starts_with("https://") && !rest.is_empty()).then_some(rest)
}

/// The text, and the link in it for which a button may stand.
fn render(
    services: &Services,
    instance: &Instance,
    reply: Reply,
    record: Option<&Verification<Link>>,
) -> (String, Option<String>) {
    let name = record.map_or(instance.config.name.as_str(), |record| record.request.name.as_str());
    let Some(record) = record else {
        let text = template::render(instance.reply_text(reply, None), Values { name, ..Values::default() });
        return (text, None);
    };
    let link_code = record.link_code(&services.env.keys);
    let code = match reply {
        Reply::WithCode => record.reply_code(&services.env.keys).map(|code| code.as_str().to_owned()),
        _ => link_code.as_ref().map(|code| code.as_str().to_owned()),
    };
    let link = match (reply, &record.request.link) {
        (Reply::TextChanged, _) => link_code.map(|code| instance.page_message_url(&instance.prefilled(record, &code))),
        (_, Some(own)) => Some(own.clone()),
        (_, None) => record
            .token(&services.env.keys, TokenKind::Link)
            .map(|token| services.env.public_url.absolute(&format!("/o/{token}"))),
    };
    let values = Values {
        link: link.as_deref().unwrap_or_default(),
        name,
        code: &template::isolated(&code.unwrap_or_default(), instance.language(Some(&record.request))),
        purpose: record.request.purpose.as_deref().unwrap_or_default(),
    };
    let mut text = template::render(instance.reply_text(reply, Some(&record.request)), values);
    if reply.is_expected() {
        let mut facts = services.shared.login_facts.login_details(instance, record);
        if reply == Reply::TextChanged || record.request.approval.is_some() {
            // Nothing has been proved yet, or the answer was the person's own, so there is nothing to dispute.
            facts.dispute.clear();
        }
        facts.append_to(&mut text, instance.language(Some(&record.request)).login_details());
    }
    (text, link.filter(|_| reply == Reply::Success))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_button_replaces_a_url_on_a_line_of_its_own() {
        const URL: &str = "https://wa.example.org/o/x";
        let of = |text: &str| without_url(text, URL);
        assert_eq!(of("Tap:\nhttps://wa.example.org/o/x\n\nApp: N").as_deref(), Some("Tap:\n\nApp: N"));
        assert_eq!(of("Tap:\n https://wa.example.org/o/x ").as_deref(), Some("Tap:"));
        for text in [URL, "Tap https://wa.example.org/o/x", "No link", ""] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(of(&format!("{URL}\nor\n{URL}")), None, "twice");
        assert_eq!(without_url("Tap:\nmyapp://x", "myapp://x"), None, "only https opens everywhere");
        assert_eq!(without_url("Tap:\n\n", ""), None);
    }
}
