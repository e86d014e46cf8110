//! What a person typed: compared, counted, and only then answered.

use std::time::Duration;

use super::{CONFLICTS, Instance, Service, ServiceError, input_code::Typed};
use crate::{
    domain::{
        Command, Reason, State, Verdict, Verification, decide,
        decide_code::CodeCommand,
        quota::{Name, Quota},
        target::{Guard, WINDOW},
    },
    metrics::label::{ByReason, Of},
    store::{Committed, StoreError},
};

impl Service {
    /// Checks a code against the one that counts for its chat. An error that tells about the code has been
    /// counted, durably, before it is told.
    pub async fn validate(
        &self,
        instance: &Instance,
        token: &str,
        typed: &Typed,
        guard: Guard,
    ) -> Result<Verification, ServiceError> {
        let limit = self.token_limit(instance, Name::Validate, token);
        self.enter(limit.as_slice(), None).await?;
        let outcome = self.compare(instance, typed, guard).await;
        if let Err(ServiceError::Code(reason)) = outcome {
            let failed = ByReason { instance: Of(instance.config.id), reason: reason.as_str() };
            self.metrics.attempts_failed.get_or_create(&failed).inc();
        }
        outcome
    }

    async fn compare(&self, instance: &Instance, typed: &Typed, guard: Guard) -> Result<Verification, ServiceError> {
        let subject = typed.chat.subject();
        let mut late = None;
        for _ in 0..CONFLICTS {
            let mut aimed = self.target(instance, subject).await?;
            let now = late.take().unwrap_or_else(|| self.now());
            if let Some(left) = aimed.target.locked(now) {
                let window = Duration::try_from(WINDOW).unwrap_or_default();
                let quota = Quota::per(guard.misses.unwrap_or(1), window);
                return Err(self.limited(Name::WrongCodes, quota, Duration::try_from(left).unwrap_or_default()));
            }
            let not_active = ServiceError::Code(Reason::CodeNotActive);
            let Some(active) = aimed.target.active else { return Err(not_active) };
            let Some(stored) = self.store.load(active.into()).await? else {
                return Err(not_active);
            };
            let before = self.decode(&stored)?;
            let right = self.otp(&before).is_some_and(|code| code.is(&typed.code));
            let decision = decide(&before, Command::Code(CodeCommand::Try { right }), now);
            let verdict = decision.verdict;
            let Some(next) = decision.next.clone() else { return Err(refusal(verdict)) };
            let mut change = self.change(instance, &before, stored.version, &decision, None, now);
            match verdict {
                Verdict::Validated => aimed.target.proved(),
                Verdict::Failed(Reason::CodeWrong) => aimed.target.missed(guard, now),
                _ => {}
            }
            let retain_until = change.records[0].retain_until;
            change.records.push(self.target_change(aimed, retain_until, now));
            match self.send(change, now).await? {
                Committed::Applied { .. } => {
                    self.count(&next);
                    return if matches!(next.state, State::Validated { .. }) {
                        Ok(next)
                    } else {
                        Err(refusal(verdict))
                    };
                }
                Committed::Late(now) => late = Some(now),
                Committed::Conflict | Committed::Collision | Committed::Duplicate => {}
            }
        }
        Err(StoreError::Unavailable("too many tries at once".to_owned()).into())
    }
}

fn refusal(verdict: Verdict) -> ServiceError {
    ServiceError::Code(match verdict {
        Verdict::Failed(reason) => reason,
        Verdict::Expired => Reason::CodeExpired,
        _ => Reason::CodeNotActive,
    })
}
