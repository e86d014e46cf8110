//! Handling of authenticated webhook messages: extract the code, find its record, decide, and reply at most once.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;

use super::{
    Instance, Outcome, RequestContext, Service, ServiceError,
    commit::{InboundMessage, WriteOutcome},
    loaded::Loaded,
    outcome::{ReceiveResult, Unmatched},
    rate_limit::LimitBucket,
};
use crate::{
    domain::{
        Chat, LookUp, Partition, Reason, Sender, StateMachine as _, Status, Subject, Verification,
        decision::Reply,
        link::{Link, LinkCommand, LinkVerdict, MessageChecks},
        message_codes::{FoundCodes, find_codes},
        quota::{Allowance, LimitName, Quota},
        template,
    },
    gateway::{IgnoreReason, WebhookEvent},
    metrics::label::{ByReason, InstanceLabel},
    store::{CommitOutcome, Locator, RecordId, StoreError},
};

/// Allowance for gateway clock error and retries, on top of the longest lifetime of a code.
const TIMESTAMP_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);
/// At most one reply to unknown codes per sender in this time.
const UNKNOWN_REPLY_INTERVAL: Duration = Duration::from_mins(10);

/// The sender of a message, for limits and replies.
struct MessageOrigin<'a> {
    sender: &'a Sender,
    /// Identifies the sender in bucket names.
    identity: LookUp,
    partition: Partition,
    incoming: InboundMessage,
}

impl MessageOrigin<'_> {
    /// A bucket of this sender.
    fn bucket(&self, what: &'static str, quota: Quota) -> LimitBucket {
        LimitBucket::new(self.partition, what, self.identity, quota)
    }
}

impl Service {
    /// Handles one event of an authenticated webhook. On an error, the gateway must deliver the event again.
    pub async fn receive(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        event: &WebhookEvent,
    ) -> Result<Outcome, ServiceError> {
        let received = match self.process_event(cx, instance, event).await {
            // The record was erased, or lost in a failover, after it was read. The redelivery sees the current state.
            Err(ServiceError::NotFound) => return Err(StoreError::Unavailable("a record vanished".to_owned()).into()),
            received => received?,
        };
        self.log_message(instance, event, received);
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
                    tracing::warn!(instance = %id, reason, count, "a message verifies nobody");
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
            return self.apply_receipt(cx, instance, receipt).await.map(ReceiveResult::from);
        }
        if let Some(why) = event.ignored {
            return Ok(Outcome::Ignored(why).into());
        }
        if !for_us {
            return Ok(Outcome::Ignored(IgnoreReason::AnotherNumber).into());
        }
        let (Some(text), Some(id), Some(chat_id)) = (&event.text, event.stable_id(), &event.chat_id) else {
            return Ok(Outcome::Ignored(IgnoreReason::Incomplete).into());
        };
        if self.has_implausible_timestamp(instance, event) {
            return Ok(Outcome::Failed(Reason::MessageTooOld).into());
        }
        let FoundCodes { codes, edited } = find_codes(text, usize::from(instance.config.code_length));
        if codes.is_empty() {
            return Ok(Outcome::Unmatched(Unmatched::NoCode).into());
        }
        let from = self.message_origin(instance, event, id, chat_id);
        let places: Vec<Locator> = codes
            .iter()
            .flat_map(|code| self.keys.link_ids(instance.config.id, code))
            .map(|id| RecordId::from(id).locator())
            .collect();
        let guesses = instance.config.limits.guesses.map(|quota| from.bucket("guesses", quota));
        let peek = guesses.as_ref().map(LimitBucket::peek);
        let found = cx.store.find(peek.as_ref(), &places).await?;
        if matches!(found.allowance, Some(Allowance::Exhausted { .. })) {
            self.count_limit(LimitName::Guesses);
            return Ok(Outcome::Failed(Reason::RateLimited).into());
        }
        let mut known: Vec<(Verification<Link>, u64)> = Vec::new();
        for stored in found.records.into_iter().flatten() {
            let record = self.read_unless_sealed(cx, instance, &stored).await?;
            known.extend(record.and_then(Verification::from_any).map(|link| (link, stored.version)));
        }
        // A record's locator is a digest shorter than the code, so compare the codes themselves.
        known.retain(|(link, _)| self.link_code(link).is_some_and(|code| codes.contains(&code)));
        let now = self.now();
        let place_of = |wanted: fn(Status) -> bool| known.iter().position(|(link, _)| wanted(link.status(now)));
        let open = known.iter().filter(|(link, _)| link.status(now).is_open()).count();
        if open > 1 {
            let reply = self.failure_reply(cx, instance, &from).await?;
            return self.finish_without_record(cx, instance, &from, reply, Outcome::Failed(Reason::SeveralCodes)).await;
        }
        // Prefer an open record, then one that has not expired: a redelivered message must match the record that it
        // ended, not another one that had expired before.
        let found = place_of(Status::is_open).or_else(|| place_of(|status| status != Status::Expired));
        if !known.is_empty() {
            let (record, version) = known.swap_remove(found.unwrap_or(0));
            let id = record.id;
            let loaded = Loaded { instance: Arc::clone(instance), record, version };
            let outcome = self.apply_message(cx, loaded, from, event, edited).await?;
            return Ok(ReceiveResult { outcome, record: Some(id) });
        }
        self.check_keys_complete(cx).await?;
        if let Some(bucket) = guesses {
            self.take(cx, &[&bucket], None).await?;
        }
        let reply = self.unknown_reply(cx, instance, &from).await?;
        self.finish_without_record(cx, instance, &from, reply, Outcome::Unmatched(Unmatched::CodeUnknown)).await
    }

    async fn apply_message(
        &self,
        cx: &RequestContext,
        loaded: Loaded<Link>,
        mut from: MessageOrigin<'_>,
        event: &WebhookEvent,
        edited: bool,
    ) -> Result<Outcome, ServiceError> {
        let Loaded { instance, record, .. } = &loaded;
        // A link for a LID or a business-scoped user id needs no phone number.
        let asked = record.request.chat.as_ref().map(Chat::subject);
        let sender = match asked {
            Some(Subject::Lid(_) | Subject::Bsuid(_)) => from.sender.clone(),
            Some(Subject::Phone(_)) | None => {
                self.lid_resolver.resolve(cx, instance, from.sender, from.identity.current()).await?
            }
        };
        from.incoming.subject = sender.subject();
        let push_name = event.push_name.as_deref().and_then(template::sanitize_name);
        let sent = event.text.as_deref().zip(self.link_code(record));
        let words = sent.map(|(text, code)| self.digest_without_code(instance, text, &code));
        let changed = record.details.prefilled.zip(words).is_some_and(|(prefilled, words)| !prefilled.matches(words));
        let text = MessageChecks { brackets_missing: edited, text_changed: changed, forgeable: event.forgeable };
        let risk = self.risk_at_start(record);
        let command = |may_reply| {
            let (sender, push_name, risk) = (sender.clone(), push_name.clone(), risk.clone());
            LinkCommand::Receive { sender, push_name, checks: text, risk, may_reply }
        };
        let limits = &instance.config.limits;
        let may_reply = match Link::decide(record, command(true), self.now()).verdict {
            // A successful verification is always answered.
            LinkVerdict::Verified => true,
            LinkVerdict::Repeated => {
                self.take_reply_quota(cx, &from, LimitName::SuccessReplies, limits.success_replies).await?
            }
            LinkVerdict::Failed(_)
            | LinkVerdict::Expired
            | LinkVerdict::Canceled
            | LinkVerdict::Bound
            | LinkVerdict::Erased
            | LinkVerdict::Unchanged
            | LinkVerdict::Finish(_) => {
                self.take_reply_quota(cx, &from, LimitName::FailureReplies, limits.failure_replies).await?
            }
        };
        let command = command(may_reply);
        let applied = self.apply(cx, loaded, command, Some(&from.incoming)).await?;
        if applied.write == WriteOutcome::Duplicate {
            return Ok(Outcome::Duplicate);
        }
        Ok(match applied.verdict {
            LinkVerdict::Verified => Outcome::Verified,
            LinkVerdict::Repeated => Outcome::Repeated,
            LinkVerdict::Expired => Outcome::Failed(Reason::CodeExpired),
            LinkVerdict::Failed(reason) => Outcome::Failed(reason),
            LinkVerdict::Canceled
            | LinkVerdict::Bound
            | LinkVerdict::Erased
            | LinkVerdict::Unchanged
            | LinkVerdict::Finish(_) => Outcome::Unchanged,
        })
    }

    /// The reply to a message with several live codes, none of which is accepted. It counts against the limit of
    /// failure replies.
    async fn failure_reply(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        from: &MessageOrigin<'_>,
    ) -> Result<Option<Reply>, ServiceError> {
        let quota = instance.config.limits.failure_replies;
        Ok(self.take_reply_quota(cx, from, LimitName::FailureReplies, quota).await?.then_some(Reply::Failed))
    }

    /// The reply to an unknown code: none, unless the instance is configured to reply and the sender's limit allows it.
    async fn unknown_reply(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        from: &MessageOrigin<'_>,
    ) -> Result<Option<Reply>, ServiceError> {
        if !instance.config.reply_to_unknown {
            return Ok(None);
        }
        let bucket = from.bucket("unknown", Quota::per(1, UNKNOWN_REPLY_INTERVAL));
        Ok(self.try_take(cx, &bucket).await?.then_some(Reply::Unknown))
    }

    /// Ends the handling of a message that is applied to no record.
    async fn finish_without_record(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        from: &MessageOrigin<'_>,
        reply: Option<Reply>,
        outcome: Outcome,
    ) -> Result<ReceiveResult, ServiceError> {
        if let Some(reply) = reply {
            let sent = self.reply_without_record(cx, instance, from.partition, &from.incoming, reply).await?;
            if sent == CommitOutcome::Duplicate {
                return Ok(Outcome::Duplicate.into());
            }
        }
        Ok(outcome.into())
    }

    async fn take_reply_quota(
        &self,
        cx: &RequestContext,
        from: &MessageOrigin<'_>,
        name: LimitName,
        quota: Option<Quota>,
    ) -> Result<bool, ServiceError> {
        let Some(quota) = quota else { return Ok(true) };
        let allowed = self.try_take(cx, &from.bucket(name.as_str(), quota)).await?;
        if !allowed {
            self.count_limit(name);
        }
        Ok(allowed)
    }

    async fn try_take(&self, cx: &RequestContext, bucket: &LimitBucket) -> Result<bool, ServiceError> {
        let admission = self.take(cx, &[bucket], None).await?;
        Ok(matches!(admission.allowances[..], [Allowance::Allowed { .. }]))
    }

    fn message_origin<'a>(
        &self,
        instance: &Instance,
        event: &'a WebhookEvent,
        id: &str,
        chat_id: &str,
    ) -> MessageOrigin<'a> {
        let subject = event.sender.subject();
        let instance_id = instance.config.id;
        let canonical = subject.as_ref().map_or_else(|| format!("chat:{chat_id}"), Subject::canonical);
        let identity = self.keys.look_up("sender", instance_id, canonical.as_bytes());
        let incoming = InboundMessage {
            id: self.keys.look_up("message", instance_id, id.as_bytes()),
            chat_id: chat_id.to_owned(),
            subject,
        };
        let partition = self.keys.partition_for("sender", instance_id, canonical.as_bytes());
        MessageOrigin { sender: &event.sender, identity, partition, incoming }
    }

    /// Whether the gateway's timestamp is older than any live code, invalid, or too far in the future. Message ids are
    /// remembered for much longer than this, so no message is handled twice.
    fn has_implausible_timestamp(&self, instance: &Instance, event: &WebhookEvent) -> bool {
        let Some(sent) = event.timestamp.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) else {
            return event.timestamp.is_some();
        };
        let longest = SignedDuration::try_from(instance.config.longest_life()).unwrap_or(SignedDuration::MAX);
        let age = self.now().duration_since(sent);
        age > longest + TIMESTAMP_TOLERANCE || age < -TIMESTAMP_TOLERANCE
    }
}
