//! Minting a link: take from the limits, claim the idempotency key, create the record.
//!
//! Two requests with the same idempotency key must end with the same record: the key stores a draft, from which every
//! repeat derives the same id, code and tokens.

use super::link_request::LinkRequest;
use crate::{
    domain::{Chat, Verification, link::Link, quota::LimitName, time::unix_millis},
    metrics::label::{ByInstance, InstanceLabel},
    random,
    service::{
        Instance, Limited, Links, RequestContext, ServiceError,
        verifications::{Idempotency, MAX_COMMIT_ATTEMPTS, VerificationDraft},
    },
    store::{CommitOutcome, IdempotencyClaim, StoreError},
};

impl Links {
    /// Creates a link. `token` identifies the caller for its rate limit.
    pub async fn create(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        token: &str,
        input: LinkRequest,
        idempotency: Option<Idempotency>,
    ) -> Limited<Verification<Link>> {
        if instance.config.disabled {
            return ServiceError::Disabled.into();
        }
        let draft = self.draft_link(cx, instance);
        let mut limits = self.limits.mint_limits(instance, token);
        limits.extend(self.limits.storage_limits(instance, &input.request));
        if input.request.approval.is_some() {
            limits.extend(self.limits.approval_limits(instance, &input.request));
        } else {
            let subject = input.request.chat.as_ref().map(Chat::subject);
            limits.extend(subject.and_then(|subject| self.limits.chat_limit(instance, LimitName::Links, subject)));
        }
        let claim =
            idempotency.map(|idempotency| self.admissions.idempotency_claim(instance, &idempotency, draft.write()));
        let commit = async |draft, claim| self.commit_link(cx, instance, input, draft, claim).await;
        self.admissions.create(cx, instance, limits, draft, claim, commit).await
    }

    async fn commit_link(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        input: LinkRequest,
        mut draft: VerificationDraft,
        mut claim: Option<IdempotencyClaim>,
    ) -> Result<Verification<Link>, ServiceError> {
        let LinkRequest { request, expires, max_attempts, binding, .. } = input;
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let now = cx.now();
            let new = draft.verification(instance.config.id, now, expires, max_attempts);
            let mut record = Verification::link(new, draft.code_length, request.clone());
            if let Some(code) = record.link_code(&self.keys) {
                let text = instance.prefilled(&record, &code);
                record.details.prefilled = Some(record.digest_without_code(&self.keys, &text, &code));
            }
            record.details.binding = binding.clone();
            cx.set_verification(record.id);
            cx.attribute(&mut record, 0);
            let mut change = self.verifications.creation_change(instance, &record);
            if record.request.approval.is_some() {
                change.jobs.push(self.outbox.approval_job(instance, record.id));
            }
            match self.outbox.commit_with_record(cx, change, Some(&record), now).await? {
                CommitOutcome::Applied { .. } => {
                    let label = ByInstance { instance: InstanceLabel(instance.config.id) };
                    self.metrics.links_minted.get_or_create(&label).inc();
                    self.funnel.count(None, &record);
                    return Ok(record);
                }
                CommitOutcome::Late(_) => {}
                // Another record has this code, or the key that derived it was removed.
                CommitOutcome::Collision => draft = self.redraw(cx, instance, draft, claim.as_mut()).await?,
                // A request with the same idempotency key was faster, or an earlier attempt of this one succeeded.
                CommitOutcome::Conflict | CommitOutcome::Duplicate => {
                    if let Some(existing) = self.admissions.record_of(cx, instance, draft.id, 1).await? {
                        return Verification::from_any(existing).ok_or(ServiceError::KeyReused);
                    }
                }
            }
        }
        Err(StoreError::Unavailable("no free code was found".to_owned()).into())
    }

    /// Draws another draft. With an idempotency key, the new draft replaces the refused one in the store, so that
    /// repeats of the request use the same draft.
    async fn redraw(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        refused: VerificationDraft,
        claim: Option<&mut IdempotencyClaim>,
    ) -> Result<VerificationDraft, ServiceError> {
        let draft = self.draft_link(cx, instance);
        let Some(claim) = claim else { return Ok(draft) };
        (claim.content, claim.replaces) = (draft.write(), Some(refused.write()));
        let holder = cx.store.admit(&[], Some(claim)).await?.idempotency_record;
        holder.map_or(Ok(draft), |holder| Ok(VerificationDraft::read(&holder.content)?))
    }

    /// The code of a link is derived from its nonce, and its id from the code.
    fn draft_link(&self, cx: &RequestContext, instance: &Instance) -> VerificationDraft {
        let (key, nonce, code_length) = (self.keys.current_id(), random::bytes(), instance.config.code_length);
        let id = self
            .keys
            .link_code(key, instance.config.id, &nonce, code_length)
            .and_then(|code| self.keys.link_id(key, instance.config.id, &code, unix_millis(cx.now())))
            .expect("the current key is there");
        VerificationDraft { key, nonce, code_length, id }
    }
}
