//! What a person typed: compared, counted, and only then answered.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    CONFLICTS, Idempotency, Instance, Service, ServiceError, deed,
    input_code::{Typed, Whose},
    requests::Filter,
};
use crate::{
    domain::{
        Chat, Command, Reason, Verdict, Verification, decide,
        decide_code::CodeCommand,
        quota::{Name, Quota},
        target::{FAILURES, Guard, Target, WINDOW},
    },
    metrics::label::{ByReason, InstanceLabel},
    store::{CommitOutcome, StoreError},
};

/// Links that a chat has proved which are looked at; the newest come first.
const PROOFS: usize = 10;

impl Service {
    /// Checks a code against the one that counts for its chat. An error that tells about the code has been
    /// counted, durably, before it is told.
    pub async fn validate(
        &self,
        instance: &Instance,
        token: &str,
        typed: &Typed,
        guard: Guard,
        idempotency: Option<Idempotency>,
    ) -> Result<Verification, ServiceError> {
        let limit = self.token_limit(instance, Name::Validate, token);
        self.enter(instance, limit.as_slice(), None).await?;
        let outcome = self.compare(instance, typed, guard, idempotency).await;
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
        outcome
    }

    async fn compare(
        &self,
        instance: &Instance,
        typed: &Typed,
        guard: Guard,
        idempotency: Option<Idempotency>,
    ) -> Result<Verification, ServiceError> {
        let named = match &typed.whose {
            Whose::Chat(_) => None,
            Whose::Request(id) => Some(self.get(instance, *id).await?),
        };
        let not_active = ServiceError::Code(Reason::CodeNotActive);
        let chat = match (&typed.whose, &named) {
            (Whose::Chat(chat), _) => Some(chat),
            (Whose::Request(_), record) => record.as_ref().and_then(|record| record.request.chat.as_ref()),
        };
        let Some(chat) = chat.filter(|_| named.as_ref().is_none_or(|record| record.otp.is_some())) else {
            return Err(not_active);
        };
        let partition = self.target_partition(instance, chat.subject());
        let claim = self.claim(instance, "validate", idempotency, partition).await?;
        let mut late = None;
        for _ in 0..CONFLICTS {
            let mut aimed = self.target(instance, chat.subject()).await?;
            let now = late.take().unwrap_or_else(|| self.now());
            // Behind a lock nothing but a repeat is answered, which is not compared again.
            let barred = match self.barred(instance, chat, &mut aimed.target, guard, now).await? {
                Some(barred) if claim.is_none() => return Err(barred),
                barred => barred,
            };
            // Of a chat's codes only the last lives, so that any other one is refused by its own state.
            let Some(active) = named.as_ref().map(|record| record.id).or(aimed.target.active) else {
                return Err(not_active);
            };
            let Some(stored) = self.store.load(active.into()).await? else {
                return Err(not_active);
            };
            let before = self.read(&stored).await?;
            let right = self.otp(&before).is_some_and(|code| code.is(&typed.code));
            deed::done_to(before.id);
            let mut decision = decide(&before, Command::Code(CodeCommand::Try { right, claim }), now);
            if let Some(next) = &mut decision.next {
                deed::sign(next, before.timeline.len());
            }
            let verdict = decision.verdict;
            match (verdict, barred) {
                (Verdict::Repeated, _) => return Ok(before),
                (Verdict::RepeatedFailure(reason), _) => return Err(failure(reason, &before)),
                (_, Some(barred)) => return Err(barred),
                _ => {}
            }
            let Some(next) = decision.next.clone() else { return Err(refusal(verdict)) };
            let mut change = self.change(instance, &before, stored.version, &decision, None, now);
            match verdict {
                Verdict::Validated => aimed.target.proved(),
                Verdict::Failed(Reason::CodeWrong | Reason::AttemptsExhausted) => aimed.target.missed(guard, now),
                _ => {}
            }
            let retain_until = change.records[0].retain_until;
            change.records.extend(self.target_changes(aimed, retain_until, now));
            match self.send(change, now).await? {
                CommitOutcome::Applied { .. } => {
                    self.count(&next);
                    return match verdict {
                        Verdict::Validated => Ok(next),
                        Verdict::Failed(reason) => Err(failure(reason, &next)),
                        _ => Err(refusal(verdict)),
                    };
                }
                CommitOutcome::Late(now) => late = Some(now),
                CommitOutcome::Conflict | CommitOutcome::Collision | CommitOutcome::Duplicate => {}
            }
        }
        Err(StoreError::Unavailable("too many tries at once".to_owned()).into())
    }

    /// Why nothing is compared for this chat now.
    async fn barred(
        &self,
        instance: &Instance,
        chat: &Chat,
        target: &mut Target,
        guard: Guard,
        now: Timestamp,
    ) -> Result<Option<ServiceError>, ServiceError> {
        match self.reopen(instance, chat, target, now).await {
            Err(locked @ ServiceError::CodeLocked { .. }) => return Ok(Some(locked)),
            outcome => outcome?,
        }
        let Some(left) = target.locked(now) else { return Ok(None) };
        let duration = |signed: SignedDuration| Duration::try_from(signed).unwrap_or_default();
        let quota = Quota::per(guard.misses.unwrap_or(1), duration(WINDOW));
        Ok(Some(self.limited(Name::WrongCodes, quota, duration(left))))
    }

    /// Refuses where too many codes in a row were wrong, unless the chat has proved itself by a link since then.
    pub(super) async fn reopen(
        &self,
        instance: &Instance,
        chat: &Chat,
        target: &mut Target,
        now: Timestamp,
    ) -> Result<(), ServiceError> {
        let Some(shut) = target.shut(now) else { return Ok(()) };
        let life = SignedDuration::try_from(instance.config.longest_life()).unwrap_or(SignedDuration::MAX);
        let proofs = Filter {
            status: Some("verified".to_owned()),
            otp_type: Some("link".to_owned()),
            chat: Some(chat.clone()),
            created_after: shut.since.checked_sub(life).ok(),
            ..Filter::default()
        };
        let proofs = self.list(instance, &proofs, None, PROOFS).await?.records;
        if proofs.iter().any(|record| record.ended_at().is_some_and(|at| at > shut.since)) {
            target.proved();
            return Ok(());
        }
        let duration = |signed: SignedDuration| Duration::try_from(signed).unwrap_or_default();
        let window = instance.config.codes.locked_for.map_or(Duration::ZERO, duration);
        let _ = self.limited(Name::CodeFailures, Quota::per(FAILURES, window), duration(shut.left));
        Err(ServiceError::CodeLocked { retry_after: duration(shut.left) })
    }
}

fn failure(reason: Reason, record: &Verification) -> ServiceError {
    match reason {
        Reason::CodeWrong => {
            ServiceError::CodeWrong { attempts_remaining: record.max_attempts.saturating_sub(record.attempts) }
        }
        reason => ServiceError::Code(reason),
    }
}

fn refusal(verdict: Verdict) -> ServiceError {
    ServiceError::Code(match verdict {
        Verdict::Failed(reason) => reason,
        Verdict::Expired => Reason::CodeExpired,
        _ => Reason::CodeNotActive,
    })
}
