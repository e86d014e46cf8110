//! Codes sent by this service: requesting, resending, rendering the message, and recording delivery reports.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    CONFLICTS, Idempotency, Instance, Limited, RequestContext, Service, ServiceError, Standing,
    draft::VerificationDraft,
    input_code::CodeRequest,
    loaded::{Loaded, LoadedTyped},
};
use crate::{
    domain::{
        InstanceId, Kind, Partition, Protocol as _, Reason, Typed, Verification, VerificationId,
        quota::{Name, Quota},
        sent_code::{COOLDOWN, CodeCommand, CodeVerdict, DeliveryReport, Fate, Leg, Otp, SentCode},
        target::Target,
        template::{self, Values},
    },
    jobs::payload::{self, CodeJob, JobPayload},
    metrics::label::{ByInstance, InstanceLabel},
    random,
    store::{Change, CommitOutcome, Job, JobId, Lane, StoreError},
};

/// A code message, ready to send through a gateway.
pub struct Outgoing {
    pub leg: Leg,
    pub code: String,
    pub text: String,
    pub record: Verification<SentCode>,
}

impl Service {
    /// Creates a code and queues its message. It replaces the previous code of the chat. `token` selects the quota of
    /// the caller.
    pub async fn request_code(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        token: &str,
        input: CodeRequest,
        idempotency: Option<Idempotency>,
    ) -> Limited<Verification<SentCode>> {
        let mut standings = Vec::new();
        let outcome = self.make_code(cx, instance, token, input, idempotency, &mut standings).await;
        Limited { outcome, standings }
    }

    async fn make_code(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        token: &str,
        input: CodeRequest,
        idempotency: Option<Idempotency>,
        standings: &mut Vec<Standing>,
    ) -> Result<Verification<SentCode>, ServiceError> {
        if instance.config.disabled {
            return Err(ServiceError::Disabled);
        }
        let subject = input.chat.subject();
        let partition = self.target_partition(instance, subject);
        let mut draft = self.draft_code(partition);
        if let Some(cooldown) = input.cooldown {
            let aimed = self.target(cx, instance, subject).await?;
            self.cool(&aimed.target, cooldown, self.now(), standings)?;
        }
        let mut limits = self.mint_limits(instance, token);
        limits.extend(self.sending_limits(instance, &input.request));
        limits.extend(self.room_limits(instance, &input.request));
        limits.extend(self.chat_limit(instance, Name::Codes, subject));
        let reserve = idempotency.map(|idempotency| self.reserve(instance, &idempotency, draft.write()));
        let entered = self.enter(cx, instance, &limits, reserve.as_ref(), standings).await?;
        if let Some(record) = entered.existing {
            return Verification::from_any(record).ok_or(ServiceError::KeyReused);
        }
        self.refuse_more_jobs(instance)?;
        draft = entered.draft.unwrap_or(draft);
        let record = self.create_code(cx, instance, input, draft, standings).await?;
        self.metrics.codes_requested.get_or_create(&ByInstance { instance: InstanceLabel(instance.config.id) }).inc();
        Ok(record)
    }

    async fn create_code(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        input: CodeRequest,
        draft: VerificationDraft,
        standings: &mut Vec<Standing>,
    ) -> Result<Verification<SentCode>, ServiceError> {
        let id = draft.id;
        let CodeRequest { request, chat, shape, expires, channels, footer, cooldown, .. } = input;
        let mut late = None;
        for _ in 0..CONFLICTS {
            let mut aimed = self.target(cx, instance, chat.subject()).await?;
            let now = late.take().unwrap_or_else(|| self.now());
            if let Some(cooldown) = cooldown {
                self.cool(&aimed.target, cooldown, now, standings)?;
            }
            self.reopen(cx, instance, &chat, &mut aimed.target, now, standings).await?;
            let birth = Self::birth(instance, draft, now, expires, instance.config.codes.attempts);
            let otp = Otp::new(shape, channels.clone(), footer.clone(), now);
            let mut record = Verification::code(birth, otp, request.clone());
            cx.acts_on(id);
            cx.sign(&mut record, 0);
            let mut change = self.birth_change(instance, &record);
            change.jobs.push(self.code_job(instance, &record, 0));
            let replaced = match aimed.target.active {
                Some(old) => self.replace(cx, instance, old, &mut change, now).await?,
                None => None,
            };
            aimed.target.asked(id, now);
            let retain_until = change.records[0].retain_until;
            change.records.extend(self.target_changes(aimed, retain_until, now));
            match self.send_with(cx, change, Some(&record), now).await? {
                CommitOutcome::Applied { .. } => {
                    if let Some(old) = &replaced {
                        self.count(old);
                    }
                    return Ok(record);
                }
                // Another request with the same idempotency key, or for the same chat, was committed first. With the
                // same key, return its record; otherwise the next round replaces its code.
                CommitOutcome::Conflict | CommitOutcome::Duplicate => match self.load_as(cx, id).await {
                    Ok((_, existing)) => return Ok(existing),
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
    fn draft_code(&self, partition: Partition) -> VerificationDraft {
        let id = VerificationId::new(self.millis(), random::bytes()).within(partition);
        VerificationDraft { key: self.keys.current(), nonce: random::bytes(), code_length: 0, id }
    }

    /// Ends the previous code of the chat in the commit of the new one. `None` if there is nothing to end.
    async fn replace(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        old: VerificationId,
        change: &mut Change,
        now: Timestamp,
    ) -> Result<Option<Verification<SentCode>>, ServiceError> {
        let loaded = match self.load_as(cx, old).await {
            Ok((version, record)) => Loaded { instance: Arc::clone(instance), record, version },
            Err(ServiceError::NotFound | ServiceError::Store(StoreError::Sealed(_))) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut decision = SentCode::decide(&loaded.record, CodeCommand::Replace, now);
        let Some(next) = &mut decision.next else { return Ok(None) };
        cx.sign(next, loaded.record.timeline.len());
        let next = next.clone();
        let end = self.change(&loaded, &decision, None, now);
        change.records.extend(end.records);
        change.jobs.extend(end.jobs);
        change.valid_until = end.valid_until;
        Ok(Some(next))
    }

    /// Sends the same code again, at the earliest `COOLDOWN` after the previous request.
    pub async fn resend(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        id: VerificationId,
    ) -> Limited<Verification<SentCode>> {
        let mut standings = Vec::new();
        let outcome = self.send_again(cx, instance, id, &mut standings).await;
        Limited { outcome, standings }
    }

    async fn send_again(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        id: VerificationId,
        standings: &mut Vec<Standing>,
    ) -> Result<Verification<SentCode>, ServiceError> {
        if instance.config.disabled {
            return Err(ServiceError::Disabled);
        }
        let loaded = match self.load_of(cx, instance, id).await?.typed() {
            LoadedTyped::Code(code) => code,
            LoadedTyped::Link(_) => return Err(ServiceError::NothingToSend),
        };
        let record = &loaded.record;
        // A resend that comes too early does not count against the limit of the chat.
        let early = record.kind.otp.asked_at + COOLDOWN > self.now();
        if let (false, None, Some(chat)) = (early, record.ended_at(), &record.request.chat) {
            let mut limits = self.sending_limits(instance, &record.request);
            limits.extend(self.chat_limit(instance, Name::Codes, chat.subject()));
            self.enter(cx, instance, &limits, None, standings).await?;
        }
        let applied = self.apply(cx, loaded, CodeCommand::Resend, None).await?;
        match applied.verdict {
            CodeVerdict::Resent => Ok(applied.record),
            CodeVerdict::TooSoon(again) => Err(self.too_soon(again.duration_since(self.now()), COOLDOWN, standings)),
            CodeVerdict::Expired => Err(ServiceError::Code(Reason::CodeExpired)),
            CodeVerdict::Failed(reason) => Err(ServiceError::Code(reason)),
            CodeVerdict::Validated
            | CodeVerdict::Repeated
            | CodeVerdict::RepeatedFailure(_)
            | CodeVerdict::Canceled
            | CodeVerdict::Forgotten
            | CodeVerdict::Unchanged
            | CodeVerdict::Refused => Err(ServiceError::NothingToSend),
        }
    }

    /// The job of a leg, in the lane of the number that carries its channel.
    pub(super) fn code_job<K: Kind>(&self, instance: &Instance, record: &Verification<K>, leg: usize) -> Job {
        let channel = record.as_code().and_then(|code| code.otp.legs.get(leg)).map(|leg| leg.channel);
        let carrier = channel.and_then(|channel| self.instances.carrier_id(instance, channel));
        let work = JobPayload::Code(CodeJob { about: record.id, leg });
        let lane = Lane::codes(carrier.unwrap_or(instance.config.id));
        self.job(instance, payload::code_id(record.id, leg), lane, None, &work)
    }

    /// The message that a job has to send. `None` if nothing is left to send, because the code or this leg has ended.
    pub async fn outgoing(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        about: VerificationId,
        known: Option<&Verification>,
        leg: usize,
    ) -> Result<Option<Outgoing>, ServiceError> {
        let record = match self.record(cx, about, known).await.map(Verification::typed) {
            Ok(Typed::Code(record)) => record,
            Ok(Typed::Link(_)) | Err(ServiceError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let live = record.status(self.now()).is_open();
        let queued = record.kind.otp.legs.get(leg).filter(|leg| leg.fate == Fate::Queued);
        let (true, Some(&leg), Some(code)) = (live, queued, self.otp(&record)) else { return Ok(None) };
        let values = Values { name: &record.request.name, code: code.as_str(), ..Values::default() };
        let mut text = template::render(instance.code_text(&record.request), values);
        if let Some(footer) = record.kind.otp.footer.as_deref() {
            text = format!("{text}\n\n{footer}");
        }
        Ok(Some(Outgoing { leg, code: code.as_str().to_owned(), text, record }))
    }

    /// The id of the message that a job sends: the same in every attempt, in the format of WhatsApp's own clients.
    pub fn message_id(&self, number: InstanceId, job: &JobId) -> String {
        let digest = self.keys.permanent("message id", number, job.0.as_bytes()).hex();
        format!("3EB0{}", digest[..18].to_ascii_uppercase())
    }

    /// Records a delivery report. Ignored if the code no longer exists.
    pub async fn fared(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        about: VerificationId,
        leg: usize,
        report: DeliveryReport,
    ) -> Result<(), ServiceError> {
        let noted = async {
            let (version, record) = self.load_as(cx, about).await?;
            let loaded = Loaded { instance: Arc::clone(instance), record, version };
            self.apply::<SentCode>(cx, loaded, CodeCommand::Report { leg, report }, None).await
        };
        match noted.await {
            Ok(_) | Err(ServiceError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn cool(
        &self,
        target: &Target,
        cooldown: SignedDuration,
        now: Timestamp,
        standings: &mut Vec<Standing>,
    ) -> Result<(), ServiceError> {
        target.cooling(now, cooldown).map_or(Ok(()), |left| Err(self.too_soon(left, cooldown, standings)))
    }

    fn too_soon(&self, left: SignedDuration, cooldown: SignedDuration, standings: &mut Vec<Standing>) -> ServiceError {
        let duration = |signed: SignedDuration| Duration::try_from(signed).unwrap_or_default();
        self.limited(standings, Name::Cooldown, Quota::per(1, duration(cooldown)), duration(left))
    }
}
