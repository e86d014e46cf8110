//! Handling of authenticated webhook messages: extract the code, find its record, decide, and reply at most once.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::{
    domain::{
        Reason, Status, Verification,
        code::LinkCode,
        link::Link,
        message_codes::{FoundCodes, find_codes},
        quota::{Allowance, LimitName},
    },
    gateway::{IgnoreReason, WebhookEvent},
    metrics::label::{ByReason, InstanceLabel},
    service::{
        Inbound, Instance, Outcome, RequestContext, ServiceError, Unmatched, limits::LimitBucket,
        messages::ReceiveResult, verifications::Loaded,
    },
    store::{Locator, RecordId, StoreError},
};

/// Tolerance for gateway clock skew and delayed redelivery, added to the maximum lifetime of a code. Also the furthest
/// that a timestamp may lie in the future.
const TIMESTAMP_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

/// Which of the links that a message names it is applied to.
enum Choice {
    None,
    /// Several are open, and the message does not say which one is meant.
    SeveralOpen,
    One(Box<Loaded<Link>>),
}

/// Prefers an open link, then one that has not expired: a redelivered message must match the link that it verified or
/// failed, not one with the same code that had expired before.
fn choose(mut links: Vec<Loaded<Link>>, now: Timestamp) -> Choice {
    let first = |wanted: fn(Status) -> bool| links.iter().position(|link| wanted(link.record.status(now)));
    let open = links.iter().filter(|link| link.record.status(now).is_open()).count();
    let preferred = first(Status::is_open).or_else(|| first(|status| status != Status::Expired)).unwrap_or(0);
    if open > 1 {
        Choice::SeveralOpen
    } else if links.is_empty() {
        Choice::None
    } else {
        Choice::One(Box::new(links.swap_remove(preferred)))
    }
}

impl Inbound {
    /// Handles one event of an authenticated webhook. If this returns an error, the caller must make the gateway
    /// redeliver the event.
    pub async fn receive(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        event: &WebhookEvent,
    ) -> Result<Outcome, ServiceError> {
        let received = match self.process_event(cx, instance, event).await {
            // The record was erased, or lost in a failover, after it was read. The redelivery sees the current state.
            Err(ServiceError::NotFound) => {
                return Err(StoreError::Unavailable("a record disappeared during processing".to_owned()).into());
            }
            received => received?,
        };
        self.message_log.append(cx, instance, event, received);
        if !cx.counts_apart() {
            self.count_received(instance, received.outcome);
        }
        Ok(received.outcome)
    }

    fn count_received(&self, instance: &Instance, outcome: Outcome) {
        let id = instance.config.id;
        if let Some(reason) = outcome.failure() {
            let failed = ByReason { instance: InstanceLabel(id), reason: reason.as_str() };
            self.metrics.attempts_failed.get_or_create(&failed).inc();
            self.health.record_failure(id, "message", reason.as_str(), self.clock.wall());
        }
        match outcome {
            Outcome::Unmatched(unmatched) => {
                let unmatched = ByReason { instance: InstanceLabel(id), reason: unmatched.as_str() };
                self.metrics.messages_unmatched.get_or_create(&unmatched).inc();
            }
            Outcome::Ignored(reason @ (IgnoreReason::AnotherNumber | IgnoreReason::SendersDiffer)) => {
                let reason = reason.as_str();
                if let Some(count) = self.health.record_failure(id, "message", reason, self.clock.wall()) {
                    tracing::warn!(instance = %id, reason, count, "a message was ignored");
                }
            }
            Outcome::Ignored(_)
            | Outcome::Verified
            | Outcome::Repeated
            | Outcome::Duplicate
            | Outcome::Unchanged
            | Outcome::Failed(_) => {}
        }
    }

    async fn process_event(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        event: &WebhookEvent,
    ) -> Result<ReceiveResult, ServiceError> {
        let for_us = event.is_for(&*instance.gateway, &instance.config.number);
        if let Some(receipt) = event.receipt.as_ref().filter(|_| for_us) {
            self.deliveries.apply_receipt(cx, instance, receipt).await?;
            return Ok(Outcome::Ignored(IgnoreReason::Status).into());
        }
        let continued = if for_us { self.continued_message(cx, instance, event).await? } else { None };
        let event = continued.as_ref().unwrap_or(event);
        if let Some(reason) = event.ignored {
            return Ok(Outcome::Ignored(reason).into());
        }
        if !for_us {
            return Ok(Outcome::Ignored(IgnoreReason::AnotherNumber).into());
        }
        let (Some(text), Some(id), Some(chat_id)) = (&event.text, event.stable_id(), &event.chat_id) else {
            return Ok(Outcome::Ignored(IgnoreReason::Incomplete).into());
        };
        if has_implausible_timestamp(instance, event, cx.now()) {
            return Ok(Outcome::Failed(Reason::MessageTooOld).into());
        }
        let FoundCodes { codes, edited } = find_codes(text, usize::from(instance.config.code_length));
        if codes.is_empty() {
            return Ok(Outcome::Unmatched(Unmatched::NoCode).into());
        }
        let origin = self.message_origin(instance, event, id, chat_id);
        let guesses = instance.config.limits.guesses.map(|quota| origin.bucket("guesses", quota));
        let Some(links) = self.find_links(cx, instance, &codes, guesses.as_ref()).await? else {
            self.limits.count_limit(LimitName::Guesses);
            return Ok(Outcome::Failed(Reason::RateLimited).into());
        };
        match choose(links, cx.now()) {
            Choice::One(loaded) => {
                let id = loaded.record.id;
                let outcome = self.apply_message(cx, *loaded, origin, event, edited).await?;
                Ok(ReceiveResult { outcome, record: Some(id) })
            }
            Choice::SeveralOpen => {
                let reply = self.failure_reply(cx, instance, &origin).await?;
                self.finish_without_record(cx, instance, &origin, reply, Outcome::Failed(Reason::SeveralCodes)).await
            }
            Choice::None => {
                self.key_state.check_complete(cx).await?;
                // A redelivered message counts again. To recognise it, the store would have to keep the id of every
                // message with an unknown code, and any sender could fill it with them.
                if let Some(bucket) = guesses {
                    self.limits.take(cx, &[&bucket], None).await?;
                }
                let reply = self.unknown_reply(cx, instance, &origin).await?;
                self.finish_without_record(cx, instance, &origin, reply, Outcome::Unmatched(Unmatched::CodeUnknown))
                    .await
            }
        }
    }

    /// The links that have one of `codes`, in one round trip. `None` if the sender's limit of unknown codes is
    /// exhausted.
    async fn find_links(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        codes: &[LinkCode],
        guesses: Option<&LimitBucket>,
    ) -> Result<Option<Vec<Loaded<Link>>>, ServiceError> {
        let locators: Vec<Locator> = codes
            .iter()
            .flat_map(|code| self.keys.link_ids(instance.config.id, code))
            .map(|id| RecordId::from(id).locator())
            .collect();
        let peek = guesses.map(LimitBucket::peek);
        let found = cx.store.find(peek.as_ref(), &locators).await?;
        if matches!(found.allowance, Some(Allowance::Exhausted { .. })) {
            return Ok(None);
        }
        let mut links: Vec<Loaded<Link>> = Vec::new();
        for stored in found.records.into_iter().flatten() {
            let record = self.verifications.read_unless_sealed(cx, instance, &stored).await?;
            let Some(record) = record.and_then(Verification::from_any) else { continue };
            // A record's locator is a digest shorter than the code, so compare the codes themselves.
            if record.link_code(&self.keys).is_some_and(|code| codes.contains(&code)) {
                links.push(Loaded { instance: Arc::clone(instance), record, version: stored.version });
            }
        }
        Ok(Some(links))
    }
}

/// Whether the timestamp is too old for any valid code, invalid, or too far in the future. A missing timestamp is
/// accepted. Message ids are kept for much longer than an accepted message's age, so no message is handled twice.
fn has_implausible_timestamp(instance: &Instance, event: &WebhookEvent, now: Timestamp) -> bool {
    let Some(sent) = event.timestamp.and_then(|seconds| Timestamp::from_second(seconds).ok()) else {
        return event.timestamp.is_some();
    };
    let longest = SignedDuration::try_from(instance.config.longest_life()).unwrap_or(SignedDuration::MAX);
    let age = now.duration_since(sent);
    age > longest.saturating_add(TIMESTAMP_TOLERANCE) || age < -TIMESTAMP_TOLERANCE
}
