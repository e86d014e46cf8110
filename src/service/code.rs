//! Codes that we send: asked for, sent again, carried, reported.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    CONFLICTS, Idempotency, Instance, Service, ServiceError, deed, draft::VerificationDraft, input_code::CodeRequest,
};
use crate::{
    domain::{
        Command, InstanceId, Partition, Reason, Verdict, Verification, VerificationId, decide,
        decide_code::{COOLDOWN, CodeCommand},
        quota::{Name, Quota},
        sending::{Fate, Leg, Otp},
        target::Target,
        template::{self, Values},
    },
    jobs::payload::{self, JobPayload},
    metrics::label::{ByInstance, InstanceLabel},
    random,
    store::{Change, CommitOutcome, Job, JobId, Lane, StoreError},
};

/// A message with a code, ready for its gateway.
pub struct Outgoing {
    pub leg: Leg,
    pub code: String,
    pub text: String,
    pub record: Verification,
}

impl Service {
    /// Makes a code and queues it. The code that counted for this chat before does not any more.
    ///
    /// `cooldown` is the time that must lie between two requests for one chat, whoever asks.
    pub async fn request_code(
        &self,
        instance: &Instance,
        token: &str,
        input: CodeRequest,
        cooldown: Option<SignedDuration>,
        idempotency: Option<Idempotency>,
    ) -> Result<Verification, ServiceError> {
        if instance.config.disabled {
            return Err(ServiceError::Disabled);
        }
        let subject = input.chat.subject();
        let partition = self.target_partition(instance, subject);
        let mut draft = self.draft_code(partition);
        if let Some(cooldown) = cooldown {
            let aimed = self.target(instance, subject).await?;
            self.cool(&aimed.target, cooldown, self.now())?;
        }
        let mut limits = self.mint_limits(instance, token);
        limits.extend(self.sending_limits(instance, &input.request));
        limits.extend(self.room_limits(instance, &input.request));
        limits.extend(self.chat_limit(instance, Name::Codes, subject));
        let reserve = idempotency.map(|idempotency| self.reserve(instance, &idempotency, draft.write()));
        let entered = self.enter(instance, &limits, reserve.as_ref()).await?;
        if let Some(record) = entered.existing {
            return Ok(record);
        }
        self.refuse_more_jobs(instance)?;
        draft = entered.draft.unwrap_or(draft);
        let record = self.create_code(instance, input, cooldown, draft).await?;
        self.metrics.codes_requested.get_or_create(&ByInstance { instance: InstanceLabel(instance.config.id) }).inc();
        Ok(record)
    }

    async fn create_code(
        &self,
        instance: &Instance,
        input: CodeRequest,
        cooldown: Option<SignedDuration>,
        draft: VerificationDraft,
    ) -> Result<Verification, ServiceError> {
        let id = draft.id;
        let CodeRequest { request, chat, shape, expires, channels, footer, .. } = input;
        let mut late = None;
        for _ in 0..CONFLICTS {
            let mut aimed = self.target(instance, chat.subject()).await?;
            let now = late.take().unwrap_or_else(|| self.now());
            if let Some(cooldown) = cooldown {
                self.cool(&aimed.target, cooldown, now)?;
            }
            self.reopen(instance, &chat, &mut aimed.target, now).await?;
            let birth = Self::birth(instance, draft, now, expires, instance.config.codes.attempts);
            let otp = Otp::new(shape, channels.clone(), footer.clone(), now);
            let mut record = Verification::code(birth, otp, request.clone());
            deed::done_to(id);
            deed::sign(&mut record, 0);
            let mut change = self.birth_change(instance, &record);
            change.jobs.push(self.code_job(instance, &record, 0));
            let replaced = match aimed.target.active {
                Some(old) => self.replace(instance, old, &mut change, now).await?,
                None => None,
            };
            aimed.target.asked(id, now);
            let retain_until = change.records[0].retain_until;
            change.records.extend(self.target_changes(aimed, retain_until, now));
            match self.send_with(change, Some(&record), now).await? {
                CommitOutcome::Applied { .. } => {
                    if let Some(old) = &replaced {
                        self.count(old);
                    }
                    return Ok(record);
                }
                // Somebody with the same idempotency key was faster, or the chat was: then the next round replaces
                // what it got.
                CommitOutcome::Conflict | CommitOutcome::Duplicate => match self.load(id).await {
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

    /// Its id lies with everything else about its chat.
    fn draft_code(&self, partition: Partition) -> VerificationDraft {
        let id = VerificationId::new(self.millis(), random::bytes()).within(partition);
        VerificationDraft { key: self.keys.current(), nonce: random::bytes(), code_length: 0, id }
    }

    /// Ends the chat's former code in the commit of the new one.
    async fn replace(
        &self,
        instance: &Instance,
        old: VerificationId,
        change: &mut Change,
        now: Timestamp,
    ) -> Result<Option<Verification>, ServiceError> {
        let (stored, before) = match self.load(old).await {
            Ok(found) => found,
            Err(ServiceError::NotFound | ServiceError::Store(StoreError::Sealed(_))) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut decision = decide(&before, Command::Code(CodeCommand::Replace), now);
        let Some(next) = &mut decision.next else { return Ok(None) };
        deed::sign(next, before.timeline.len());
        let next = next.clone();
        let end = self.change(instance, &before, stored.version, &decision, None, now);
        change.records.extend(end.records);
        change.jobs.extend(end.jobs);
        change.valid_until = end.valid_until;
        Ok(Some(next))
    }

    /// Sends the same code again.
    pub async fn resend(&self, instance: &Instance, id: VerificationId) -> Result<Verification, ServiceError> {
        if instance.config.disabled {
            return Err(ServiceError::Disabled);
        }
        let record = self.get(instance, id).await?;
        let Some(otp) = &record.otp else { return Err(ServiceError::NothingToSend) };
        // The chat's limit is not touched by those who are too early.
        let early = otp.asked_at + COOLDOWN > self.now();
        if let (false, None, Some(chat)) = (early, record.ended_at(), &record.request.chat) {
            let mut limits = self.sending_limits(instance, &record.request);
            limits.extend(self.chat_limit(instance, Name::Codes, chat.subject()));
            self.enter(instance, &limits, None).await?;
        }
        let applied = self.apply(instance, record.id, None, Command::Code(CodeCommand::Resend), None).await?;
        match applied.verdict {
            Verdict::Resent => Ok(applied.record),
            Verdict::TooSoon(again) => Err(self.too_soon(again.duration_since(self.now()), COOLDOWN)),
            Verdict::Expired => Err(ServiceError::Code(Reason::CodeExpired)),
            Verdict::Failed(reason) => Err(ServiceError::Code(reason)),
            _ => Err(ServiceError::NothingToSend),
        }
    }

    /// In the lane of the number that carries it.
    pub(super) fn code_job(&self, instance: &Instance, record: &Verification, leg: usize) -> Job {
        let channel = record.otp.as_ref().and_then(|otp| otp.legs.get(leg)).map(|leg| leg.channel);
        let carrier = channel.and_then(|channel| self.instances.carrier_id(instance, channel));
        let work = JobPayload::Code { about: record.id, leg };
        let lane = Lane::codes(carrier.unwrap_or(instance.config.id));
        self.job(instance, payload::code_id(record.id, leg), lane, None, &work)
    }

    /// What a job has to send. `None`: nothing any more, because the code has ended or this leg has.
    pub async fn outgoing(
        &self,
        instance: &Instance,
        about: VerificationId,
        known: Option<&Verification>,
        leg: usize,
    ) -> Result<Option<Outgoing>, ServiceError> {
        let record = match self.record(about, known).await {
            Ok(record) => record,
            Err(ServiceError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let live = matches!(record.status(self.now()), "pending" | "sent");
        let queued = record.otp.as_ref().and_then(|otp| otp.legs.get(leg)).filter(|leg| leg.fate == Fate::Queued);
        let (true, Some(&leg), Some(code)) = (live, queued, self.otp(&record)) else { return Ok(None) };
        let values = Values { name: &record.request.name, code: code.as_str(), ..Values::default() };
        let mut text = template::render(instance.code_text(&record), values);
        if let Some(footer) = record.otp.as_ref().and_then(|otp| otp.footer.as_deref()) {
            text = format!("{text}\n\n{footer}");
        }
        Ok(Some(Outgoing { leg, code: code.as_str().to_owned(), text, record }))
    }

    /// Of the message that a job sends, the same in every attempt, in the form that WhatsApp's own clients use.
    pub fn message_id(&self, number: InstanceId, job: &JobId) -> String {
        let digest = self.keys.permanent("message id", number, job.0.as_bytes()).hex();
        format!("3EB0{}", digest[..18].to_ascii_uppercase())
    }

    /// Writes down how a message fared. A code that is gone has nothing to learn.
    pub async fn fared(
        &self,
        instance: &Instance,
        about: VerificationId,
        command: CodeCommand,
    ) -> Result<(), ServiceError> {
        match self.apply(instance, about, None, Command::Code(command), None).await {
            Ok(_) | Err(ServiceError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn cool(&self, target: &Target, cooldown: SignedDuration, now: Timestamp) -> Result<(), ServiceError> {
        target.cooling(now, cooldown).map_or(Ok(()), |left| Err(self.too_soon(left, cooldown)))
    }

    fn too_soon(&self, left: SignedDuration, cooldown: SignedDuration) -> ServiceError {
        let duration = |signed: SignedDuration| Duration::try_from(signed).unwrap_or_default();
        self.limited(Name::Cooldown, Quota::per(1, duration(cooldown)), duration(left))
    }
}
