//! Codes sent by this service: requesting, resending, rendering the message, and recording delivery reports.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::code_request::CodeRequest;
use crate::{
    domain::{
        Partition, Reason, StateMachine as _, TypedVerification, Verification, VerificationId,
        chat_state::ChatState,
        quota::{LimitName, Quota},
        sent_code::{COOLDOWN, ChannelMessage, CodeCommand, CodeVerdict, Delivery, MessageStatus, SentCode},
        template::{self, Values},
        time::unix_millis,
    },
    metrics::label::{ByInstance, InstanceLabel},
    random,
    service::{
        Codes, Idempotency, Instance, Limited, RequestContext, ServiceError,
        verifications::{Loaded, LoadedTyped, MAX_COMMIT_ATTEMPTS, VerificationDraft},
    },
    store::{Change, CommitOutcome, StoreError},
};

/// A code message, ready to send through a gateway.
pub struct OutgoingCode {
    pub message: ChannelMessage,
    pub code: String,
    pub text: String,
    pub record: Verification<SentCode>,
}

impl Codes {
    /// Creates a code and queues its message. It replaces the previous code of the chat. `token` selects the quota of
    /// the caller.
    pub async fn request(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        token: &str,
        mut input: CodeRequest,
        idempotency: Option<Idempotency>,
    ) -> Limited<Verification<SentCode>> {
        if instance.config.disabled {
            return ServiceError::Disabled.into();
        }
        let subject = input.chat.subject();
        let test_number = instance.config.codes.test_number(subject);
        input.request.test = test_number.is_some_and(|number| cx.now() < number.until);
        if let Some(cooldown) = input.cooldown {
            let cooled = self.load_chat_state(cx, instance, subject).await;
            let cooled = cooled.and_then(|versioned| self.check_cooldown(&versioned.state, cooldown, cx.now()));
            if let Err(refused) = cooled {
                return refused.into();
            }
        }
        let draft = self.draft_code(cx.now(), self.chat_partition(instance, subject));
        let mut limits = self.limits.mint_limits(instance, token);
        limits.extend(self.limits.sending_limits(instance, &input.request));
        limits.extend(self.limits.storage_limits(instance, &input.request));
        limits.extend(self.limits.chat_limit(instance, LimitName::Codes, subject));
        let claim =
            idempotency.map(|idempotency| self.admissions.idempotency_claim(instance, &idempotency, draft.write()));
        let commit = async |draft, _| self.commit_code(cx, instance, input, draft).await;
        self.admissions.create(cx, instance, limits, draft, claim, commit).await
    }

    async fn commit_code(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        input: CodeRequest,
        draft: VerificationDraft,
    ) -> Result<Verification<SentCode>, ServiceError> {
        let id = draft.id;
        let CodeRequest { request, chat, shape, expires, channels, footer, cooldown, .. } = input;
        let mut late = None;
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let mut versioned = self.load_chat_state(cx, instance, chat.subject()).await?;
            let now = late.take().unwrap_or_else(|| cx.now());
            if let Some(cooldown) = cooldown {
                self.check_cooldown(&versioned.state, cooldown, now)?;
            }
            self.check_lockout(cx, instance, &chat, &mut versioned.state, now).await?;
            let new = draft.verification(instance.config.id, now, expires, instance.config.codes.attempts);
            let otp = Delivery::new(shape, channels.clone(), footer.clone(), now);
            let mut record = Verification::code(new, otp, request.clone());
            cx.set_verification(id);
            cx.attribute(&mut record, 0);
            let mut change = self.verifications.creation_change(instance, &record);
            change.jobs.push(self.outbox.code_job(instance, &record, 0));
            let replaced = match versioned.state.active {
                Some(old) => self.cancel_previous(cx, instance, old, &mut change, now).await?,
                None => None,
            };
            versioned.state.code_requested(id, now);
            let retain_until = change.records[0].retain_until;
            change.records.extend(self.chat_state_changes(versioned, retain_until, now));
            match self.outbox.commit_with_record(cx, change, Some(&record), now).await? {
                CommitOutcome::Applied { .. } => {
                    self.funnel.count(None, &record);
                    if let Some((before, after)) = &replaced {
                        self.funnel.count(Some(before), after);
                    }
                    let label = ByInstance { instance: InstanceLabel(instance.config.id) };
                    self.metrics.codes_requested.get_or_create(&label).inc();
                    return Ok(record);
                }
                // Another request with the same idempotency key, or for the same chat, was committed first. With the
                // same key, return its record; otherwise the next round replaces its code.
                CommitOutcome::Conflict | CommitOutcome::Duplicate => match self.verifications.load_as(cx, id).await {
                    Ok((_, existing)) if existing.instance == instance.config.id => return Ok(existing),
                    Ok(_) => return Err(ServiceError::KeyReused),
                    Err(ServiceError::NotFound) => {}
                    Err(error) => return Err(error),
                },
                CommitOutcome::Late(now) => late = Some(now),
                CommitOutcome::Collision => {}
            }
        }
        Err(StoreError::Unavailable("too many codes for one chat at once".to_owned()).into())
    }

    /// The id lies in the partition of the chat, like everything else about the chat.
    fn draft_code(&self, now: Timestamp, partition: Partition) -> VerificationDraft {
        let id = VerificationId::new(unix_millis(now), random::bytes()).in_partition(partition);
        VerificationDraft { key: self.keys.current_id(), nonce: random::bytes(), code_length: 0, id }
    }

    /// Ends the previous code of the chat in the commit of the new one. Returns it before and after; `None` if there is
    /// nothing to end.
    async fn cancel_previous(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        old: VerificationId,
        change: &mut Change,
        now: Timestamp,
    ) -> Result<Option<(Verification<SentCode>, Verification<SentCode>)>, ServiceError> {
        let loaded = match self.verifications.load_as(cx, old).await {
            Ok((version, record)) => Loaded { instance: Arc::clone(instance), record, version },
            Err(ServiceError::NotFound | ServiceError::Store(StoreError::Sealed(_))) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut decision = SentCode::decide(&loaded.record, CodeCommand::Replace, now);
        let Some(next) = &mut decision.next else { return Ok(None) };
        cx.attribute(next, loaded.record.timeline.len());
        let next = next.clone();
        let end = self.verifications.change_for(&loaded, &decision, None, now);
        change.records.extend(end.records);
        change.jobs.extend(end.jobs);
        change.valid_until = end.valid_until;
        Ok(Some((loaded.record, next)))
    }

    /// Sends the same code again, at the earliest `COOLDOWN` after the previous request.
    pub async fn resend(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        id: VerificationId,
    ) -> Limited<Verification<SentCode>> {
        if instance.config.disabled {
            return ServiceError::Disabled.into();
        }
        let loaded = match self.verifications.load_of(cx, instance, id).await.map(Loaded::typed) {
            Ok(LoadedTyped::Code(code)) => code,
            Ok(LoadedTyped::Link(_)) => return ServiceError::NothingToSend.into(),
            Err(error) => return error.into(),
        };
        let record = &loaded.record;
        // A resend that comes too early does not count against the limit of the chat.
        let early = record.details.delivery.requested_at + COOLDOWN > cx.now();
        let mut limits = Vec::new();
        if let (false, None, Some(chat)) = (early, record.ended_at(), &record.request.chat) {
            limits = self.limits.sending_limits(instance, &record.request);
            limits.extend(self.limits.chat_limit(instance, LimitName::Codes, chat.subject()));
        }
        let Limited { outcome, limit_statuses } = self.admissions.admit(cx, instance, &limits, None).await;
        let outcome = match outcome {
            Ok(_) => self.queue_again(cx, loaded).await,
            Err(refused) => Err(refused),
        };
        Limited { outcome, limit_statuses }
    }

    async fn queue_again(
        &self,
        cx: &RequestContext,
        loaded: Loaded<SentCode>,
    ) -> Result<Verification<SentCode>, ServiceError> {
        let applied = self.verifications.apply(cx, loaded, CodeCommand::Resend, None).await?;
        match applied.verdict {
            CodeVerdict::Resent => Ok(applied.record),
            CodeVerdict::TooSoon(again) => Err(self.too_soon(again.duration_since(cx.now()), COOLDOWN)),
            CodeVerdict::Expired => Err(ServiceError::Code(Reason::CodeExpired)),
            CodeVerdict::Failed(reason) => Err(ServiceError::Code(reason)),
            CodeVerdict::Validated
            | CodeVerdict::Repeated
            | CodeVerdict::RepeatedFailure { .. }
            | CodeVerdict::Canceled
            | CodeVerdict::Erased
            | CodeVerdict::Unchanged
            | CodeVerdict::Refused => Err(ServiceError::NothingToSend),
        }
    }

    /// The message that a job has to send. `None` if nothing is left to send, because the code or this message has ended,
    /// or nothing ever was, because the number is for tests.
    pub async fn outgoing(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        about: VerificationId,
        known: Option<&Verification>,
        message: usize,
    ) -> Result<Option<OutgoingCode>, ServiceError> {
        let record = match self.verifications.record(cx, about, known).await.map(Verification::into_typed) {
            Ok(TypedVerification::Code(record)) => record,
            Ok(TypedVerification::Link(_)) | Err(ServiceError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let live = record.status(cx.now()).is_open() && !record.request.test;
        let queued =
            record.details.delivery.messages.get(message).filter(|message| message.status == MessageStatus::Queued);
        let (true, Some(&message), Some(code)) = (live, queued, self.otp_code(&record, cx.now())) else {
            return Ok(None);
        };
        let shown = template::isolated(code.as_str(), instance.language(Some(&record.request)));
        let values = Values { name: &record.request.name, code: &shown, ..Values::default() };
        let mut text = template::render(instance.code_text(&record.request), values);
        if let Some(footer) = record.details.delivery.footer.as_deref() {
            text = format!("{text}\n\n{footer}");
        }
        Ok(Some(OutgoingCode { message, code: code.as_str().to_owned(), text, record }))
    }

    fn check_cooldown(&self, target: &ChatState, cooldown: SignedDuration, now: Timestamp) -> Result<(), ServiceError> {
        target.cooldown_left(now, cooldown).map_or(Ok(()), |left| Err(self.too_soon(left, cooldown)))
    }

    fn too_soon(&self, left: SignedDuration, cooldown: SignedDuration) -> ServiceError {
        let duration = |signed: SignedDuration| Duration::try_from(signed).unwrap_or_default();
        let quota = Quota::per(1, duration(cooldown));
        ServiceError::LimitExhausted(self.limits.exhausted(LimitName::Cooldown, quota, duration(left)))
    }
}
