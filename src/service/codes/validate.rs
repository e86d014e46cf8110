//! Validation of typed codes: compare, count the attempt durably, and only then answer.
//!
//! The code's record and the chat's record, which counts wrong codes, change in one commit.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::code_request::{CodeSelector, ValidationRequest};
use crate::{
    domain::{
        Chat, OtpType, Reason, StateMachine as _, Status, Verification,
        chat_state::{ATTEMPT_WINDOW, ChatState, LockoutPolicy, MAX_CONSECUTIVE_FAILURES},
        quota::{LimitName, Quota},
        sent_code::{CodeCommand, CodeVerdict, SentCode},
    },
    metrics::label::{ByReason, InstanceLabel},
    service::{
        Codes, Idempotency, Instance, Limited, RequestContext, ServiceError,
        verifications::{Filter, Loaded, MAX_COMMIT_ATTEMPTS},
    },
    store::{CommitOutcome, StoreError},
};

/// How many of a chat's most recent verified links are examined for one verified since the lock.
const MAX_PROOFS_READ: usize = 10;

impl Codes {
    /// Checks a typed code against the chat's active one. An error that reveals whether the code was right is returned
    /// only after the attempt was counted durably.
    pub async fn validate(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        token: &str,
        typed: &ValidationRequest,
        policy: LockoutPolicy,
        idempotency: Option<Idempotency>,
    ) -> Limited<Verification<SentCode>> {
        let limit = self.limits.token_limit(instance, LimitName::Validate, token);
        let Limited { outcome, limit_statuses } = self.admissions.admit(cx, instance, limit.as_slice(), None).await;
        let outcome = match outcome {
            Ok(_) => self.compare(cx, instance, typed, policy, idempotency).await,
            Err(refused) => Err(refused),
        };
        if let Some(reason) = outcome.as_ref().err().and_then(ServiceError::code_rejection) {
            let failed = ByReason { instance: InstanceLabel(instance.config.id), reason: reason.as_str() };
            self.metrics.attempts_failed.get_or_create(&failed).inc();
        }
        Limited { outcome, limit_statuses }
    }

    async fn compare(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        typed: &ValidationRequest,
        policy: LockoutPolicy,
        idempotency: Option<Idempotency>,
    ) -> Result<Verification<SentCode>, ServiceError> {
        let named = match &typed.selector {
            CodeSelector::Chat(_) => None,
            CodeSelector::Request(id) => Some(self.verifications.get(cx, instance, *id).await?),
        };
        let not_active = ServiceError::Code(Reason::CodeNotActive);
        let chat = match (&typed.selector, &named) {
            (CodeSelector::Chat(chat), _) => Some(chat),
            (CodeSelector::Request(_), record) => record.as_ref().and_then(|record| record.request.chat.as_ref()),
        };
        let Some(chat) = chat.filter(|_| named.as_ref().is_none_or(|record| record.otp_type() == OtpType::Code)) else {
            return Err(not_active);
        };
        let partition = self.chat_partition(instance, chat.subject());
        let claim = self.admissions.claim(cx, instance, "validate", idempotency, partition).await?;
        let mut late = None;
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let mut versioned = self.load_chat_state(cx, instance, chat.subject()).await?;
            let now = late.take().unwrap_or_else(|| cx.now());
            // While the chat is locked, only a repeat of an earlier attempt is answered. A repeat is not compared
            // again.
            let lockout = self.check_lockout(cx, instance, chat, &mut versioned.state, now).await;
            let locked = match self.lock_error(lockout, &versioned.state, policy, now)? {
                Some(locked) if claim.is_none() => return Err(locked),
                locked => locked,
            };
            // Only the latest code of a chat is live; an older one is refused because of its own state.
            let Some(active) = named.as_ref().map(|record| record.id).or(versioned.state.active) else {
                return Err(not_active);
            };
            let Some(stored) = cx.store.load(active.into()).await? else {
                return Err(not_active);
            };
            let Some(record) = Verification::from_any(self.verifications.read(cx, &stored).await?) else {
                return Err(not_active);
            };
            let loaded = Loaded { instance: Arc::clone(instance), record, version: stored.version };
            let before: &Verification<SentCode> = &loaded.record;
            let right = self.otp_code(before, now).is_some_and(|code| code.matches(&typed.code));
            cx.set_verification(before.id);
            let mut decision = SentCode::decide(before, CodeCommand::Validate { correct: right, claim }, now);
            if let Some(next) = &mut decision.next {
                cx.attribute(next, before.timeline.len());
            }
            let verdict = decision.verdict;
            // A repeat gets the result of the first attempt, even if the chat has been locked since.
            if verdict == CodeVerdict::Repeated {
                return Ok(loaded.record);
            }
            if let CodeVerdict::RepeatedFailure { reason, attempts } = verdict {
                return Err(failure(reason, before.max_attempts, attempts));
            }
            if let Some(locked) = locked {
                return Err(locked);
            }
            let Some(next) = decision.next.clone() else { return Err(refusal(verdict)) };
            let mut change = self.verifications.change_for(&loaded, &decision, None, now);
            if verdict == CodeVerdict::Validated {
                versioned.state.reset_failures();
            } else if next.attempts > before.attempts {
                versioned.state.record_failure(policy, now);
            }
            let retain_until = change.records[0].retain_until;
            change.records.extend(self.chat_state_changes(versioned, retain_until, now));
            match self.outbox.commit(cx, change, now).await? {
                CommitOutcome::Applied { .. } => {
                    self.funnel.count(Some(&loaded.record), &next);
                    return if verdict == CodeVerdict::Validated { Ok(next) } else { Err(outcome(verdict, &next)) };
                }
                CommitOutcome::Late(now) => late = Some(now),
                CommitOutcome::Conflict | CommitOutcome::Collision | CommitOutcome::Duplicate => {}
            }
        }
        Err(StoreError::Unavailable("too many tries at once".to_owned()).into())
    }

    /// The error to return while no code may be compared for this chat.
    fn lock_error(
        &self,
        lockout: Result<(), ServiceError>,
        target: &ChatState,
        policy: LockoutPolicy,
        now: Timestamp,
    ) -> Result<Option<ServiceError>, ServiceError> {
        match lockout {
            Err(locked @ ServiceError::CodeLocked(_)) => return Ok(Some(locked)),
            outcome => outcome?,
        }
        let Some(left) = target.window_lock(now) else { return Ok(None) };
        let duration = |signed: SignedDuration| Duration::try_from(signed).unwrap_or_default();
        let quota = Quota::per(policy.max_per_window.unwrap_or(1), duration(ATTEMPT_WINDOW));
        Ok(Some(ServiceError::LimitExhausted(self.limits.exhausted(LimitName::WrongCodes, quota, duration(left)))))
    }

    /// Fails if there were too many wrong codes in a row, unless the chat has verified a link since the lock began.
    pub(super) async fn check_lockout(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        chat: &Chat,
        target: &mut ChatState,
        now: Timestamp,
    ) -> Result<(), ServiceError> {
        let Some(lockout) = target.lockout(now) else { return Ok(()) };
        let life = SignedDuration::try_from(instance.config.longest_life()).unwrap_or(SignedDuration::MAX);
        let verified_links = Filter {
            status: Some(Status::Verified),
            otp_type: Some(OtpType::Link),
            chat: Some(chat.clone()),
            created_after: lockout.since.checked_sub(life).ok(),
            ..Filter::default()
        };
        let verified_links =
            self.verifications.list(cx, instance, &verified_links, None, MAX_PROOFS_READ).await?.records;
        if verified_links.iter().any(|record| record.ended_at().is_some_and(|at| at > lockout.since)) {
            target.reset_failures();
            return Ok(());
        }
        let duration = |signed: SignedDuration| Duration::try_from(signed).unwrap_or_default();
        let window = instance.config.codes.locked_for.map_or(Duration::ZERO, duration);
        let quota = Quota::per(MAX_CONSECUTIVE_FAILURES, window);
        Err(ServiceError::CodeLocked(self.limits.exhausted(LimitName::CodeFailures, quota, duration(lockout.left))))
    }
}

/// The error for the attempt that was the `attempts`th wrong one.
fn failure(reason: Reason, max_attempts: u32, attempts: u32) -> ServiceError {
    if reason == Reason::CodeWrong {
        return ServiceError::CodeWrong { attempts_remaining: max_attempts.saturating_sub(attempts) };
    }
    ServiceError::Code(reason)
}

/// The error for an attempt that was counted.
fn outcome(verdict: CodeVerdict, record: &Verification<SentCode>) -> ServiceError {
    if let CodeVerdict::Failed(reason) = verdict {
        failure(reason, record.max_attempts, record.attempts)
    } else {
        refusal(verdict)
    }
}

fn refusal(verdict: CodeVerdict) -> ServiceError {
    ServiceError::Code(match verdict {
        CodeVerdict::Failed(reason) | CodeVerdict::RepeatedFailure { reason, .. } => reason,
        CodeVerdict::Expired => Reason::CodeExpired,
        CodeVerdict::Validated
        | CodeVerdict::Repeated
        | CodeVerdict::Canceled
        | CodeVerdict::Resent
        | CodeVerdict::TooSoon(_)
        | CodeVerdict::Erased
        | CodeVerdict::Unchanged
        | CodeVerdict::Refused => Reason::CodeNotActive,
    })
}
