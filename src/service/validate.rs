//! Validation of typed codes: compare, count the attempt durably, and only then answer.
//!
//! The code's record and the chat's record, which counts wrong codes, change in one commit.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    CONFLICTS, Idempotency, Instance, Limited, RequestContext, Service, ServiceError, Standing,
    input_code::{Typed, Whose},
    loaded::Loaded,
    requests::Filter,
};
use crate::{
    domain::{
        Chat, OtpType, Protocol as _, Reason, Status, Verification,
        quota::{Name, Quota},
        sent_code::{CodeCommand, CodeVerdict, SentCode},
        target::{FAILURES, Guard, Target, WINDOW},
    },
    metrics::label::{ByReason, InstanceLabel},
    store::{CommitOutcome, StoreError},
};

/// How many of a chat's most recent verified links are examined for one verified since the lock.
const PROOFS: usize = 10;

impl Service {
    /// Checks a typed code against the chat's active one. An error that reveals whether the code was right is returned
    /// only after the attempt was counted durably.
    pub async fn validate(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        token: &str,
        typed: &Typed,
        guard: Guard,
        idempotency: Option<Idempotency>,
    ) -> Limited<Verification<SentCode>> {
        let mut standings = Vec::new();
        let limit = self.token_limit(instance, Name::Validate, token);
        let outcome = match self.enter(cx, instance, limit.as_slice(), None, &mut standings).await {
            Ok(_) => self.compare(cx, instance, typed, guard, idempotency, &mut standings).await,
            Err(refused) => return Limited { outcome: Err(refused), standings },
        };
        let reason = match outcome {
            Err(ServiceError::Code(reason)) => Some(reason),
            Err(ServiceError::CodeWrong { .. }) => Some(Reason::CodeWrong),
            Err(ServiceError::CodeLocked { .. }) => Some(Reason::CodeLocked),
            _ => None,
        };
        if let Some(reason) = reason {
            let failed = ByReason { instance: InstanceLabel(instance.config.id), reason: reason.as_str() };
            self.metrics.attempts_failed.get_or_create(&failed).inc();
        }
        Limited { outcome, standings }
    }

    async fn compare(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        typed: &Typed,
        guard: Guard,
        idempotency: Option<Idempotency>,
        standings: &mut Vec<Standing>,
    ) -> Result<Verification<SentCode>, ServiceError> {
        let named = match &typed.whose {
            Whose::Chat(_) => None,
            Whose::Request(id) => Some(self.get(cx, instance, *id).await?),
        };
        let not_active = ServiceError::Code(Reason::CodeNotActive);
        let chat = match (&typed.whose, &named) {
            (Whose::Chat(chat), _) => Some(chat),
            (Whose::Request(_), record) => record.as_ref().and_then(|record| record.request.chat.as_ref()),
        };
        let Some(chat) = chat.filter(|_| named.as_ref().is_none_or(|record| record.otp_type() == OtpType::Code)) else {
            return Err(not_active);
        };
        let partition = self.target_partition(instance, chat.subject());
        let claim = self.claim(cx, instance, "validate", idempotency, partition).await?;
        let mut late = None;
        for _ in 0..CONFLICTS {
            let mut aimed = self.target(cx, instance, chat.subject()).await?;
            let now = late.take().unwrap_or_else(|| self.now());
            // While the chat is locked, only a repeat of an earlier attempt is answered. A repeat is not compared
            // again.
            let reopened = self.reopen(cx, instance, chat, &mut aimed.target, now, standings).await;
            let barred = match self.barred(reopened, &aimed.target, guard, now, standings)? {
                Some(barred) if claim.is_none() => return Err(barred),
                barred => barred,
            };
            // Only the latest code of a chat is live; an older one is refused because of its own state.
            let Some(active) = named.as_ref().map(|record| record.id).or(aimed.target.active) else {
                return Err(not_active);
            };
            let Some(stored) = cx.store.load(active.into()).await? else {
                return Err(not_active);
            };
            let Some(record) = Verification::from_any(self.read(cx, &stored).await?) else {
                return Err(not_active);
            };
            let loaded = Loaded { instance: Arc::clone(instance), record, version: stored.version };
            let before: &Verification<SentCode> = &loaded.record;
            let right = self.otp(before).is_some_and(|code| code.is(&typed.code));
            cx.acts_on(before.id);
            let mut decision = SentCode::decide(before, CodeCommand::Try { right, claim }, now);
            if let Some(next) = &mut decision.next {
                cx.sign(next, before.timeline.len());
            }
            let verdict = decision.verdict;
            match (verdict, barred) {
                (CodeVerdict::Repeated, _) => return Ok(loaded.record),
                (CodeVerdict::RepeatedFailure(reason), _) => return Err(failure(reason, before)),
                (_, Some(barred)) => return Err(barred),
                _ => {}
            }
            let Some(next) = decision.next.clone() else { return Err(refusal(verdict)) };
            let mut change = self.change(&loaded, &decision, None, now);
            if verdict == CodeVerdict::Validated {
                aimed.target.proved();
            } else if next.attempts > before.attempts {
                aimed.target.missed(guard, now);
            }
            let retain_until = change.records[0].retain_until;
            change.records.extend(self.target_changes(aimed, retain_until, now));
            match self.send(cx, change, now).await? {
                CommitOutcome::Applied { .. } => {
                    self.count(&next);
                    return if verdict == CodeVerdict::Validated { Ok(next) } else { Err(outcome(verdict, &next)) };
                }
                CommitOutcome::Late(now) => late = Some(now),
                CommitOutcome::Conflict | CommitOutcome::Collision | CommitOutcome::Duplicate => {}
            }
        }
        Err(StoreError::Unavailable("too many tries at once".to_owned()).into())
    }

    /// The error to return while no code may be compared for this chat.
    fn barred(
        &self,
        reopened: Result<(), ServiceError>,
        target: &Target,
        guard: Guard,
        now: Timestamp,
        standings: &mut Vec<Standing>,
    ) -> Result<Option<ServiceError>, ServiceError> {
        match reopened {
            Err(locked @ ServiceError::CodeLocked { .. }) => return Ok(Some(locked)),
            outcome => outcome?,
        }
        let Some(left) = target.locked(now) else { return Ok(None) };
        let duration = |signed: SignedDuration| Duration::try_from(signed).unwrap_or_default();
        let quota = Quota::per(guard.misses.unwrap_or(1), duration(WINDOW));
        Ok(Some(self.limited(standings, Name::WrongCodes, quota, duration(left))))
    }

    /// Fails if there were too many wrong codes in a row, unless the chat has verified a link since the lock began.
    pub(super) async fn reopen(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        chat: &Chat,
        target: &mut Target,
        now: Timestamp,
        standings: &mut Vec<Standing>,
    ) -> Result<(), ServiceError> {
        let Some(shut) = target.shut(now) else { return Ok(()) };
        let life = SignedDuration::try_from(instance.config.longest_life()).unwrap_or(SignedDuration::MAX);
        let proofs = Filter {
            status: Some(Status::Verified),
            otp_type: Some(OtpType::Link),
            chat: Some(chat.clone()),
            created_after: shut.since.checked_sub(life).ok(),
            ..Filter::default()
        };
        let proofs = self.list(cx, instance, &proofs, None, PROOFS).await?.records;
        if proofs.iter().any(|record| record.ended_at().is_some_and(|at| at > shut.since)) {
            target.proved();
            return Ok(());
        }
        let duration = |signed: SignedDuration| Duration::try_from(signed).unwrap_or_default();
        let window = instance.config.codes.locked_for.map_or(Duration::ZERO, duration);
        let _ = self.limited(standings, Name::CodeFailures, Quota::per(FAILURES, window), duration(shut.left));
        Err(ServiceError::CodeLocked { retry_after: duration(shut.left) })
    }
}

fn failure(reason: Reason, record: &Verification<SentCode>) -> ServiceError {
    if reason == Reason::CodeWrong {
        return ServiceError::CodeWrong { attempts_remaining: record.max_attempts.saturating_sub(record.attempts) };
    }
    ServiceError::Code(reason)
}

/// The error for an attempt that was counted.
fn outcome(verdict: CodeVerdict, record: &Verification<SentCode>) -> ServiceError {
    if let CodeVerdict::Failed(reason) = verdict { failure(reason, record) } else { refusal(verdict) }
}

fn refusal(verdict: CodeVerdict) -> ServiceError {
    ServiceError::Code(match verdict {
        CodeVerdict::Failed(reason) | CodeVerdict::RepeatedFailure(reason) => reason,
        CodeVerdict::Expired => Reason::CodeExpired,
        CodeVerdict::Validated
        | CodeVerdict::Repeated
        | CodeVerdict::Canceled
        | CodeVerdict::Resent
        | CodeVerdict::TooSoon(_)
        | CodeVerdict::Forgotten
        | CodeVerdict::Unchanged
        | CodeVerdict::Refused => Reason::CodeNotActive,
    })
}
