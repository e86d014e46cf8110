//! Handling of authenticated webhook messages: extract the code, find its record, decide, and reply at most once.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::{
    domain::{
        Chat, LookUp, Partition, Reason, Sender, StateMachine as _, Status, Subject, Verification,
        code::LinkCode,
        decision::Reply,
        link::{Link, LinkCommand, LinkVerdict, MessageChecks, MessageText},
        message_codes::{FoundCodes, find_codes},
        quota::{Allowance, LimitName, Quota},
        template,
    },
    gateway::{IgnoreReason, WebhookEvent},
    metrics::label::{ByReason, InstanceLabel},
    service::{
        Inbound, Instance, Outcome, RequestContext, ServiceError, Unmatched,
        limits::LimitBucket,
        messages::ReceiveResult,
        verifications::{InboundMessage, Loaded, WriteOutcome},
    },
    store::{Change, CommitOutcome, Locator, RecordId, StoreError},
};

/// Tolerance for gateway clock skew and delayed redelivery, added to the maximum lifetime of a code. Also the furthest
/// that a timestamp may lie in the future.
const TIMESTAMP_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);
/// Minimum interval between replies to unknown codes from one sender.
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

    async fn apply_message(
        &self,
        cx: &RequestContext,
        loaded: Loaded<Link>,
        mut origin: MessageOrigin<'_>,
        event: &WebhookEvent,
        edited: bool,
    ) -> Result<Outcome, ServiceError> {
        let Loaded { instance, record, .. } = &loaded;
        // A link for a LID or a business-scoped user id needs no phone number.
        let requested_chat = record.request.chat.as_ref().map(Chat::subject);
        let sender = match requested_chat {
            Some(Subject::Lid(_) | Subject::Bsuid(_)) => origin.sender.clone(),
            Some(Subject::Phone(_)) | None => {
                self.lid_resolver.resolve(cx, instance, origin.sender, origin.identity.current()).await?
            }
        };
        origin.incoming.subject = sender.subject();
        let push_name = event.push_name.as_deref().and_then(template::sanitize_name);
        let text = self.message_text(record, event);
        let checks = MessageChecks { brackets_missing: edited, text, forgeable: event.forgeable };
        let risk = self.login_facts.risk_at_start(record);
        let command = |may_reply| {
            let (sender, push_name, risk) = (sender.clone(), push_name.clone(), risk.clone());
            LinkCommand::Receive { sender, push_name, checks, risk, may_reply }
        };
        let limits = &instance.config.limits;
        let verdict = Link::decide(record, command(true), cx.now()).verdict;
        if verdict == LinkVerdict::Failed(Reason::SenderUnidentified) {
            self.await_number(cx, instance, event, record, text != MessageText::Prefilled || edited).await?;
        }
        let may_reply = match verdict {
            // A successful verification and a rejection are always answered.
            LinkVerdict::Verified | LinkVerdict::Rejected => true,
            LinkVerdict::Repeated => {
                self.take_reply_quota(cx, &origin, LimitName::SuccessReplies, limits.success_replies).await?
            }
            LinkVerdict::Failed(_)
            | LinkVerdict::Expired
            | LinkVerdict::Canceled
            | LinkVerdict::Bound
            | LinkVerdict::Erased
            | LinkVerdict::Unchanged
            | LinkVerdict::Finish(_) => {
                self.take_reply_quota(cx, &origin, LimitName::FailureReplies, limits.failure_replies).await?
            }
        };
        let command = command(may_reply);
        let applied = self.verifications.apply(cx, loaded, command, Some(&origin.incoming)).await?;
        if applied.write == WriteOutcome::Duplicate {
            return Ok(Outcome::Duplicate);
        }
        Ok(match applied.verdict {
            LinkVerdict::Verified => Outcome::Verified,
            LinkVerdict::Rejected => Outcome::Failed(Reason::Rejected),
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

    /// Compares the words around the code with the prefilled ones. A record without their digest takes any.
    fn message_text(&self, record: &Verification<Link>, event: &WebhookEvent) -> MessageText {
        let (Some(text), Some(code)) = (event.text.as_deref(), record.link_code(&self.keys)) else {
            return MessageText::Prefilled;
        };
        let digest = |text: &str| record.digest_without_code(&self.keys, text, &code);
        let sent = digest(text);
        if record.details.prefilled.is_none_or(|prefilled| prefilled.matches(sent)) {
            MessageText::Prefilled
        } else if record.request.approval.as_ref().is_some_and(|asked| digest(&asked.rejecting(&code)).matches(sent)) {
            MessageText::Rejection
        } else {
            MessageText::Changed
        }
    }

    /// The reply to a message with several live codes, none of which is accepted. It counts against the limit of
    /// failure replies.
    async fn failure_reply(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        origin: &MessageOrigin<'_>,
    ) -> Result<Option<Reply>, ServiceError> {
        let quota = instance.config.limits.failure_replies;
        Ok(self.take_reply_quota(cx, origin, LimitName::FailureReplies, quota).await?.then_some(Reply::Failed))
    }

    /// The reply to an unknown code: none, unless the instance is configured to reply and the sender's limit allows it.
    async fn unknown_reply(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        origin: &MessageOrigin<'_>,
    ) -> Result<Option<Reply>, ServiceError> {
        if !instance.config.reply_to_unknown {
            return Ok(None);
        }
        let bucket = origin.bucket("unknown", Quota::per(1, UNKNOWN_REPLY_INTERVAL));
        Ok(self.try_take(cx, &bucket).await?.then_some(Reply::Unknown))
    }

    /// Ends the handling of a message that is applied to no record.
    async fn finish_without_record(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        origin: &MessageOrigin<'_>,
        reply: Option<Reply>,
        outcome: Outcome,
    ) -> Result<ReceiveResult, ServiceError> {
        if let Some(reply) = reply {
            let sent = self.reply_without_record(cx, instance, origin.partition, &origin.incoming, reply).await?;
            if sent == CommitOutcome::Duplicate {
                return Ok(Outcome::Duplicate.into());
            }
        }
        Ok(outcome.into())
    }

    /// Queues a reply that concerns no record, in the sender's partition.
    async fn reply_without_record(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        partition: Partition,
        incoming: &InboundMessage,
        reply: Reply,
    ) -> Result<CommitOutcome, StoreError> {
        let job = self.outbox.reply_job(instance, None, incoming, reply);
        self.outbox.commit(cx, Change::new(partition).answers(incoming.id).job(job), cx.now()).await
    }

    async fn take_reply_quota(
        &self,
        cx: &RequestContext,
        origin: &MessageOrigin<'_>,
        name: LimitName,
        quota: Option<Quota>,
    ) -> Result<bool, ServiceError> {
        let Some(quota) = quota else { return Ok(true) };
        let allowed = self.try_take(cx, &origin.bucket(name.as_str(), quota)).await?;
        if !allowed {
            self.limits.count_limit(name);
        }
        Ok(allowed)
    }

    async fn try_take(&self, cx: &RequestContext, bucket: &LimitBucket) -> Result<bool, ServiceError> {
        let admission = self.limits.take(cx, &[bucket], None).await?;
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
